"""The commands that train what is missing of a run, or all of it again, as far as its finished branches say how.

Input: the records of those. Output: command lines with all that they have in common and the rule that gives each its
width, and apart from these what each may have of its own, such as a learning rate: that is another branch's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from spectral_prep.errors import CorruptFileError
from spectral_prep.places import exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_train.folders import data_set_to_name
from spectral_train.recipe.options import command_options
from spectral_train.recipe.recipe import Recipe, override
from spectral_train.run.common import own_settings, own_text, rule_of
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.rates import RatesRecord, read_tried
from spectral_train.run.record import NetworkPlan, NetworkRecord
from spectral_train.run.said import ON
from spectral_train.run.widths import WidthRule

BASELINE = "--baseline"


def train_command(
    records: Sequence[NetworkRecord], shard: int, run: RunPaths, data: Place | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the command that trains a branch beside these, and in words what of it differs among these.

    `data` is their data set, if the caller knows it; else it is looked for in the usual places. Where all of these have
    written what a head is given, the branch has to, too.
    """
    asked = _Asked.of(records, run, shard)
    data = data or data_set_to_name(asked.plan.dataset_id)
    places = "" if data is None else f"--data {quoted(data)} "
    written = [on for on in ON if all(exists(_branch(record, run).fusion_record(on)) for record in records)]
    said = f" --fuse-inputs {written[0]}" if written else ""
    command = asked.command(f"--shard {shard}", f"{places}--run {quoted(run.root)}{said}")
    return command, tuple(map(own_text, asked.own, asked.own.values()))


def baseline_command(record: NetworkRecord, run: RunPaths) -> str:
    """Return the command that trains the conventional network beside a branch, on the data set of that."""
    data = data_set_to_name(record.plan.dataset_id)
    places = "" if data is None else f"--data {quoted(data)} "
    return _Asked.of([record], run).command(BASELINE, f"{places}--run {quoted(run.root)}")


def _branch(record: NetworkRecord, run: RunPaths) -> NetworkPaths:
    return run.branch(record.plan.shard or 0)


def _tried(paths: NetworkPaths) -> RatesRecord | None:
    """Return the rates that were tried for a branch; a damaged record is as none, since a command can do without."""
    with contextlib.suppress(CorruptFileError):
        return read_tried(paths)
    return None


class RunCommands(NamedTuple):
    """What trains all branches of a run, and the conventional network beside them; without `--data` and `--run`."""

    branches: str
    baseline: str


def run_commands(records: Sequence[NetworkRecord], run: RunPaths) -> RunCommands:
    """Return the commands that train a run with these branches."""
    asked = _Asked.of(records, run)
    return RunCommands(asked.command("--shard all"), asked.command(BASELINE))


@dataclass(frozen=True)
class _Asked:
    """What the commands asked for that trained some branches; `own` settings are not the same in all of them."""

    plan: NetworkPlan
    recipe: Recipe
    own: dict[str, list[tuple[str, Any]]]
    rule: WidthRule | None
    find_rate: bool

    @classmethod
    def of(cls, records: Sequence[NetworkRecord], run: RunPaths, shard: int | None = None) -> _Asked:
        """Return it with the width of a shard's branch, or without any that the rule of a run gives (None)."""
        rule, rates = rule_of(records), [_tried(_branch(record, run)) for record in records]
        recipes = [
            record.plan.recipe if tried is None else override(record.plan.recipe, lr=tried.plan.recipe.lr)
            for record, tried in zip(records, rates, strict=True)
        ]
        if rule is not None:
            recipes = [rule.before(each) if shard is None else rule.for_shard(each, shard) for each in recipes]
        own = own_settings(records, recipes)
        if shard is not None and rule is not None and rule.option is None:
            rule = None  # it took a file, and the width stands in the recipe
        return cls(records[0].plan, recipes[0], own, rule, None not in rates)

    def command(self, which: str, places: str = "") -> str:
        """Return the command for `--shard all`, for a `--shard K`, or for the `--baseline`, which has no shards."""
        plan, parts = self.plan, ["spectral-train", which]
        width = "" if self.rule is None else self.rule.option or "--width-by FILE"
        if which != BASELINE:
            parts += (
                [f"--shards {plan.shards} --grouping {quoted(plan.grouping)}"] if plan.shards != plan.spec.q else []
            )
            parts += [f"--common {k}" for k in plan.common]
        parts.append(command_options(self.recipe, without=self.own))
        parts.append(width if which != BASELINE else "")
        parts += ["--find-rate" if self.find_rate else "", places]
        return " ".join(filter(None, parts))
