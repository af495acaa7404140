"""How the branches of a run were trained, as a report says it of all of them.

Input: their records. Output: options of `spectral-train`, and what is not the same in all branches.
"""

from __future__ import annotations

from collections.abc import Sequence

from spectral_train.recipe.options import command_options
from spectral_train.run.common import across, own_settings, own_value, rule_of
from spectral_train.run.record import NetworkRecord


def options(records: Sequence[NetworkRecord]) -> list[str]:
    """Return the options that all branches have in common, but for `width_option`."""
    rule, recipes = rule_of(records), [record.plan.recipe for record in records]
    if rule is not None:
        recipes = [rule.before(recipe) for recipe in recipes]
    text = command_options(recipes[0], without=own_settings(records, recipes))
    return [text] if text else []


def width_option(records: Sequence[NetworkRecord]) -> list[str]:
    """Return the option that gave each branch its width."""
    rule = rule_of(records)
    return [] if rule is None else [rule.option or "--width-by FILE"]


def of_each_branch(records: Sequence[NetworkRecord]) -> list[str]:
    """Return a line for each setting that is not the same in all branches."""
    own = own_settings(records, [record.plan.recipe for record in records])
    shards = ", ".join(str(record.plan.shard) for record in records)
    return [
        f"{name} of the branches {shards}: {', '.join(own_value(value) for _, value in values)}"
        for name, values in own.items()
    ]


def setting(records: Sequence[NetworkRecord], name: str) -> str:
    """Return what a field of the recipe is in all branches."""
    return across(getattr(record.plan.recipe, name) for record in records)
