"""The branches of a run, proved to belong together, with their rows matched by id.

Input: the folder of a run. Output: one record a branch and the outputs of all of them. It needs nothing
but the run: no shard, no data set. Branches may be missing where the caller says so: a lost node.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError
from spectral_prep.places import exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.store.record_file import plain
from spectral_prep.system.differences import differences
from spectral_train.folders import not_a_run
from spectral_train.run.commands import baseline_command, train_command
from spectral_train.run.common import Branch, odd_width
from spectral_train.run.outputs import HELD_OUT, TEST, BranchOutputs, Outputs, accuracy, read_outputs
from spectral_train.run.paths import NetworkPaths, RunPaths, without_options
from spectral_train.run.record import NetworkPlan, NetworkRecord, read_network, train_again


def read_branches(
    run: RunPaths, without: Collection[int] = (), allow_missing: bool | None = None, data: Place | None = None
) -> tuple[NetworkRecord, ...]:
    """Return the records of the branches of a run, by shard.

    Parameters
    ----------
    without
        Shards to leave out, whether their branches are there or not: lost nodes. Their files are not read.
    allow_missing
        Do with the branches that are there; None, which does not, where the user cannot ask for it.
    data
        Their data set, if the user named it, for the command that trains a missing one.

    Raises
    ------
    InputError
        If there is no run, or branches are missing: the message names them and the command that trains the first.
    PlanMismatchError
        If two branches do not belong together, naming both and what differs, or one is not as wide as their rule says.
    CorruptFileError
        If a file of a branch is damaged.
    """
    finished = run.finished()
    if not finished:
        raise not_a_run(run.root, "no trained branch here")
    numbers = [number for number in finished if number not in without]
    if not numbers:
        raise InputError(
            "no trained branch is left",
            where=run.root,
            expected=f"one or more of {_listed(finished)}",
            got=without_options(sorted(set(without))).strip(),
            run="the same command with fewer --without",
        )
    records = [read_network(run.branch(number)) for number in numbers]
    for number, record in zip(numbers, records, strict=True):
        require_belonging(records[0].plan, record.plan)
        if record.plan.shard != number:
            raise PlanMismatchError(
                "a branch lies in the folder of another",
                where=run.branch(number).root,
                expected=f"branch {number}",
                got=record.plan.name,
                run="the same command after this folder is put where it belongs, and the branch of this number here",
            )
    require_widths(records, run, data)
    shards = records[0].plan.shards
    if unknown := sorted(set(without) - set(range(shards))):
        raise InputError(f"--without {unknown[0]} does not exist", expected=f"0 to {shards - 1}")
    lost = [shard for shard in missing(records) if shard not in without]
    if lost and not allow_missing:
        command, differing = train_command(records, lost[0], run, data)
        raise InputError(
            f"{_listed(lost)} of {shards} not trained",
            where=run.root,
            expected=f"all {shards}" if allow_missing is None else f"all {shards}, or --allow-missing",
            got=f"{_listed(numbers)}, which differ in {'; '.join(differing)}" if differing else None,
            run=command,
        )
    _partition(records)
    return tuple(records)


def read_baseline(run: RunPaths, branch: NetworkRecord) -> NetworkRecord | None:
    """Return the record of the conventional network, None where there is none; refuse that of other rows."""
    if not exists(run.baseline.record):
        return None
    record, place = read_network(run.baseline), run.baseline.root
    again = f"delete {quoted(place)}, then {baseline_command(branch, run)}"
    require_same_rows(branch.plan, record.plan, place, again)
    return record


def require_same_rows(branch: NetworkPlan, baseline: NetworkPlan, where: Place, run: str) -> None:
    """Raise `PlanMismatchError`, which says what to `run`, if a conventional network has other rows than a branch."""
    names = ("in the branches", "in the baseline")
    if found := differences(_rows_of(branch), _rows_of(baseline), names=names):
        raise PlanMismatchError(
            "the baseline has not the rows of the branches",
            where=where,
            expected="one data set and hold-out",
            got="; ".join(found),
            run=run,
        )


def outputs_of(run: RunPaths, records: Sequence[NetworkRecord], rows: str) -> BranchOutputs:
    """Return the outputs of these branches on `held_out` or `test` rows, each row the same image in every branch.

    Raises
    ------
    PlanMismatchError
        If two branches have other rows or other labels, naming both.
    CorruptFileError
        As `checked_outputs` does.
    """
    plans = [record.plan for record in records]
    names = [run.branch(shard_of(record)) for record in records]
    outputs = [checked_outputs(record, paths, rows) for record, paths in zip(records, names, strict=True)]
    for number, other in enumerate(outputs[1:], 1):
        if not _same_rows(outputs[0], other):
            raise PlanMismatchError(
                f"{plans[0].name} and {plans[number].name} have different {rows.replace('_', '-')} rows",
                where=f"{names[0].outputs} and {names[number].outputs}",
                expected="the same ids and labels",
                run=f"delete {names[number].root} and train it again on the same data set",
            )
    return BranchOutputs([each.log_probabilities for each in outputs], outputs[0].labels)


def fitted_and_measured(run: RunPaths, records: Sequence[NetworkRecord]) -> tuple[BranchOutputs, BranchOutputs]:
    """Return the outputs that weights are fitted to, and those that the ensemble is measured on.

    They are those of all held-out rows and of the test rows. Without a test split they are those of two halves of the
    held-out rows: none was trained on, and no weight has seen the half that is measured.

    Raises
    ------
    InputError
        If there are neither test rows nor two held-out rows.
    PlanMismatchError, CorruptFileError
        As `outputs_of` does.
    """
    # Both are read also where there are no test rows: one branch that has some does not belong to the others.
    held_out, test = (outputs_of(run, records, rows) for rows in (HELD_OUT, TEST))
    if not has_test(records[0]) and len(held_out.labels) < 2:
        raise InputError(
            "no test rows, and too few held-out rows, to evaluate on",
            where=run.root,
            expected="a test split, or two held-out rows",
            run="spectral-prep convert with --test-fraction 0.1 and another --out, then train on that",
        )
    return fitted_part(records[0], held_out), measured_part(records[0], test if has_test(records[0]) else held_out)


def fitted_part(record: NetworkRecord, held_out: BranchOutputs) -> BranchOutputs:
    """Return those of the outputs on held-out rows that weights are fitted to."""
    return held_out if has_test(record) else held_out.every_second(0)


def measured_part(record: NetworkRecord, outputs: BranchOutputs) -> BranchOutputs:
    """Return those of the outputs on rows of `measured_rows` that the ensemble is measured on."""
    return outputs if has_test(record) else outputs.every_second(1)


def measured_rows(record: NetworkRecord) -> str:
    """Return the kind of rows that the ensemble is measured on: test rows, or without any held-out ones."""
    return TEST if has_test(record) else HELD_OUT


def has_test(record: NetworkRecord) -> bool:
    """Whether a network was trained on a data set with a test split."""
    return record.rows["test"] > 0


def measured_accuracy(record: NetworkRecord, paths: NetworkPaths) -> float:
    """Return the accuracy of one network on the rows that the ensemble is measured on."""
    return accuracy_on_measured(record, checked_outputs(record, paths, measured_rows(record)))


def accuracy_on_measured(record: NetworkRecord, outputs: Outputs) -> float:
    """Return the accuracy of one network of which these are the outputs on rows of `measured_rows`."""
    measured = measured_part(record, BranchOutputs([outputs.log_probabilities], outputs.labels))
    return accuracy(measured.log_probabilities[0], measured.labels)


def checked_outputs(record: NetworkRecord, paths: NetworkPaths, rows: str) -> Outputs:
    """Return the outputs of a network on `held_out` or `test` rows; `CorruptFileError` if they are none of its rows."""
    outputs = read_outputs(paths.outputs, rows)
    if (fault := outputs.fault(record.rows[rows], len(record.plan.classes))) is not None:
        what = f"the outputs of {record.plan.name} cannot be its own"
        raise CorruptFileError(what, where=paths.outputs, got=fault, run=train_again(paths))
    return outputs


def shard_of(record: Branch) -> int:
    """Return the shard of a branch; `read_branches` has proved that it has one."""
    if record.plan.shard is None:
        raise InputError("the baseline is no branch")
    return record.plan.shard


def missing(records: Sequence[NetworkRecord]) -> list[int]:
    """Return the shards of a run whose branches are not among these, ascending."""
    return sorted(set(range(records[0].plan.shards)) - set(map(shard_of, records)))


def _same_rows(one: Outputs, other: Outputs) -> bool:
    return np.array_equal(one.ids, other.ids) and torch.equal(one.labels, other.labels)


def require_belonging(
    first: NetworkPlan, other: NetworkPlan, run: str | None = None, *, where: str | None = None
) -> None:
    """Raise `PlanMismatchError` if two branches cannot be of one ensemble; their recipes may differ.

    `run` is what to do about the other one, which is trained unless that is said; `where` they lie.
    """
    if found := differences(_shared(first), _shared(other), names=(f"in {first.name}", f"in {other.name}")):
        raise PlanMismatchError(
            f"{first.name} and {other.name} do not belong together",
            where=where,
            expected="one data set, spec, hold-out, shards, grouping and common",
            got="; ".join(found),
            run=run or f"train {other.name} again as the others, or put them into another run",
        )


def require_widths(records: Sequence[NetworkRecord], run: RunPaths | None = None, data: Place | None = None) -> None:
    """Raise `PlanMismatchError` if a branch is not as wide as the rule says that another one was trained by.

    The folder of `run` holds them, if they lie in one: then the command that trains that branch again is named.
    """
    if (odd := odd_width(records)) is None:
        return
    shard, others = shard_of(odd.record), [record for record in records if record is not odd.record]
    again = f"train {odd.record.plan.name} again as the others, or put it into another run"
    if run is not None:
        again = f"delete {run.branch(shard).root}, then {train_command(others, shard, run, data)[0]}"
    rule = odd.beside.width_rule
    source = "branches beside it have" if rule is None else f"{rule.option or 'the multipliers of --width-by'} gives"
    raise PlanMismatchError(
        f"{odd.record.plan.name} and {odd.beside.plan.name} do not belong together: their widths follow no one rule",
        where=None if run is None else run.branch(shard).root,
        expected=f"width {odd.expected:g}, as {source} it",
        got=f"width {odd.got:g}",
        run=again,
    )


def _shared(plan: NetworkPlan) -> dict[str, Any]:
    return {
        **_rows_of(plan),
        "spec": plain(plan.spec),
        "classes": plan.classes,
        "shards": plan.shards,
        "grouping": plan.grouping,
        "common": plan.common,
    }


def _rows_of(plan: NetworkPlan) -> dict[str, Any]:
    hold_out = {"seed": plan.recipe.holdout_seed, "fraction": plan.recipe.holdout}
    return {"dataset_id": plan.dataset_id, "hold-out": hold_out}


def _partition(records: Sequence[NetworkRecord]) -> None:
    """Refuse branches that hold a spectral twice, or do not hold every one though none is missing."""
    plan = records[0].plan
    own = [k for record in records for k in record.plan.spectrals if k not in plan.common]
    held = sorted([*own, *plan.common])
    existing = list(range(plan.spec.q))
    if held != (existing if len(records) == plan.shards else sorted(set(held) & set(existing))):
        raise PlanMismatchError(
            "the branches do not hold every spectral once",
            expected=f"spectrals 0 to {plan.spec.q - 1}",
            got="; ".join(f"{record.plan.name}: {', '.join(map(str, record.plan.spectrals))}" for record in records),
            run="train the branches again with one --shards and --grouping",
        )


def _listed(numbers: Sequence[int]) -> str:
    return ("branch " if len(numbers) == 1 else "branches ") + ", ".join(map(str, numbers))
