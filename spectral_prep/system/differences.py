"""What differs between two plain records, in words: the diff in every refusal.

Input: two nested dictionaries. Output: one line a differing field, named by its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, str] = ("there", "here")
) -> tuple[str, ...]:
    """Return one "field: value there, value here" a leaf that differs, in the order of the fields.

    `names` are what the text calls the places of the two records.

    >>> differences({"recipe": {"lr": 0.1, "seed": 0}}, {"recipe": {"lr": 0.2, "seed": 0}})
    ('recipe.lr: 0.1 there, 0.2 here',)
    >>> differences({"q": 4}, {}, names=("in branch 0", "in branch 1"))
    ('q: 4 in branch 0, nothing in branch 1',)
    """
    ours, others = dict(leaves(one)), dict(leaves(other))
    return tuple(
        f"{field}: {ours.get(field, 'nothing')} {names[0]}, {others.get(field, 'nothing')} {names[1]}"
        for field in {**ours, **others}
        if ours.get(field) != others.get(field)
    )


def leaves(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the values of a nested record, each with its path: "recipe.lr"."""
    found: list[tuple[str, Any]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", list(value) if isinstance(value, tuple) else value))
    return found
