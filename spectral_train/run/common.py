"""What the branches of a run have in common and what each has of its own, for whoever tells a reader of all of them.

Input: their records. Output: settings by name, with the value in each branch, and these in words; and the first branch
whose width is not the one that another's rule gives it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from spectral_train.models import branch_options
from spectral_train.recipe.options import OPTIONS, text_of
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.record import NetworkPlan, NetworkRecord
from spectral_train.run.widths import WidthRule

CHOOSES = {"lr": "--find-rate", "width": "--width-by energy"}
"""What gives each branch its own."""


def own_settings(records: Sequence[NetworkRecord], recipes: Sequence[Recipe]) -> dict[str, list[tuple[str, Any]]]:
    """Return the settings that are not the same everywhere, with the value in each branch by the branch's name."""
    settings = [_settings(recipe) for recipe in recipes]
    names = dict.fromkeys(name for each in settings for name in each)
    values = {
        name: [(record.plan.name, each.get(name)) for record, each in zip(records, settings, strict=True)]
        for name in names
    }
    return {name: found for name, found in values.items() if any(value != found[0][1] for _, value in found)}


def _settings(recipe: Recipe) -> Mapping[str, Any]:
    fields = {known.name: getattr(recipe, known.name) for known in dataclasses.fields(recipe)}
    options = fields.pop("model_options")
    return {**fields, **options}


def own_text(name: str, values: Sequence[tuple[str, Any]]) -> str:
    """Say how an option is called and what it is elsewhere.

    >>> own_text("lr", [("branch 0", 0.1), ("branch 2", 0.4)])
    '--lr (branch 0: 0.1, branch 2: 0.4), or --find-rate'
    """
    option = "--recipe" if name == "name" else f"--{name.replace('_', '-')}" if name in OPTIONS else f"--set {name}"
    named = ", ".join(f"{branch}: {own_value(value)}" for branch, value in values)
    return f"{option} ({named})" + (f", or {CHOOSES[name]}" if name in CHOOSES else "")


def own_value(value: object) -> str:
    """Say what a setting is in one branch, which has the model's own where nothing was asked for."""
    return "the usual" if value is None else text_of(value)


def across(values: Iterable[Any]) -> str:
    """Say what a setting is in all branches: once where it is the same, else its range, or each kind that there is.

    >>> across([16, 16]), across([31, 16, 22]), across(["cpu", "cuda", "cpu"])
    ('16', '16 to 31', 'cpu, cuda')
    >>> across([0.001, 0.00025]), across([20_240_101, 20_240_102]), across([False, True])
    ('0.00025 to 0.001', '20240101 to 20240102', 'False, True')
    """
    found = list(values)
    if all(type(value) in (int, float) for value in found) and min(found) < max(found):
        return f"{_short(min(found))} to {_short(max(found))}"
    return ", ".join(dict.fromkeys(map(_short, found)))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Branch(Protocol):
    """One that is trained or is to be."""

    @property
    def plan(self) -> NetworkPlan:
        """What decides its weights."""

    @property
    def width_rule(self) -> WidthRule | None:
        """What its width follows from, None where that was asked for or an earlier release trained it."""


class Odd(NamedTuple):
    """A branch of another width than most beside it let expect: of one of these, and of the rule that it shows."""

    record: Branch
    beside: Branch
    expected: float
    got: float


def rule_of(records: Sequence[Branch]) -> WidthRule | None:
    """Return the rule that most of these branches which have one were trained by, of equally many the first."""
    rules = [record.width_rule for record in records if record.width_rule is not None]
    return max(rules, key=rules.count, default=None)


def odd_width(records: Sequence[Branch]) -> Odd | None:
    """Return a branch of another width than the rule of the others says, None where one rule gives all their widths.

    Where most do not follow it, the odd one is that with the rule. Other models, and runs without a rule, have none.
    """
    if (rule := rule_of(records)) is None:
        return None
    ruled = next(record for record in records if record.width_rule == rule)
    alike = [record for record in records if record.plan.recipe.model == ruled.plan.recipe.model]
    odd = [record for record in alike if width_of(record) != rule.widths[record.plan.shard or 0]]
    if not odd:
        return None
    if 2 * len(odd) > len(alike):
        return Odd(ruled, odd[0], width_of(odd[0]), width_of(ruled))
    return Odd(odd[0], ruled, rule.widths[odd[0].plan.shard or 0], width_of(odd[0]))


def width_of(record: Branch) -> float:
    """Return the width of a network, the model's own where none was asked for."""
    return branch_options(record.plan.recipe.model, record.plan.recipe.model_options)["width"]
