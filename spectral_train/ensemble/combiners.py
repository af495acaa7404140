"""How the outputs of S branches become those of one network: values that can be applied, calibrated and exported.

Input: log-probabilities, S tensors (n, classes). Output: probabilities (n, classes) float64. Every scheme of
`ensemble` ends in one of these; none of them looks at a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.errors import InputError

Space = Literal["probabilities", "log-probabilities"]
"""What Y^q of eq. (2) is: a branch's softmax outputs, or their logarithms, which makes the sum a product of experts."""

DEFAULT_SPACE: Space = "log-probabilities"
LEAST_LOG_PROBABILITY = -100.0

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BranchOutputs:
    """Outputs of S branches on the same rows: `log_probabilities`, S tensors (n, classes), and `labels` (n,).

    Weights may depend on those of held-out rows, never on those of test rows.
    """

    log_probabilities: Sequence[Tensor]
    labels: Tensor

    @property
    def losses(self) -> Weights:
        """(S,) mean cross-entropy L_q of each branch in nats, eq. (1)."""
        return np.array([cross_entropy(values, self.labels) for values in self.log_probabilities])

    def of_branches(self, places: Sequence[int]) -> BranchOutputs:
        """Return those of some branches, without a copy."""
        return BranchOutputs([self.log_probabilities[place] for place in places], self.labels)


class Combiner(Protocol):
    """One way to combine S branches, decided: apply it to the outputs of any rows."""

    @property
    def weights(self) -> Weights:
        """(S,) the say of each branch, summing to 1."""
        ...

    @property
    def settings(self) -> Mapping[str, float]:
        """What was chosen on held-out rows, for example {"p": 0.6}."""
        ...

    def __call__(self, log_probabilities: Sequence[Tensor]) -> Tensor:
        """Return the probabilities of the whole network, (n, classes) float64."""
        ...


@dataclass(frozen=True)
class WeightedSum:
    """Long paper, eq. (2): one weight a branch."""

    weights: Weights
    space: Space
    settings: Mapping[str, float]

    def __call__(self, log_probabilities: Sequence[Tensor]) -> Tensor:
        """Return the probabilities."""
        return combine(log_probabilities, self.weights, self.space)


@dataclass(frozen=True)
class ClassWise:
    """One weight a branch and class, (S, classes), one bias a class: log P_k = Σ_s w_sk · log P_sk + b_k + const."""

    class_weights: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]
    settings: Mapping[str, float]

    @property
    def weights(self) -> Weights:
        """(S,) each branch's share of all weights."""
        return normalised(self.class_weights.sum(1))

    def __call__(self, log_probabilities: Sequence[Tensor]) -> Tensor:
        """Return the probabilities."""
        total = torch.from_numpy(self.bias)
        for values, row in zip(log_probabilities, torch.from_numpy(self.class_weights), strict=True):
            total = total + row * bounded(values)
        return total.softmax(1)


@dataclass(frozen=True)
class Tempered:
    """Another combiner with its log-probabilities divided by a temperature: more than 1 makes it less certain."""

    combiner: Combiner
    temperature: float

    @property
    def weights(self) -> Weights:
        """Those of the combiner."""
        return self.combiner.weights

    @property
    def settings(self) -> Mapping[str, float]:
        """Those of the combiner, and the temperature: of two, one within the other, the product."""
        inner = self.combiner.settings
        return {**inner, "temperature": inner.get("temperature", 1.0) * self.temperature}

    def __call__(self, log_probabilities: Sequence[Tensor]) -> Tensor:
        """Return the probabilities."""
        return (self.combiner(log_probabilities).log() / self.temperature).softmax(1)


def combine(log_probabilities: Sequence[Tensor], weights: npt.ArrayLike, space: Space = DEFAULT_SPACE) -> Tensor:
    """Return the probabilities of the whole network, (n, classes) float64: long paper, eq. (2).

    >>> two = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]]]).log()
    >>> combine(two, [0.5, 0.5], "probabilities").round(decimals=2).tolist()
    [[0.65, 0.35]]
    >>> combine(two, [0.5, 0.5], "log-probabilities").round(decimals=2).tolist()
    [[0.71, 0.29]]
    """
    total = torch.zeros_like(log_probabilities[0], dtype=torch.float64)
    for values, weight in zip(log_probabilities, np.asarray(weights, np.float64), strict=True):
        if weight:  # 0 · log 0 is not a number
            total.add_(values.double().exp() if space == "probabilities" else values, alpha=float(weight))
    return total if space == "probabilities" else total.softmax(1)


def parse_space(name: str) -> Space:
    """Return the space of that name; raise `InputError` if there is none."""
    for known in get_args(Space):
        if name == known:
            space: Space = known
            return space
    raise InputError("unknown space", expected=f"one of {', '.join(get_args(Space))}", got=name)


def bounded(log_probabilities: Tensor) -> Tensor:
    """Return them in float64 and finite: a branch that is certain and wrong must not decide alone."""
    return log_probabilities.double().clamp(min=LEAST_LOG_PROBABILITY)


def accuracy(scores_NK: Tensor, labels: Tensor) -> float:
    """Return the fraction of rows whose highest score is at the label."""
    return (scores_NK.argmax(1) == labels).double().mean().item()


def cross_entropy(log_probabilities_NK: Tensor, labels: Tensor) -> float:
    """Return the mean over rows of −log P(label), in nats; a row counts at most 100, as in torch's `BCELoss`."""
    return -bounded(log_probabilities_NK.gather(1, labels.to(torch.int64)[:, None])).mean().item()


def normalised(weights: npt.NDArray[np.float64]) -> Weights:
    """Return the weights divided by their sum."""
    normal: Weights = weights / weights.sum()
    return normal
