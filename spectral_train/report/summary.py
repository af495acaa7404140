"""All that a report says of a run, measured once.

Input: the folder of a run. Output: a `Summary`, from which tables and figures are drawn without another look at
the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.places.url import Place
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, Combination
from spectral_train.ensemble.evaluate import Evaluation, evaluate
from spectral_train.ensemble.schemes import weigh
from spectral_train.report.cost import Costs
from spectral_train.run.branches import fitted_and_measured, read_baseline, read_branches, shard_of
from spectral_train.run.commands import RunCommands, run_commands
from spectral_train.run.metrics import EpochMetrics, Log, silent
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkPlan, NetworkRecord, read_history


@dataclass(frozen=True)
class Curve:
    """The epochs of one network; `shard` is None for the baseline."""

    shard: int | None
    epochs: tuple[EpochMetrics, ...]


@dataclass(frozen=True)
class Summary:
    """One run: its records and evaluation, costs, loss curves, how it was trained, and what becomes of each class.

    `confusion` (classes, classes) counts test rows by (label, guess) of the ensemble `evaluation.main`;
    `recall` (S + 1, classes) is the share of each class's rows that each branch, and last the ensemble, gets right,
    NaN for a class without test rows.
    """

    run: Place
    records: tuple[NetworkRecord, ...]
    baseline: NetworkRecord | None
    evaluation: Evaluation
    costs: Costs
    curves: tuple[Curve, ...]
    commands: RunCommands
    confusion: npt.NDArray[np.int64]
    recall: npt.NDArray[np.float64]

    @property
    def name(self) -> str:
        """That of the folder of the run."""
        return (self.run.resolve() if isinstance(self.run, Path) else self.run).name

    @property
    def plan(self) -> NetworkPlan:
        """That of the first branch, for what all share."""
        return self.records[0].plan

    @property
    def shards(self) -> tuple[int, ...]:
        """The branches that take part."""
        return tuple(map(shard_of, self.records))


def summarise(run: Place, combination: Combination = DEFAULT_COMBINATION, log: Log = silent) -> Summary:
    """Measure a run by every scheme; raises what `evaluate` raises."""
    paths = RunPaths(run)
    evaluation = evaluate(run, combination=combination, ablate=True, log=log)
    records = read_branches(paths, combination.without, combination.allow_missing)
    baseline = read_baseline(paths, records[0])
    held_out, test = fitted_and_measured(paths, records)
    combiner = weigh(held_out, replace(combination, scheme=evaluation.main))
    guesses = [*(values.argmax(1) for values in test.log_probabilities), combiner(test.log_probabilities).argmax(1)]
    counts = [confusion(guess, test.labels, len(records[0].plan.classes)) for guess in guesses]
    curves = [Curve(shard_of(each), read_history(each, paths.branch(shard_of(each)))) for each in records]
    if baseline is not None:
        curves.append(Curve(None, read_history(baseline, paths.baseline)))
    return Summary(
        run=run,
        records=records,
        baseline=baseline,
        evaluation=evaluation,
        costs=Costs.of(records, baseline),
        curves=tuple(curve for curve in curves if curve.epochs),
        commands=run_commands(records, paths),
        confusion=counts[-1],
        recall=np.stack(list(map(recall, counts))),
    )


def confusion(guesses: Tensor, labels: Tensor, classes: int) -> npt.NDArray[np.int64]:
    """Return how many rows of each label got each guess, (classes, classes).

    >>> confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = torch.bincount(labels.long() * classes + guesses.long(), minlength=classes**2)
    return cells.reshape(classes, classes).numpy().astype(np.int64)


def recall(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the share of each class's rows on the diagonal, NaN for a class without rows.

    >>> recall(np.array([[3, 1], [0, 0]])).tolist()
    [0.75, nan]
    """
    rows = counts.sum(1).astype(np.float64)
    share: npt.NDArray[np.float64] = np.divide(np.diag(counts), rows, out=np.full(len(rows), np.nan), where=rows > 0)
    return share


def condensed(counts: npt.NDArray[np.int64], most: int) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Return the classes that take part in most mistakes, ascending, and the counts of these and of all others in one.

    Up to `most` classes all are kept, and there are no others.

    >>> kept, few = condensed(np.array([[3, 1, 0], [2, 0, 0], [0, 0, 7]]), 2)
    >>> kept, few.tolist()
    ([0, 1], [[3, 1, 0], [2, 0, 0], [0, 0, 7]])
    """
    if len(counts) <= most:
        return list(range(len(counts))), counts
    wrong = counts - np.diag(np.diag(counts))
    kept = sorted(np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:most].tolist())
    place = np.full(len(counts), most)
    place[kept] = range(most)
    few = np.zeros((most + 1, most + 1), np.int64)
    np.add.at(few, (place[:, None], place[None, :]), counts)
    return kept, few


def worst_confusions(counts: npt.NDArray[np.int64], most: int) -> Sequence[tuple[int, int, int]]:
    """Return the most frequent mistakes, as (label, guess, rows), the most frequent first.

    >>> worst_confusions(np.array([[3, 1], [2, 0]]), 5)
    [(1, 0, 2), (0, 1, 1)]
    """
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(label), int(guess), int(wrong[label, guess])) for label, guess in pairs if wrong[label, guess]]
