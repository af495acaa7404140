"""What runs there are, and how they differ.

Input: a folder of runs, or runs. Output: an `Overview` of each from its records alone, no file of which is hashed here;
or their settings and accuracies side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spectral_prep.errors import SpectralError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place, below
from spectral_prep.store.record_file import plain
from spectral_prep.system.differences import leaves
from spectral_train.ensemble.combination import DEFAULT_SCHEME, Combination
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.folders import NETWORK, not_a_run
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import NetworkRecord, describe

SMALL_OUTPUTS = 1 << 28
"""Bytes of all outputs of a run that are read to measure its ensemble for a list."""
OF_ONE_BRANCH = ("shard", "spectrals", "mean", "std", "input_shape", "classes", "encoding")
ACCURACIES = ("ensemble", "mean branch", "best branch", "baseline")


@dataclass(frozen=True)
class Overview:
    """One run: `done` of `branches` are finished, `begun` names networks that are not.

    `held_out` is the mean accuracy of the finished branches on held-out rows; `ensemble` that of the geometric ensemble
    on test rows, None where branches are missing or the outputs are large. `changed_ns` is when the last record was
    written; `fault` why a run cannot be read.
    """

    run: str
    dataset: str | None
    q: int | None
    model: str | None
    done: int
    branches: int | None
    begun: tuple[str, ...]
    baseline: bool
    held_out: float | None
    ensemble: float | None
    changed_ns: int | None
    size_bytes: int
    fault: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return asdict(self)


def overviews(folder: Place) -> tuple[Overview, ...]:
    """Return an overview of each run in a folder, or of the one that it is, by name.

    Raises
    ------
    InputError
        If there is none.
    """
    names = at(folder).folders() if at(folder).is_folder() else []
    if any(map(NETWORK.fullmatch, names)):
        return (overview(folder),)
    found = [folder / name for name in names if any(map(NETWORK.fullmatch, at(folder / name).folders()))]
    if not found:
        raise not_a_run(folder, "no run here", to_be_trained=False)
    return tuple(map(overview, found))


def overview(run: Place) -> Overview:
    """Return what the records of a run say."""
    sizes = {entry.path: entry.size for entry in at(run).files()}
    networks = {name: NetworkPaths(run / name) for name in at(run).folders() if NETWORK.fullmatch(name)}
    done = {name: paths for name, paths in networks.items() if exists(paths.record)}
    branches, fault = [], None
    for name, paths in done.items():
        try:
            record = describe(paths)
            branches += [record] if name != "baseline" else []
        except SpectralError as error:
            fault = str(error)
    first = branches[0] if branches else None
    whole = first is not None and len(branches) == first.plan.shards and fault is None
    small = sum(sizes.get(below(run, paths.outputs), 0) for paths in done.values()) <= SMALL_OUTPUTS
    ensemble = None
    if first is not None and whole and small and first.rows["test"]:
        try:
            ensemble = evaluate(run, [DEFAULT_SCHEME]).ensemble[DEFAULT_SCHEME]
        except SpectralError as error:
            fault = str(error)
    return Overview(
        run=str(run),
        dataset=first.plan.dataset if first else None,
        q=first.plan.spec.q if first else None,
        model=first.plan.recipe.model if first else None,
        done=len(branches),
        branches=first.plan.shards if first else None,
        begun=tuple(name for name in networks if name not in done),
        baseline="baseline" in done,
        held_out=sum(each.held_out_accuracy for each in branches) / len(branches) if branches else None,
        ensemble=ensemble,
        changed_ns=max((at(paths.record).state().changed_ns for paths in done.values()), default=None),
        size_bytes=sum(sizes.values()),
        fault=fault,
    )


@dataclass(frozen=True)
class Comparison:
    """Runs side by side: `settings` that differ, each with a value a run, and `figures` of all, None where unknown.

    Where the branches of a run differ in a setting, its value is a tuple, one a branch.
    """

    runs: tuple[str, ...]
    settings: Mapping[str, tuple[Any, ...]]
    figures: Mapping[str, tuple[float | None, ...]]


def compare(runs: Sequence[Place]) -> Comparison:
    """Return how runs differ, and how good each is with the branches that it has.

    Raises
    ------
    InputError, PlanMismatchError, CorruptFileError
        As `evaluate` does.
    """
    evaluations = [evaluate(run, [DEFAULT_SCHEME], Combination(allow_missing=True)) for run in runs]
    records = [[describe(RunPaths(run).branch(shard)) for shard in RunPaths(run).finished()] for run in runs]
    settings = [
        {**_settings(each), "accuracies on": evaluation.measured_on}
        for each, evaluation in zip(records, evaluations, strict=True)
    ]
    names = list(dict.fromkeys(name for each in settings for name in each))
    return Comparison(
        runs=tuple(map(str, runs)),
        settings={
            name: tuple(each.get(name) for each in settings)
            for name in names
            if any(each.get(name) != settings[0].get(name) for each in settings)
        },
        figures={
            "ensemble": tuple(each.ensemble[DEFAULT_SCHEME] for each in evaluations),
            "mean branch": tuple(each.mean_accuracy for each in evaluations),
            "best branch": tuple(each.best_accuracy for each in evaluations),
            "baseline": tuple(each.baseline for each in evaluations),
            "rows": tuple(each.rows for each in evaluations),
            "branches": tuple(len(each) for each in records),
            "parameters": tuple(sum(record.parameters for record in each) for each in records),
            "seconds": tuple(sum(record.seconds for record in each) for each in records),
        },
    )


def _settings(records: Sequence[NetworkRecord]) -> dict[str, Any]:
    """Return the settings of the branches of a run: a value where all have it, else a tuple with that of each."""
    each = [_settings_of(record) for record in records]
    names = dict.fromkeys(name for settings in each for name in settings)
    values = {name: tuple(settings.get(name) for settings in each) for name in names}
    return {name: found[0] if all(value == found[0] for value in found) else found for name, found in values.items()}


def _settings_of(record: NetworkRecord) -> dict[str, Any]:
    plan = {name: value for name, value in plain(record.plan).items() if name not in OF_ONE_BRANCH}
    return {name.removeprefix("recipe."): value for name, value in leaves(plan)}
