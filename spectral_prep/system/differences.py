"""What differs between two plain records, in words: the diff in every refusal.

Input: two nested dictionaries. Output: one line a differing field, named by its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one "field: value there, value here" a leaf that differs, in the order of the fields.

    >>> differences({"recipe": {"lr": 0.1, "seed": 0}}, {"recipe": {"lr": 0.2, "seed": 0}})
    ('recipe.lr: 0.1 there, 0.2 here',)
    """
    flat_there, flat_here = dict(_leaves(there)), dict(_leaves(here))
    return tuple(
        f"{name}: {flat_there.get(name, 'nothing')} there, {flat_here.get(name, 'nothing')} here"
        for name in {**flat_there, **flat_here}
        if flat_there.get(name) != flat_here.get(name)
    )


def _leaves(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", list(value) if isinstance(value, tuple) else value))
    return found
