"""How the outputs of S branches become those of one network: values that can be applied, calibrated and exported.

Input: log-probabilities, S tensors (n, classes). Output: probabilities (n, classes) float64. Every scheme of
`schemes` ends in one of these; none of them looks at a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_train.ensemble.combination import DEFAULT_SPACE, Space
from spectral_train.run.outputs import bounded

Weights = npt.NDArray[np.float64]


class Combiner(Protocol):
    """One way to combine S branches, decided: apply it to the outputs of any rows."""

    @property
    def weights(self) -> Weights:
        """(S,) the weight of each branch, summing to 1."""
        ...

    @property
    def settings(self) -> Mapping[str, float]:
        """What was chosen on held-out rows, for example {"p": 0.6}."""
        ...

    def __call__(self, log_probabilities: Sequence[Tensor]) -> Tensor:
        """Return the probabilities of the ensemble, (n, classes) float64."""
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
    """Return the probabilities of the ensemble, (n, classes) float64: long paper, eq. (2).

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
    if space == "probabilities":
        return total
    return total.clamp_(min=torch.finfo(torch.float32).min).softmax(1)  # every class may be ruled out by some branch


def normalised(weights: npt.NDArray[np.float64]) -> Weights:
    """Return the weights divided by their sum."""
    normal: Weights = weights / weights.sum()
    return normal
