"""How wide each branch of a run is: alike, or by the energy of its shard, or by a file, all of them together as large.

Input: a shard, a recipe and a `WidthBy`. Output: the recipe of that shard's branch. It is a pure function of what every
`spectral.json` carries, so that each node finds the width of its own branch.

1. Branch s is c · m_s times as wide as the recipe says. m_s is the fourth root of the shard's energy, or what the file
   says. (Energies span three decades, and parameters go with the square of the width.)
2. c is such that the S branches have as many parameters as S of the recipe's width, but for rounding to whole neurons.
   Parameters are a quadratic function of the width: three widths tell it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

import numpy as np
import torch

from spectral_prep.errors import InputError
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_train.data.shard import Shard
from spectral_train.models import MODELS, InputShape, branch_options, build, parameter_count
from spectral_train.recipe.recipe import Recipe, override, resolve
from spectral_train.run.widths import WidthRule
from spectral_train.training.request import WidthBy

LARGEST_FILE = 1 << 20
LEAST_ENERGY = 1e-6
"""Of the mean energy of a shard: one that never varies still has a network."""

LEAST_MULTIPLIER = 1e-300
"""The widths of all branches are divided by the largest."""

TRIED = (0.5, 1.0, 2.0)


def own_width(shard: Shard, recipe: Recipe, by: WidthBy) -> Recipe:
    """Return the recipe of a shard's branch: the one given, with its own width unless `by` is "uniform".

    Raises
    ------
    InputError
        As `width_rule` does.
    """
    return in_width(recipe, width_rule(shard, recipe, by), shard)


def in_width(recipe: Recipe, rule: WidthRule | None, shard: Shard) -> Recipe:
    """Return a recipe with the width that a rule gives the branch of a shard."""
    return recipe if rule is None else override(recipe, model_options={"width": rule.widths[shard.index]})


def width_rule(shard: Shard, recipe: Recipe, by: WidthBy) -> WidthRule | None:
    """Return the widths of all S branches, computed from one shard, and what they follow from; None for "uniform".

    Raises
    ------
    InputError
        If the network has no width, or `by` has not one multiplier a shard.
    """
    if by == "uniform":
        return None
    own = resolve(recipe, shard.input_shape)
    if own.model not in MODELS:
        raise InputError(f"{own.model} has no width", expected=f"--width-by with one of {', '.join(MODELS)}")
    multipliers = energy_multipliers(shard) if by == "energy" else by
    if len(multipliers) != shard.shards:
        raise InputError("--width-by is of another number of shards", expected=shard.shards, got=len(multipliers))
    return WidthRule(
        "energy" if by == "energy" else "multipliers",
        own.model_options.get("width"),
        widths(own, shapes_of(shard), len(shard.classes), multipliers),
    )


def energy_multipliers(shard: Shard) -> tuple[float, ...]:
    """Return the fourth root of the energy of each of the S shards."""
    energy = shard.first.energy
    sums = np.array([sum(energy[k] for k in members) for members in _members(shard)])
    return tuple((np.maximum(sums, LEAST_ENERGY * sums.mean()) ** 0.25).tolist())


def shapes_of(shard: Shard) -> list[InputShape]:
    """Return the input shape (G·C, h, w) of each of the S branches."""
    _, h, w = shard.input_shape
    return [(len(members) * shard.first.channels, h, w) for members in _members(shard)]


def widths(
    recipe: Recipe, shapes: Sequence[InputShape], classes: int, multipliers: Sequence[float]
) -> tuple[int | float, ...]:
    """Return the width of each branch, in proportion to the multipliers, as large together as all of the recipe's.

    >>> widths(Recipe(model="fc"), [(1, 7, 7)] * 2, 10, (2.0, 1.0))
    (62, 31)
    """
    from scipy.optimize import brentq  # slow to import, and needed here only

    usual = branch_options(recipe.model, recipe.model_options)["width"]
    sizes = {shape: _size_by_width(recipe, shape, classes, usual) for shape in set(shapes)}
    total = sum(float(sizes[shape](usual)) for shape in shapes)

    def surplus(factor: float) -> float:
        wide = [usual * factor * multiplier for multiplier in multipliers]
        return sum(float(sizes[shape](width)) for shape, width in zip(shapes, wide, strict=True)) - total

    highest = 2.0 / max(multipliers)
    while surplus(highest) < 0:
        highest *= 2
    factor = brentq(surplus, 0.0, highest)
    kind = type(MODELS[recipe.model].branch["width"])
    found = (usual * factor * multiplier for multiplier in multipliers)
    return tuple(max(1, round(width)) if kind is int else round(width, 4) for width in found)


def read_multipliers(path: Place) -> tuple[float, ...]:
    """Return the width multipliers of a file: a JSON list, a JSON object or CSV lines of shard and multiplier.

    Raises
    ------
    InputError
        If it cannot be read, or has not one positive number for each of the shards 0 to S−1.
    """
    try:
        text = at(path).read(LARGEST_FILE).decode()
        found = json.loads(text) if path.suffix == ".json" else _csv(text)
        pairs = dict(enumerate(found)) if isinstance(found, list) else {int(k): found[k] for k in found}
        numbers = tuple(float(pairs[shard]) for shard in range(len(pairs)))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            "cannot read the width multipliers", where=path, expected="one number a shard, 0 to S-1", got=error
        ) from error
    if not numbers or not all(LEAST_MULTIPLIER < number < math.inf for number in numbers):
        raise InputError(
            "unusable width multipliers", where=path, expected=f"numbers above {LEAST_MULTIPLIER:g}", got=numbers
        )
    return numbers


def _csv(text: str) -> dict[str, str]:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if rows and not rows[0][0].strip().isdecimal():
        rows = rows[1:]  # a heading
    return {shard: multiplier for shard, multiplier in rows}  # noqa: C416 a row of another length is refused


def _members(shard: Shard) -> list[tuple[int, ...]]:
    energy = shard.first.energy
    return [shard.choice.members(number, shard.spec.q, energy) for number in range(shard.shards)]


def _size_by_width(recipe: Recipe, shape: InputShape, classes: int, usual: float) -> np.polynomial.Polynomial:
    """Return the number of parameters as a function of the width."""
    kind = type(MODELS[recipe.model].branch["width"])
    tried = [kind(max(1, math.ceil(usual * share))) if kind is int else usual * share for share in TRIED]
    counts = []
    for width in tried:
        with torch.device("meta"):
            network = build(recipe.model, shape, classes, **{**recipe.model_options, "width": width})
        counts.append(parameter_count(network))
    return np.polynomial.Polynomial.fit(tried, counts, 2)
