"""Combinations whose weights are fitted to held-out rows: the log-linear pool and the class-wise stack.

Input: outputs and labels of held-out rows. Output: a `Combiner`.

`learned` is log P_k = Σ_s w_s · log P_sk + const with w ≥ 0, a log-linear opinion pool (Genest and Zidek 1986); the sum
of w is the inverse of a temperature. With S numbers for all classes it needs few rows.

`stacked` gives a branch one weight a class, w_sk, and a class one bias. A full linear map of S·K inputs to K classes
(16 million numbers for S = 16, K = 1000) cannot be fitted to held-out rows; that a class's own S outputs suffice is
StackingC (Seewald 2002), and that weights must not be negative is Breiman's finding (Stacked Regressions, 1996).

Both losses are convex and start from one point, so that the result depends on the rows alone. A penalty draws the
weights of `learned` towards their mean, the average, and those of `stacked` towards `learned`; how strongly is chosen
by cross-validation on the held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch

from spectral_prep.system.threads import blas_threads
from spectral_train.ensemble.combiners import ClassWise, Combiner, Tempered, WeightedSum
from spectral_train.run.outputs import BranchOutputs, bounded

STRENGTHS = (10.0, 1.0, 0.1, 0.01, 0.001)
FOLDS = 5
MOST_STEPS = 200
MOST_VALUES = 1 << 24
HOTTEST = 1e4

Numbers = npt.NDArray[np.float64]
Fit = Callable[[float], Numbers]
"""Returns the weights, (S, 1) or (S + 1, classes) with the biases last, that a strength gives on some rows."""


@dataclass(frozen=True)
class HeldOutRows:
    """Held-out rows as a fit wants them: `values` (S, n, classes), finite; `labels` (n,)."""

    values: Numbers
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, positions: npt.NDArray[np.int64]) -> HeldOutRows:
        """Return some of the rows."""
        return HeldOutRows(self.values[:, positions], self.labels[positions])

    def loss(self, weights: Numbers) -> tuple[float, Numbers]:
        """Return the mean cross-entropy in nats with these weights, (S or S + 1, classes or 1), and its gradient."""
        branches, rows, classes = self.values.shape
        per_class = np.broadcast_to(weights[:branches], (branches, classes))
        scores = np.einsum("sk,snk->nk", per_class, self.values) + weights[branches:].sum(0)
        scores -= scores.max(1, keepdims=True)
        here = (np.arange(rows), self.labels)
        right = scores[here]
        surplus = np.exp(scores, out=scores)  # becomes probability − truth, a row's share of the gradient
        totals = surplus.sum(1, keepdims=True)
        surplus /= totals
        surplus[here] -= 1
        surplus /= rows
        slope = np.vstack([np.einsum("nk,snk->sk", surplus, self.values), surplus.sum(0)])
        reduced = slope[: len(weights)] if weights.shape[1] == classes else slope[: len(weights)].sum(1, keepdims=True)
        return float((np.log(totals[:, 0]) - right).mean()), reduced


@blas_threads(1)  # threads that wait for each other's few numbers made it five times slower
def learned(held_out: BranchOutputs) -> Combiner:
    """Return the log-linear pool with non-negative weights and a temperature.

    Of more held-out rows than `MOST_VALUES` numbers hold, it is fitted to an even choice.
    """
    rows = _rows(held_out)
    strength = _strength(_learned_on, rows)
    return _as_pool(_learned_on(rows)(strength), strength)


@blas_threads(1)
def stacked(held_out: BranchOutputs) -> Combiner:
    """Return the class-wise stack; where it is not worth more than `learned`, the penalty keeps it there."""
    rows = _rows(held_out)
    towards = _strength(_learned_on, rows)

    def stacked_on(some: HeldOutRows) -> Fit:
        return _stacked_on(some, _learned_on(some)(towards))

    strength = _strength(stacked_on, rows)
    weights = stacked_on(rows)(strength)
    return ClassWise(weights[:-1], weights[-1], {"strength": strength})


def _learned_on(rows: HeldOutRows) -> Fit:
    branches = len(rows.values)

    def fit(strength: float) -> Numbers:
        def objective(weights: Numbers) -> tuple[float, Numbers]:
            loss, slope = rows.loss(weights)
            apart = weights - weights.mean()
            # Worth one row: without it, rows that are all right would make the pool infinitely certain.
            excess, doubt = weights.sum() - 1, 1 / (branches * len(rows))
            loss += strength * np.square(apart).sum() + doubt * excess**2 / 2
            return loss, slope + 2 * strength * apart + doubt * excess

        return _minimise(objective, np.full((branches, 1), 1 / branches), np.zeros((branches, 1)))

    return fit


def _stacked_on(rows: HeldOutRows, centre: Numbers) -> Fit:
    classes = rows.values.shape[2]
    start = np.vstack([np.repeat(centre, classes, 1), np.zeros((1, classes))])
    lowest = np.zeros_like(start)
    lowest[-1] = -np.inf

    def fit(strength: float) -> Numbers:
        share = strength / classes  # a class is seen in 1/K of the rows: so much, too, does its penalty count

        def objective(weights: Numbers) -> tuple[float, Numbers]:
            loss, slope = rows.loss(weights)
            return loss + share * np.square(weights - start).sum(), slope + 2 * share * (weights - start)

        return _minimise(objective, start, lowest)

    return fit


def _strength(fit_on: Callable[[HeldOutRows], Fit], rows: HeldOutRows) -> float:
    """Return the strength of least loss in cross-validation, going from the largest down as long as the loss falls."""
    folds = min(FOLDS, len(rows))
    if folds < 2:
        return STRENGTHS[0]
    order = np.random.RandomState(0).permutation(len(rows))
    parts = np.array_split(order, folds)
    trials = [(rows.at(part), fit_on(rows.at(np.setdiff1d(order, part)))) for part in parts]
    chosen, least = STRENGTHS[0], np.inf
    for strength in STRENGTHS:
        loss = sum(len(test) * test.loss(fit(strength))[0] for test, fit in trials)
        if loss >= least:
            break
        chosen, least = strength, loss
    return chosen


def _minimise(objective: Callable[[Numbers], tuple[float, Numbers]], start: Numbers, lowest: Numbers) -> Numbers:
    def value_and_gradient(flat: Numbers) -> tuple[float, Numbers]:
        value, slope = objective(flat.reshape(start.shape))
        return value, slope.ravel()

    found = scipy.optimize.minimize(
        value_and_gradient,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(lowest.ravel(), np.inf),
        options={"maxiter": MOST_STEPS, "ftol": 1e-8},
    )
    result: Numbers = np.asarray(found.x, np.float64).reshape(start.shape)
    return result


def _as_pool(weights: Numbers, strength: float) -> Combiner:
    total = weights.sum()
    if total <= 1 / HOTTEST:  # no branch knows anything: every class alike
        return Tempered(WeightedSum(np.full(len(weights), 1 / len(weights)), "log-probabilities", {}), HOTTEST)
    pool = WeightedSum(weights[:, 0] / total, "log-probabilities", {"strength": strength})
    return Tempered(pool, float(1 / total))


def _rows(held_out: BranchOutputs) -> HeldOutRows:
    values, labels = held_out.log_probabilities, held_out.labels
    count = min(len(labels), max(1, MOST_VALUES // (len(values) * values[0].shape[1])))
    some = torch.from_numpy(np.linspace(0, len(labels) - 1, count).astype(np.int64))
    return HeldOutRows(
        np.stack([bounded(each[some]).numpy() for each in values]), labels[some].numpy().astype(np.int64)
    )
