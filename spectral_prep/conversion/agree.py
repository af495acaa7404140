"""The plan and the output folder: the one that stands there counts, another is refused with the difference.

Input: a request, its source and the output folder. Output: a `Conversion`, first agreed upon (nothing is written), then
fixed: the row index and `plan.json` are there before any image is converted. Several tasks may do so at once; what they
write is equal and atomic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from spectral_prep.conversion.chosen import chosen_before
from spectral_prep.conversion.execution import BY_DEFAULT, Execution
from spectral_prep.conversion.plan import make_plan
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.row_index import index_pieces, index_sha256
from spectral_prep.conversion.workers import reading_threads
from spectral_prep.errors import InputError, PlanMismatchError
from spectral_prep.places import at, atomic_write, exists, refuse_irregular
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources import default_name, open_source
from spectral_prep.sources.interface import RowIndex, Source
from spectral_prep.sources.selection import Selection, select
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import plain, read_record, rendered
from spectral_prep.system.differences import differences
from spectral_prep.system.files import is_temporary
from spectral_prep.system.staging import is_staging
from spectral_prep.system.watch import step

MOST_CLASSES = 5
"""That a message lists."""


@dataclass(frozen=True)
class Conversion:
    """One data set on its way: where it goes, what is planned, and where its rows come from."""

    paths: DatasetPaths
    plan: Plan
    source: Source
    index: Mapping[str, RowIndex]


def agreed(
    paths: DatasetPaths,
    source: Source,
    index: Mapping[str, RowIndex],
    request: Request,
    called: str | None = None,
    execution: Execution = BY_DEFAULT,
) -> Conversion:
    """Plan what a request asks for; a plan that stands in the folder gives the int8 scalars: no second calibration.

    `called` is what the data set is called where neither the request nor such a plan of the same source says it. How
    many processes calibrate, and how many threads look for duplicates, `execution` says.

    Raises
    ------
    InputError
        If the folder holds something else.
    PlanMismatchError
        If it was begun with another plan.
    """
    _refuse_foreign(paths)
    refuse_irregular(paths.root)
    fixed = read_record(paths.plan, Plan) if exists(paths.plan) else None
    same = fixed if fixed is not None and fixed.fingerprint == source.fingerprint else None
    if same is not None:
        _require_same_selection(same, request, paths)
    if request.selection is not None:
        before = chosen_before(paths, same, source, index) if same is not None else None
        source = before or select(source, index, request.selection, request.seed, reading_threads(execution))
        index = source.index()
    hashes = _hashes(same, index, request)
    name = request.name or (same.name if same is not None else called)
    plan = make_plan(source, index, hashes, replace(request, name=name), fixed, execution)
    if fixed is not None:
        _require_same(fixed, plan, paths)
    return Conversion(paths, plan, source, index)


def open_conversion(
    paths: DatasetPaths, request: Request, source: Place, staging: Path, execution: Execution
) -> Conversion:
    """Open the source of a request and agree on its plan; raises as `sources.open_source` and `agreed` do."""
    with step("opening the source"):
        opened = open_source(request.dataset, source, staging, request.fields)
        index = opened.index()
    return agreed(paths, opened, index, request, default_name(request.dataset, source), execution)


def fix(conversion: Conversion) -> None:
    """Write the row index and then the plan, unless they stand there.

    Without a plan an index that stands there may be of another source, whose conversion was killed: it is not kept. Of
    several tasks that come here at once one writes the plan, and the others go on only if theirs is the same.

    Raises
    ------
    PlanMismatchError
        If another task fixed another plan in the meantime.
    """
    paths, plan, index = conversion.paths, conversion.plan, conversion.index
    begun = exists(paths.plan)
    for name in plan.splits:
        if not (begun and exists(paths.rows(name))):
            atomic_write(paths.rows(name), index_pieces(index[name]), WRITING)
    if begun:  # perhaps by another task, after this one agreed with nobody
        _require_same(read_record(paths.plan, Plan), plan, paths)
        return
    folder = at(paths.rows("").parent)
    for name in set(folder.names()) - {paths.rows(split).name for split in plan.splits}:
        if name.endswith(".jsonl"):
            at(paths.rows("").parent / name).remove()
    if not at(paths.plan).create(rendered(plan), WRITING):
        _require_same(read_record(paths.plan, Plan), plan, paths)


def _hashes(same: Plan | None, index: Mapping[str, RowIndex], request: Request) -> Mapping[str, str]:
    """Return the sha256 of each row index; a plan of the whole of one source knows them (14 million rows take 16 s)."""
    whole = same is not None and same.selection is None and request.selection is None
    if same is not None and whole and same.splits.keys() >= index.keys():
        return {name: part.index_sha256 for name, part in same.splits.items()}
    return {name: index_sha256(rows) for name, rows in index.items()}


def _require_same(fixed: Plan, plan: Plan, paths: DatasetPaths) -> None:
    if fixed.fingerprint != plan.fingerprint:
        raise _another_source(fixed, plan, paths)
    if found := differences(plain(fixed), plain(plan)):
        raise PlanMismatchError(
            "this folder was begun with another configuration",
            where=paths.plan,
            got="; ".join(found),
            run="the command of the first run, or this one with another --out",
        )


def _require_same_selection(fixed: Plan, request: Request, paths: DatasetPaths) -> None:
    """Refuse other rows of one source, before their images are read."""
    there, here = ({"seed": each.seed, **_said(each.selection)} for each in (fixed, request))
    if (fixed.selection or request.selection) and there != here:
        raise PlanMismatchError(
            "this folder was begun with other rows of the source",
            where=paths.plan,
            got="; ".join(differences(there, here)),
            run="the command of the first run, or this one with another --out",
        )


def _said(selection: Selection | None) -> dict[str, object]:
    return {name: value for name, value in vars(selection or Selection()).items() if value is not None}


def _another_source(fixed: Plan, plan: Plan, paths: DatasetPaths) -> PlanMismatchError:
    """Say what tells two sources apart: what they are called, their rows, their classes; else the images they list."""
    there, here = (
        {"name": each.title, "rows": {name: part.rows for name, part in each.splits.items()}} for each in (fixed, plan)
    )
    told = list(differences(there, here, names=("in this folder", "in the source")))
    for where, more, fewer in (("in this folder", fixed, plan), ("in the source", plan, fixed)):
        known = set(fewer.classes)
        if alone := [name for name in more.classes if name not in known]:
            some = ", ".join(map(shown, alone[:MOST_CLASSES])) + (", …" if len(alone) > MOST_CLASSES else "")
            told.append(f"{len(alone)} classes only {where}: {some}")
    alike = "the name, the numbers of rows and the classes are alike, but not the images"
    return PlanMismatchError(
        "this is another source than the one whose conversion was begun in this folder",
        where=paths.root,
        got="; ".join(told) or alike,
        run="the same command with another --out, or with --source of the first run",
    )


def _refuse_foreign(paths: DatasetPaths) -> None:
    root = paths.root
    if exists(root):
        raise InputError("the output is not a folder", where=root)
    if exists(paths.plan) or not at(root).is_folder():
        return
    ours = paths.rows("").parent.name
    if foreign := [
        name for name in at(root).children() if not (name == ours or is_temporary(name) or is_staging(name))
    ]:
        raise InputError(
            "the output folder holds something else",
            where=root,
            expected="an empty folder or an unfinished conversion",
            got=", ".join(foreign[:5]),
            run="the same command with another --out",
        )
