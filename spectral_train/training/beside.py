"""Whether a branch may be trained into a run: it is held against the finished ones there before its first step.

Input: branches to train, and the run. Output: nothing, or an error with the command that trains one as the others. What
is refused here `run.branches` would refuse once they are trained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from spectral_prep.errors import PlanMismatchError, SpectralError
from spectral_prep.places import exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_train.run.branches import require_belonging, require_same_rows, shard_of
from spectral_train.run.commands import baseline_command, train_command
from spectral_train.run.common import Branch, odd_width, width_of
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import NetworkPlan, NetworkRecord, describe


def require_beside(branches: Sequence[Branch], run: RunPaths, data: Place | None) -> None:
    """Refuse branches that could not be combined with those that are finished in a run.

    A finished branch of the same number is not looked at, nor is one whose record is damaged: who trains that one, or
    combines them all, is told.

    Raises
    ------
    PlanMismatchError
        If one is of another data set, hold-out or choice of shards, or of a width by another rule, naming both.
    """
    finished, baseline = _finished(run), _described(run.baseline)
    for branch in branches:
        if baseline is not None:
            instead = f"the same command with another --run, or delete {quoted(run.baseline.root)} before"
            require_same_rows(branch.plan, baseline.plan, run.root, instead)
        others = [record for record in finished if record.plan.shard != branch.plan.shard]
        for other in others:
            instead = f"the same command as for {other.plan.name}, or with another --run"
            require_belonging(other.plan, branch.plan, instead)
        _require_width(branch, _of_one_rule(others), run, data)


def require_baseline_beside(plan: NetworkPlan, run: RunPaths) -> None:
    """Refuse a conventional network of other rows than the finished branches; raises as `require_same_rows` does."""
    for record in _finished(run):
        require_same_rows(
            record.plan, plan, run.root, f"{baseline_command(record, run)}, or the same command with another --run"
        )


def _finished(run: RunPaths) -> list[NetworkRecord]:
    found = (_described(run.branch(number)) for number in run.finished())
    return [record for record in found if record is not None]


def _described(paths: NetworkPaths) -> NetworkRecord | None:
    """Return the record of a finished network, None for one that is damaged or not there."""
    with contextlib.suppress(SpectralError):
        return describe(paths) if exists(paths.record) else None
    return None


def _of_one_rule(records: Sequence[NetworkRecord]) -> list[NetworkRecord]:
    """Return these branches without those whose widths do not go with most."""
    kept = list(records)
    while (odd := odd_width(kept)) is not None:
        kept = [record for record in kept if record is not odd.record]
    return kept


def _require_width(branch: Branch, others: Sequence[NetworkRecord], run: RunPaths, data: Place | None) -> None:
    if (odd := odd_width([*others, branch])) is None:
        return
    there = odd.beside if odd.record is branch else odd.record
    raise PlanMismatchError(
        f"{branch.plan.name} would not belong to {there.plan.name} of this run: their widths follow no one rule",
        where=run.root,
        expected=f"a branch beside {_said(there)}",
        got=_said(branch),
        run=f"{train_command(others, shard_of(branch), run, data)[0]}, or the same command with another --run",
    )


def _said(branch: Branch) -> str:
    """Return a branch with its width and what gave it that."""
    rule = branch.width_rule
    by = "without --width-by" if rule is None else f"by {rule.option or 'a file of --width-by'}"
    return f"{branch.plan.name} of width {width_of(branch):g} {by}"
