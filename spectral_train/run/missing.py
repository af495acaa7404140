"""The command that trains a missing branch of a run, as far as its finished branches say how.

Input: the records of those. Output: a command line with all that they have in common and the rule that gives each its
width, and apart from it what each may have of its own, such as a learning rate: that is another branch's.
"""

from __future__ import annotations

from collections.abc import Sequence

from spectral_prep.places import exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.store.record_file import read_record
from spectral_train.folders import data_set_to_name
from spectral_train.recipe.options import command_options
from spectral_train.recipe.recipe import override
from spectral_train.run.common import own_settings, own_text, rule_of
from spectral_train.run.paths import RunPaths
from spectral_train.run.rates import RatesRecord
from spectral_train.run.record import NetworkRecord


def train_command(
    records: Sequence[NetworkRecord], shard: int, run: RunPaths, data: Place | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the command that trains a branch beside these, and in words what of it differs among these.

    `data` is their data set, if the caller knows it; else it is looked for in the usual places.

    Raises
    ------
    CorruptFileError
        If the record of the learning rates that were tried for one of these is damaged.
    """
    plan, rule = records[0].plan, rule_of(records)
    rates = [_rates(record, run) for record in records]
    recipes = [
        record.plan.recipe if tried is None else override(record.plan.recipe, lr=tried.plan.recipe.lr)
        for record, tried in zip(records, rates, strict=True)
    ]
    if rule is not None:
        recipes = [rule.for_shard(recipe, shard) for recipe in recipes]
    own = own_settings(records, recipes)
    parts = [f"spectral-train --shard {shard}"]
    if plan.shards != plan.spec.q:
        parts.append(f"--shards {plan.shards} --grouping {plan.grouping}")
    parts += [f"--common {k}" for k in plan.common]
    parts += filter(None, [command_options(recipes[0], without=own), None if rule is None else rule.option])
    parts += ["--find-rate"] if None not in rates else []
    data = data or data_set_to_name(plan.dataset_id)
    parts += [] if data is None else [f"--data {quoted(data)}"]
    return " ".join([*parts, f"--run {quoted(run.root)}"]), tuple(map(own_text, own, own.values()))


def _rates(record: NetworkRecord, run: RunPaths) -> RatesRecord | None:
    paths = run.branch(record.plan.shard or 0)
    return read_record(paths.rates_record, RatesRecord) if exists(paths.rates_record) else None
