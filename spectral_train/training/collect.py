"""Branches that were trained elsewhere, gathered into one run.

Input: a run and folders of branches, or of runs that hold some. Output: the run with all of them.

1. Every branch is proved whole, and all to belong together and to what is in the run. (Metrics are copied as they are:
   curves alone need them.)
2. One that is in the run already is left as it is, if it is the same; another one of its number is refused.
3. Then the files of each are copied, hashed on the way, the record last: a kill leaves no branch by halves, and the
   same command goes on. What a branch says of its rows, for a head, comes after, also of one that was there already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError
from spectral_prep.places import STREAMED_BYTES, at, exists, sole_use
from spectral_prep.places.url import Place
from spectral_prep.store.record_file import plain
from spectral_prep.system.differences import differences
from spectral_train.folders import not_a_run, require_run_folder
from spectral_train.run.branches import require_belonging, require_same_rows, require_widths
from spectral_train.run.fusion_inputs import written
from spectral_train.run.metrics import Log, silent
from spectral_train.run.paths import WRITING, NetworkPaths, RunPaths
from spectral_train.run.record import METRICS, NetworkRecord, read_network, train_again
from spectral_train.run.said import ON, On
from spectral_train.training.network import tidy, tidy_finished

APART = "the same command without one of them, or with another run to collect into"


@dataclass(frozen=True)
class Found:
    """A finished network and where it is."""

    paths: NetworkPaths
    record: NetworkRecord

    @property
    def number(self) -> int | None:
        """Its shard; None for the baseline."""
        return self.record.plan.shard


@dataclass(frozen=True)
class Collected:
    """What came of one network: `new` if it was copied, False if it was there already."""

    name: str
    source: Place
    new: bool


def collect(run: Place, folders: Sequence[Place], log: Log = silent) -> tuple[Collected, ...]:
    """Copy the networks in these folders into a run, with what they say of their rows; what is there already stays.

    Parameters
    ----------
    run
        The folder with `branch-00/` …, made if need be.
    folders
        Each a folder of one network, or a run.
    log
        Takes a line a network.

    Raises
    ------
    InputError
        If a folder holds no trained network, the run would be written into a data set or a network's folder, or one is
        being trained in the run.
    PlanMismatchError
        If networks do not belong together, or the run holds another of the same number.
    CorruptFileError
        If a file of a network is damaged.
    """
    require_run_folder(run, "")
    target = RunPaths(run)
    there = {each.number: each for each in _networks(run)} if at(run).is_folder() else {}
    coming = [each for folder in folders for each in _required(folder)]
    _require_together([*there.values(), *coming])
    chosen: dict[int | None, Found] = {}
    for each in coming:
        _require_same(there.get(each.number, chosen.setdefault(each.number, each)), each)
    for number in chosen.keys() - there.keys():
        _require_not_begun(_place(target, number), chosen[number])
    said = {number: [on for on in ON if written(each.record, each.paths, on)] for number, each in chosen.items()}
    collected = []
    for number, each in chosen.items():
        paths = _place(target, number)
        if new := number not in there:
            _copy(each, paths)
        else:
            tidy_finished(paths)
        missing = [on for on in said[number] if not _is_there(each.record, paths, on)]
        if missing:
            _copy_said(each, paths, missing)
        came = "copied" if new else "there already, what it says of its rows copied" if missing else "there already"
        log(f"{each.record.plan.name}: {came}, of {each.paths.root}")
        collected.append(Collected(each.record.plan.name, each.paths.root, new))
    return tuple(collected)


def _required(folder: Place) -> list[Found]:
    found = _networks(folder) if at(folder).is_folder() else []
    if not found:
        raise not_a_run(folder, "no trained network here", to_be_trained=False)
    return found


def _networks(folder: Place) -> list[Found]:
    """Return the finished networks of a folder: its own, or those of a run."""
    run = RunPaths(folder)
    own = NetworkPaths(folder)
    places = [own] if exists(own.record) else [*map(run.branch, run.finished()), run.baseline]
    return [Found(paths, read_network(paths)) for paths in places if exists(paths.record)]


def _require_together(networks: Sequence[Found]) -> None:
    branches = [each for each in networks if each.number is not None]
    for each in branches[1:]:
        require_belonging(
            branches[0].record.plan,
            each.record.plan,
            APART,
            where=f"{branches[0].paths.root} and {each.paths.root}",
        )
    require_widths([each.record for each in branches])
    for each in networks:
        if each.number is None and branches:
            require_same_rows(branches[0].record.plan, each.record.plan, each.paths.root, APART)


def _require_same(one: Found, other: Found) -> None:
    """Refuse two networks of one number, unless plan, weights and outputs are the same."""
    found = differences(plain(one.record.plan), plain(other.record.plan), names=("in one", "in the other"))
    if not found and _content(one) != _content(other):
        found = ("weights or outputs of another sha256",)
    if found:
        raise PlanMismatchError(
            f"two different networks are {one.record.plan.name}",
            where=f"{one.paths.root} and {other.paths.root}",
            got="; ".join(found),
            run=APART,
        )


def _content(network: Found) -> set[tuple[str, str]]:
    paths = network.paths
    kept = {paths.model.name, paths.outputs.name}
    return {(entry.path, entry.sha256) for entry in network.record.files if entry.path in kept}


def _require_not_begun(paths: NetworkPaths, coming: Found) -> None:
    if exists(paths.checkpoint):
        raise InputError(
            f"{coming.record.plan.name} is begun here and not finished",
            where=paths.root,
            run=f"the training to its end, or delete {paths.root}, then the same command",
        )


def _place(run: RunPaths, number: int | None) -> NetworkPaths:
    return run.baseline if number is None else run.branch(number)


def _copy(network: Found, paths: NetworkPaths) -> None:
    source = network.paths
    hashes = {entry.path: entry.sha256 for entry in network.record.files if entry.path != METRICS}
    with sole_use(paths.lock, f"{network.record.plan.name} is written already", WRITING):
        tidy(paths)
        for one, other in (
            (source.model, paths.model),
            (source.outputs, paths.outputs),
            (source.metrics, paths.metrics),
            (source.rates_record, paths.rates_record),
            (source.record, paths.record),
        ):
            if exists(one):
                _copy_file(one, other, hashes.get(one.name), source)


def _is_there(record: NetworkRecord, paths: NetworkPaths, on: On) -> bool:
    """Whether what a branch says of its rows is in the run, and whole."""
    with contextlib.suppress(CorruptFileError):
        return written(record, paths, on) is not None
    return False


def _copy_said(network: Found, paths: NetworkPaths, kinds: Sequence[On]) -> None:
    source = network.paths
    with sole_use(paths.lock, f"{network.record.plan.name} is written already", WRITING):
        for on in kinds:
            _copy_file(source.fusion_inputs(on), paths.fusion_inputs(on), None, source)
            _copy_file(source.fusion_record(on), paths.fusion_record(on), None, source)


def _copy_file(source: Place, target: Place, sha256: str | None, network: NetworkPaths) -> None:
    file = at(target).new(WRITING)
    try:
        with at(source).stream(0) as content:
            while piece := content.read(STREAMED_BYTES):
                file.append(piece)
        if sha256 is not None and file.sha256 != sha256:
            raise CorruptFileError("a file changed while it was copied", where=source, run=train_again(network))
        file.finish()
    finally:
        file.abandon()
