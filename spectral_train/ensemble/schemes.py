"""The schemes that weigh the branches, from held-out rows alone (long paper, section 3.2, and poster).

Input: log-probabilities (n, classes) of each of S branches on the same held-out rows, and those rows' labels.
Output: a `Combiner`, which gives the probabilities of the ensemble on any rows.

Nothing here ever sees a test label: the loss L_q that orders and weighs the branches is that on held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from spectral_prep.errors import InputError
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, FUSED, Combination, SchemeName, Space, Weighed
from spectral_train.ensemble.combiners import Combiner, WeightedSum, Weights, normalised
from spectral_train.ensemble.fitted import learned, stacked
from spectral_train.run.outputs import BranchOutputs, bounded

P_GRID = tuple(hundredths / 100 for hundredths in range(5, 100, 5))
SMALLEST_LOSS = 1e-12
NUMBERS_AT_ONCE = 1 << 18  # of one branch: what P candidates make of them stays some 40 MB
LOWEST = -1e9  # instead of log 0: 0 · log 0 is not a number


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


SCHEMES: Mapping[Weighed, Scheme] = {
    "average": _average,
    "loss": _by_loss,
    "geometric": _geometric,
    "best": _best,
    "top-k": _top_k,
    "learned": _learned,
    "stacked": _stacked,
}


def weigh(held_out: BranchOutputs, combination: Combination = DEFAULT_COMBINATION) -> Combiner:
    """Return what the scheme of a combination makes of held-out rows; its temperature is not applied (`calibrated`).

    Raises
    ------
    InputError
        If p or k is out of range, or the scheme is `fused`: no held-out rows make one.
    """
    settings: Mapping[SchemeName, float | None] = {"geometric": combination.p, "top-k": combination.k}
    scheme = combination.scheme
    if scheme == FUSED:
        raise InputError(
            "a fused network is not fitted anew to other branches by the way",
            expected=f"one of {', '.join(SCHEMES)}",
            run="spectral-ensemble fuse with --without for a lost branch, then evaluate with the same --without",
        )
    return SCHEMES[scheme](held_out, combination.space, settings.get(scheme))


def _tuned(
    held_out: BranchOutputs, space: Space, name: str, grid: Iterable[float], weights_for: Callable[[float], Weights]
) -> Combiner:
    candidates = [WeightedSum(weights_for(setting), space, {name: setting}) for setting in grid]
    if len(candidates) == 1:
        return candidates[0]

    merits = _merits(held_out, [candidate.weights for candidate in candidates], space)
    return candidates[merits.index(max(merits))]


def _merits(held_out: BranchOutputs, candidates: Sequence[Weights], space: Space) -> list[tuple[float, float]]:
    """Return what each of P weights (S,) makes of the held-out rows, (rows right, −their losses), in one pass."""
    outputs, weights_PS = held_out.log_probabilities, torch.from_numpy(np.stack(candidates))
    right_P, merit_P = torch.zeros(2, len(candidates), dtype=torch.float64)
    rows_at_once = max(1, NUMBERS_AT_ONCE // outputs[0].shape[1])
    for start in range(0, len(held_out.labels), rows_at_once):
        rows = slice(start, start + rows_at_once)
        labels_N = held_out.labels[rows].long()
        values_SNK = torch.stack([values[rows] for values in outputs]).double()
        values_SNK = values_SNK.exp() if space == "probabilities" else values_SNK.clamp(min=LOWEST)
        scores_PNK = torch.einsum("ps,snk->pnk", weights_PS, values_SNK)
        at_label_PN = scores_PNK[:, torch.arange(len(labels_N)), labels_N]
        logs_PN = at_label_PN.log() if space == "probabilities" else at_label_PN - scores_PNK.logsumexp(2)
        right_P += (scores_PNK.argmax(2) == labels_N).sum(1)
        merit_P += bounded(logs_PN).sum(1)
    return list(zip(right_P.tolist(), merit_P.tolist(), strict=True))
