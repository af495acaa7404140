"""The ensemble of the branches: weights from held-out rows, and the weighted combination (long paper, eq. (2)).

Goes in: log-probabilities (S, n, classes) of S branches on the same held-out rows, and those rows' labels. Comes out:
one weight a branch, summing to 1, by one of five schemes; and with such weights the probabilities of the whole network
on any rows.

Nothing here ever sees a test label: the loss L_q that orders and weighs the branches is that on held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
P_GRID = tuple(hundredths / 100 for hundredths in range(5, 100, 5))
SMALLEST_LOSS = 1e-12
DEFAULT_SCHEME = "geometric"

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """What weights may depend on: the branches' outputs on held-out rows, (S, n, classes), and the labels (n,)."""

    log_probabilities: Tensor
    labels: Tensor

    @property
    def losses(self) -> Weights:
        """(S,) mean cross-entropy L_q of each branch in nats, eq. (1)."""
        return np.array([_loss(values, self.labels) for values in self.log_probabilities])


@dataclass(frozen=True)
class Choice:
    """The weights (S,) of a scheme, summing to 1, and what it chose on the held-out rows, for example {"p": 0.6}."""

    weights: Weights
    settings: Mapping[str, float]


class Scheme(Protocol):
    """A way to weigh branches; `setting` is its p or k, None to choose it on the held-out rows."""

    def __call__(self, held_out: HeldOut, space: Space, setting: float | None = None) -> Choice:
        """Return the choice."""
        ...


def order_by_loss(losses: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return a(q), the order of each branch by ascending loss, 1 for the best; ties go to the lower number.

    >>> order_by_loss([0.3, 0.1, 0.2]).tolist()
    [3, 1, 2]
    """
    values = np.asarray(losses, np.float64)
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(1, len(values) + 1)
    return ranks


def average_weights(losses: npt.ArrayLike) -> Weights:
    """1/Q each.

    >>> average_weights([0.3, 0.1]).tolist()
    [0.5, 0.5]
    """
    return _normalised(np.ones(len(np.asarray(losses))))


def loss_weights(losses: npt.ArrayLike) -> Weights:
    """1/L_q, normalised: "weights by loss".

    >>> loss_weights([0.3, 0.1]).round(3).tolist()
    [0.25, 0.75]
    """
    return _normalised(1 / np.maximum(np.asarray(losses, np.float64), SMALLEST_LOSS))


def geometric_weights(losses: npt.ArrayLike, p: float) -> Weights:
    """p^a(q), normalised, 0 < p ≤ 1: "geometric weights".

    >>> geometric_weights([0.3, 0.1], 0.5).round(3).tolist()
    [0.333, 0.667]
    """
    if not 0 < p <= 1:
        raise InputError("unusable p for geometric weights", expected="more than 0, at most 1", got=p)
    # p^(a−1) is the same after normalising, and the best branch's weight cannot underflow.
    return _normalised(np.float64(p) ** (order_by_loss(losses) - 1))


def top_k_weights(losses: npt.ArrayLike, k: int) -> Weights:
    """1/k for the k branches of lowest loss, 0 for the others: the poster's "average of top-k subnetworks".

    >>> top_k_weights([0.3, 0.1, 0.2], 2).tolist()
    [0.0, 0.5, 0.5]
    """
    ranks = order_by_loss(losses)
    if not 1 <= k <= len(ranks):
        raise InputError("unusable k for top-k", expected=f"1 to {len(ranks)}", got=k)
    return _normalised((ranks <= k).astype(np.float64))


def best_weights(losses: npt.ArrayLike) -> Weights:
    """1 for the branch of lowest loss: "select the best", δ(a(q) = 1).

    >>> best_weights([0.3, 0.1, 0.2]).tolist()
    [0.0, 1.0, 0.0]
    """
    return top_k_weights(losses, 1)


def _average(held_out: HeldOut, space: Space, setting: float | None = None) -> Choice:
    return Choice(average_weights(held_out.losses), {})


def _by_loss(held_out: HeldOut, space: Space, setting: float | None = None) -> Choice:
    return Choice(loss_weights(held_out.losses), {})


def _geometric(held_out: HeldOut, space: Space, setting: float | None = None) -> Choice:
    grid = P_GRID if setting is None else (setting,)
    return _tuned(held_out, space, "p", grid, lambda p: geometric_weights(held_out.losses, p))


def _best(held_out: HeldOut, space: Space, setting: float | None = None) -> Choice:
    return Choice(best_weights(held_out.losses), {})


def _top_k(held_out: HeldOut, space: Space, setting: float | None = None) -> Choice:
    grid = range(1, len(held_out.log_probabilities) + 1) if setting is None else (setting,)
    return _tuned(held_out, space, "k", grid, lambda k: top_k_weights(held_out.losses, int(k)))


SCHEMES: Mapping[str, Scheme] = {
    "average": _average,
    "loss": _by_loss,
    "geometric": _geometric,
    "best": _best,
    "top-k": _top_k,
}


def weigh(
    scheme: str, held_out: HeldOut, space: Space = DEFAULT_SPACE, *, p: float | None = None, k: int | None = None
) -> Choice:
    """Return the weights of a scheme, from held-out rows alone.

    Parameters
    ----------
    scheme
        A name of `SCHEMES`.
    held_out
        Outputs and labels of the held-out rows.
    space
        In which outputs will be combined; p and k are chosen for it.
    p, k
        Of `geometric` (0 < p ≤ 1) and `top-k` (1 ≤ k ≤ S). None: the one with the highest ensemble accuracy on the
        held-out rows, of equal ones that with the lowest loss there.

    Raises
    ------
    InputError
        If a name is unknown or p or k is out of range.
    """
    if scheme not in SCHEMES:
        raise InputError("unknown ensemble scheme", expected=f"one of {', '.join(SCHEMES)}", got=scheme)
    settings: Mapping[str, float | None] = {"geometric": p, "top-k": k}
    return SCHEMES[scheme](held_out, parse_space(space), settings.get(scheme))


def parse_space(name: str) -> Space:
    """Return the space of that name; raise `InputError` if there is none."""
    for known in get_args(Space):
        if name == known:
            space: Space = known
            return space
    raise InputError("unknown space", expected=f"one of {', '.join(get_args(Space))}", got=name)


def combine(log_probabilities_SNK: Tensor, weights: npt.ArrayLike, space: Space = DEFAULT_SPACE) -> Tensor:
    """Return the probabilities of the whole network, (n, classes) float64: long paper, eq. (2).

    >>> two = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]]]).log()
    >>> combine(two, [0.5, 0.5], "probabilities").round(decimals=2).tolist()
    [[0.65, 0.35]]
    >>> combine(two, [0.5, 0.5], "log-probabilities").round(decimals=2).tolist()
    [[0.71, 0.29]]
    """
    shape = log_probabilities_SNK.shape[1:]
    total = torch.zeros(shape, dtype=torch.float64)
    for values, weight in zip(log_probabilities_SNK, np.asarray(weights, np.float64), strict=True):
        if weight:  # 0 · log 0 is not a number
            total += float(weight) * (values.double().exp() if space == "probabilities" else values.double())
    return total if space == "probabilities" else total.softmax(1)


def accuracy(scores_NK: Tensor, labels: Tensor) -> float:
    """Return the fraction of rows whose highest score is at the label."""
    return (scores_NK.argmax(1) == labels).double().mean().item()


def _tuned(
    held_out: HeldOut, space: Space, name: str, grid: Iterable[float], weights_for: Callable[[float], Weights]
) -> Choice:
    candidates = list(grid)
    if len(candidates) == 1:
        return Choice(weights_for(candidates[0]), {name: candidates[0]})

    def merit(setting: float) -> tuple[float, float]:
        combined = combine(held_out.log_probabilities, weights_for(setting), space)
        return accuracy(combined, held_out.labels), -_loss(combined.log(), held_out.labels)

    chosen = max(candidates, key=merit)
    return Choice(weights_for(chosen), {name: chosen})


def _loss(log_probabilities_NK: Tensor, labels: Tensor) -> float:
    return -log_probabilities_NK.double().gather(1, labels.to(torch.int64)[:, None]).mean().item()


def _normalised(weights: npt.NDArray[np.float64]) -> Weights:
    normal: Weights = weights / weights.sum()
    return normal
