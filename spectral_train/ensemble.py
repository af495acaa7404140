"""The schemes that weigh the branches, from held-out rows alone (long paper, section 3.2, and poster).

Goes in: log-probabilities (n, classes) of each of S branches on the same held-out rows, and those rows' labels. Comes
out: a `Combiner`, which gives the probabilities of the whole network on any rows.

Nothing here ever sees a test label: the loss L_q that orders and weighs the branches is that on held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import InputError
from spectral_train.learned import learned, stacked
from spectral_train.pool import (
    DEFAULT_SPACE,
    BranchOutputs,
    Combiner,
    Space,
    WeightedSum,
    Weights,
    accuracy,
    cross_entropy,
    normalised,
    parse_space,
)

P_GRID = tuple(hundredths / 100 for hundredths in range(5, 100, 5))
SMALLEST_LOSS = 1e-12
DEFAULT_SCHEME = "geometric"


class Scheme(Protocol):
    """A way to weigh branches; `setting` is its p or k, None to choose it on the held-out rows."""

    def __call__(self, held_out: BranchOutputs, space: Space, setting: float | None = None) -> Combiner:
        """Return what it decides."""
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
    return normalised(np.ones(len(np.asarray(losses))))


def loss_weights(losses: npt.ArrayLike) -> Weights:
    """1/L_q, normalised: "weights by loss".

    >>> loss_weights([0.3, 0.1]).round(3).tolist()
    [0.25, 0.75]
    """
    return normalised(1 / np.maximum(np.asarray(losses, np.float64), SMALLEST_LOSS))


def geometric_weights(losses: npt.ArrayLike, p: float) -> Weights:
    """p^a(q), normalised, 0 < p ≤ 1: "geometric weights".

    >>> geometric_weights([0.3, 0.1], 0.5).round(3).tolist()
    [0.333, 0.667]
    """
    if not 0 < p <= 1:
        raise InputError("unusable p for geometric weights", expected="more than 0, at most 1", got=p)
    # p^(a−1) is the same after normalising, and the best branch's weight cannot underflow.
    return normalised(np.float64(p) ** (order_by_loss(losses) - 1))


def top_k_weights(losses: npt.ArrayLike, k: int) -> Weights:
    """1/k for the k branches of lowest loss, 0 for the others: the poster's "average of top-k subnetworks".

    >>> top_k_weights([0.3, 0.1, 0.2], 2).tolist()
    [0.0, 0.5, 0.5]
    """
    ranks = order_by_loss(losses)
    if not 1 <= k <= len(ranks):
        raise InputError("unusable k for top-k", expected=f"1 to {len(ranks)}", got=k)
    return normalised((ranks <= k).astype(np.float64))


def best_weights(losses: npt.ArrayLike) -> Weights:
    """1 for the branch of lowest loss: "select the best", δ(a(q) = 1).

    >>> best_weights([0.3, 0.1, 0.2]).tolist()
    [0.0, 1.0, 0.0]
    """
    return top_k_weights(losses, 1)


def _average(held_out: BranchOutputs, space: Space, setting: float | None = None) -> Combiner:
    return WeightedSum(average_weights(held_out.losses), space, {})


def _by_loss(held_out: BranchOutputs, space: Space, setting: float | None = None) -> Combiner:
    return WeightedSum(loss_weights(held_out.losses), space, {})


def _geometric(held_out: BranchOutputs, space: Space, setting: float | None = None) -> Combiner:
    grid, losses = P_GRID if setting is None else (setting,), held_out.losses
    return _tuned(held_out, space, "p", grid, lambda p: geometric_weights(losses, p))


def _best(held_out: BranchOutputs, space: Space, setting: float | None = None) -> Combiner:
    return WeightedSum(best_weights(held_out.losses), space, {})


def _top_k(held_out: BranchOutputs, space: Space, setting: float | None = None) -> Combiner:
    losses = held_out.losses
    grid = range(1, len(losses) + 1) if setting is None else (setting,)
    return _tuned(held_out, space, "k", grid, lambda k: top_k_weights(losses, int(k)))


def _learned(held_out: BranchOutputs, space: Space, setting: float | None = None) -> Combiner:
    return learned(held_out)


def _stacked(held_out: BranchOutputs, space: Space, setting: float | None = None) -> Combiner:
    return stacked(held_out)


SCHEMES: Mapping[str, Scheme] = {
    "average": _average,
    "loss": _by_loss,
    "geometric": _geometric,
    "best": _best,
    "top-k": _top_k,
    "learned": _learned,
    "stacked": _stacked,
}

OF_LOGARITHMS = ("learned", "stacked")
"""Schemes that combine log-probabilities by definition."""


def schemes_in(space: str) -> tuple[str, ...]:
    """Return the schemes that work in this space.

    >>> schemes_in("probabilities")
    ('average', 'loss', 'geometric', 'best', 'top-k')
    """
    return tuple(name for name in SCHEMES if parse_space(space) == "log-probabilities" or name not in OF_LOGARITHMS)


def weigh(
    scheme: str, held_out: BranchOutputs, space: str = DEFAULT_SPACE, *, p: float | None = None, k: int | None = None
) -> Combiner:
    """Return what a scheme makes of held-out rows.

    Parameters
    ----------
    scheme
        A name of `SCHEMES`.
    held_out
        Outputs and labels of the held-out rows.
    space
        In which outputs will be combined; p and k are chosen for it. `learned` and `stacked` know log-probabilities
        alone.
    p, k
        Of `geometric` (0 < p ≤ 1) and `top-k` (1 ≤ k ≤ S). None: the one with the highest ensemble accuracy on the
        held-out rows, of equal ones that with the lowest loss there.

    Raises
    ------
    InputError
        If a name is unknown, p or k is out of range, or the scheme does not work in this space.
    """
    if scheme not in SCHEMES:
        raise InputError("unknown ensemble scheme", expected=f"one of {', '.join(SCHEMES)}", got=scheme)
    if scheme not in schemes_in(space):
        raise InputError(f"{scheme} combines log-probabilities", expected="--space log-probabilities", got=space)
    settings: Mapping[str, float | None] = {"geometric": p, "top-k": k}
    return SCHEMES[scheme](held_out, parse_space(space), settings.get(scheme))


def _tuned(
    held_out: BranchOutputs, space: Space, name: str, grid: Iterable[float], weights_for: Callable[[float], Weights]
) -> Combiner:
    candidates = [WeightedSum(weights_for(setting), space, {name: setting}) for setting in grid]
    if len(candidates) == 1:
        return candidates[0]

    def merit(candidate: WeightedSum) -> tuple[float, float]:
        combined = candidate(held_out.log_probabilities)
        return accuracy(combined, held_out.labels), -cross_entropy(combined.log(), held_out.labels)

    return max(candidates, key=merit)
