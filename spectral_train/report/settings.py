"""How the branches of a run were trained, as a report says it of all of them.

Input: their records. Output: what is not the same in all branches, and what a setting is in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from spectral_train.run.common import across, own_settings, own_value
from spectral_train.run.record import NetworkRecord


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
