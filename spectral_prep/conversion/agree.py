"""The plan and the output folder: the one that stands there counts, another is refused with the difference.

Input: a request, its source and the output folder. Output: a `Conversion`, first agreed upon (nothing is written), then
fixed: the row index and `plan.json` are there before any image is converted. Several tasks may do so at once; what they
write is equal and atomic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spectral_prep.conversion.plan import make_plan
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.row_index import index_pieces, index_sha256
from spectral_prep.errors import InputError, PlanMismatchError
from spectral_prep.sources.interface import RowIndex, Source
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import plain, read_record, write_record
from spectral_prep.system.differences import differences
from spectral_prep.system.files import atomic_write, is_temporary, remove
from spectral_prep.system.regular import refuse_irregular
from spectral_prep.system.staging import is_staging


@dataclass(frozen=True)
class Conversion:
    """One data set on its way: where it goes, what is planned, and where its rows come from."""

    paths: DatasetPaths
    plan: Plan
    source: Source
    index: Mapping[str, RowIndex]


def agreed(paths: DatasetPaths, source: Source, index: Mapping[str, RowIndex], request: Request) -> Conversion:
    """Plan what a request asks for; a plan that stands in the folder gives the int8 scalars: no second calibration.

    Raises
    ------
    InputError
        If the folder holds something else.
    PlanMismatchError
        If it was begun with another plan.
    """
    _refuse_foreign(paths)
    refuse_irregular(paths.root)
    fixed = read_record(paths.plan, Plan) if paths.plan.exists() else None
    hashes = {name: index_sha256(rows) for name, rows in index.items()}
    plan = make_plan(source, index, hashes, request, fixed.encoding if fixed else None)
    if fixed is not None and (found := differences(plain(fixed), plain(plan))):
        raise PlanMismatchError(
            "this folder was begun with another configuration",
            where=paths.plan,
            got="; ".join(found),
            run="the command of the first run, or this one with another --out",
        )
    return Conversion(paths, plan, source, index)


def fix(conversion: Conversion) -> None:
    """Write the row index and then the plan, unless they stand there.

    Without a plan an index that stands there may be of another source, whose conversion was killed: it is not kept.
    """
    paths, plan, index = conversion.paths, conversion.plan, conversion.index
    begun = paths.plan.exists()
    for name in plan.splits:
        if not (begun and paths.rows(name).exists()):
            atomic_write(paths.rows(name), index_pieces(index[name]), WRITING)
    if not begun:
        for stale in set(paths.rows("").parent.glob("*.jsonl")) - set(map(paths.rows, plan.splits)):
            remove(stale)
        write_record(paths.plan, plan, WRITING)


def _refuse_foreign(paths: DatasetPaths) -> None:
    if paths.plan.exists() or not paths.root.exists():
        return
    if not paths.root.is_dir():
        raise InputError("the output is not a folder", where=paths.root)
    foreign = [
        entry.name
        for entry in paths.root.iterdir()
        if not (entry.name == paths.rows("").parent.name or is_temporary(entry) or is_staging(entry))
    ]
    if foreign:
        raise InputError(
            "the output folder holds something else",
            where=paths.root,
            expected="an empty folder or an unfinished conversion",
            got=", ".join(sorted(foreign)[:5]),
            run="the same command with another --out",
        )
