"""The rows that a plan selects from its source, without reading images again.

Input: a plan that stands in a folder, and its whole source. Output: the source of the selected rows. The row indexes of
the folder name them, and the plan vouches for these: what another process selected is what this one goes on with.
"""

from __future__ import annotations

from collections.abc import Mapping

from spectral_prep.conversion.execution import BY_DEFAULT
from spectral_prep.conversion.row_index import index_sha256, read_index
from spectral_prep.conversion.workers import reading_threads
from spectral_prep.errors import CorruptFileError
from spectral_prep.places import exists
from spectral_prep.sources.interface import RowIndex, Source
from spectral_prep.sources.selection import SelectedSource, picked_again, select, with_rows
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan


def as_planned(paths: DatasetPaths, plan: Plan, source: Source) -> Source:
    """Return what of a source a plan converts; the source itself if that is all, if it is selected, or another one."""
    if plan.selection is None or plan.fingerprint != source.fingerprint or isinstance(source, SelectedSource):
        return source
    index = source.index()
    return chosen_before(paths, plan, source, index) or select(
        source, index, plan.selection, plan.seed, reading_threads(BY_DEFAULT)
    )


def chosen_before(
    paths: DatasetPaths, plan: Plan, source: Source, index: Mapping[str, RowIndex]
) -> SelectedSource | None:
    """Return the rows that the row indexes of a folder name, None if they are not there or not those of the plan."""
    if plan.selection is None or not all(exists(paths.rows(name)) for name in plan.splits):
        return None
    names = {split: (name for name, _ in read_index(paths, plan, split)) for split in plan.splits}
    try:
        picked = picked_again(index, names, plan.selection)
    except CorruptFileError:
        return None
    found = None if picked is None else with_rows(source, index, plan.selection, picked)
    if found is None or any(index_sha256(found.rows[name]) != part.index_sha256 for name, part in plan.splits.items()):
        return None
    return found
