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
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from spectral_prep.errors import InputError
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
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

EXAMPLES = "as [2, 1, 1, 1] in a .json file, or as lines such as 0,2 in a .csv file"
MOST_NAMED = 8

TRIED = (0.5, 1.0, 2.0)
LEAST_TRIED = (1, 2, 3)
"""Whole widths, where the others are not three."""


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
        If the network has no width, `by` has not one multiplier a shard, or as `widths` does.
    """
    if by == "uniform":
        return None
    own = resolve(recipe, shard.input_shape)
    if own.model not in MODELS:
        raise InputError(f"{own.model} has no width", expected=f"--width-by with one of {', '.join(MODELS)}")
    multipliers = energy_multipliers(shard) if by == "energy" else by
    if len(multipliers) != shard.shards:
        raise InputError(
            "--width-by is of another number of shards",
            expected=f"{shard.shards} multipliers, one for each of the shards 0 to {shard.shards - 1}",
            got=f"{len(multipliers)}: {', '.join(f'{each:g}' for each in multipliers[:MOST_NAMED])}",
            run=f"the same command with a file of {shard.shards} numbers, or with --width-by energy",
        )
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

    Raises
    ------
    InputError
        If the recipe's width is so small that parameters do not tell one from another, or one would be none.

    Examples
    --------
    >>> widths(Recipe(model="fc"), [(1, 7, 7)] * 2, 10, (2.0, 1.0))
    (62, 31)
    """
    from scipy.optimize import brentq  # slow to import, and needed here only

    usual = branch_options(recipe.model, recipe.model_options)["width"]
    multipliers = [multiplier / max(multipliers) for multiplier in multipliers]
    sizes = {shape: _size_by_width(recipe, shape, classes, usual) for shape in set(shapes)}
    total = sum(float(sizes[shape](usual)) for shape in shapes)

    def surplus(factor: float) -> float:
        wide = [usual * factor * multiplier for multiplier in multipliers]
        return sum(float(sizes[shape](width)) for shape, width in zip(shapes, wide, strict=True)) - total

    if surplus(0.0) >= 0:
        raise _too_narrow(usual, multipliers)
    highest = 2.0
    while surplus(highest) < 0:
        highest *= 2
    factor = brentq(surplus, 0.0, highest)
    kind = type(MODELS[recipe.model].branch["width"])
    wide = (usual * factor * multiplier for multiplier in multipliers)
    found = tuple(max(1, round(width)) if kind is int else round(width, 4) for width in wide)
    if not all(found):
        raise _too_narrow(usual, multipliers)
    return found


def _too_narrow(usual: float, multipliers: Sequence[float]) -> InputError:
    named = ", ".join(f"{each:g}" for each in multipliers[:MOST_NAMED])
    return InputError(
        "branches of this width cannot be made unequal by these multipliers",
        expected="a width of which each has a share that is a network",
        got=f"a width of {usual:g} for {named}",
        run="the same command with a larger --set width=…, or without --width-by",
    )


def read_multipliers(path: Place) -> tuple[float, ...]:
    """Return the width multipliers of a file: a JSON list, a JSON object or CSV lines of shard and multiplier.

    Raises
    ------
    InputError
        If it cannot be read, or has not one positive number for each of the shards 0 to S−1; the message names the
        first entry that is none.
    """
    try:
        text = at(path).read(LARGEST_FILE).decode("utf-8-sig")
        pairs = _of_json(text) if path.suffix == ".json" else _of_csv(text)
        return _in_order(pairs)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise InputError(
            "these are no width multipliers",
            where=path,
            expected=f"one number above {LEAST_MULTIPLIER:g} for each shard, {EXAMPLES}",
            got=error.strerror if isinstance(error, OSError) and error.strerror else error,
            run="the same command after changing the file, or with --width-by energy",
        ) from error


def _of_json(text: str) -> list[tuple[Any, Any]]:
    """Return (shard, multiplier) of each entry; objects are read as tuples, lest one name hide another."""
    found = json.loads(text, object_pairs_hook=tuple)
    if isinstance(found, tuple):
        return list(found)
    if isinstance(found, list):
        return list(enumerate(found))
    raise ValueError(f"{shown(found)}, which is neither a list nor an object")


def _of_csv(text: str) -> list[tuple[Any, Any]]:
    rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if row]
    if rows and not rows[0][1][0].strip().isdecimal():
        rows = rows[1:]  # a heading
    if (wrong := next(((number, row) for number, row in rows if len(row) != 2), None)) is not None:
        raise ValueError(f"{shown(','.join(wrong[1]))} in line {wrong[0]}")
    return [(row[0], row[1]) for _, row in rows]


def _in_order(pairs: Sequence[tuple[Any, Any]]) -> tuple[float, ...]:
    """Return the multipliers of the shards 0 to S−1; raise `ValueError` if one is missing, double or no multiplier."""
    found: dict[int, float] = {}
    for name, value in pairs:
        if not str(name).strip().isdecimal():
            raise ValueError(f"{shown(name)} for a shard")
        shard = int(name)
        if shard in found:
            raise ValueError(f"shard {shard} twice")
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not LEAST_MULTIPLIER < number < math.inf:
            raise ValueError(f"{shown(value)} for shard {shard}")
        found[shard] = number
    if not found:
        raise ValueError("no number")
    if missing := [shard for shard in range(len(found)) if shard not in found]:
        raise ValueError(f"nothing for shard {missing[0]}, and one for shard {shown(max(found))}")
    return tuple(found[shard] for shard in range(len(found)))


def _members(shard: Shard) -> list[tuple[int, ...]]:
    energy = shard.first.energy
    return [shard.choice.members(number, shard.spec.q, energy) for number in range(shard.shards)]


def _size_by_width(recipe: Recipe, shape: InputShape, classes: int, usual: float) -> np.polynomial.Polynomial:
    """Return the number of parameters as a function of the width."""
    kind = type(MODELS[recipe.model].branch["width"])
    tried = [max(1, math.ceil(usual * share)) if kind is int else usual * share for share in TRIED]
    if len(set(tried)) < len(TRIED):
        tried = list(LEAST_TRIED)
    counts = []
    for width in tried:
        with torch.device("meta"):
            network = build(recipe.model, shape, classes, **{**recipe.model_options, "width": width})
        counts.append(parameter_count(network))
    return np.polynomial.Polynomial.fit(tried, counts, 2)
