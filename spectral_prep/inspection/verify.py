"""Proving that a converted data set is whole.

Input: the folder of a data set, or one spectral folder that was copied alone. Output: every fault found, each
naming its file, and what was compared.

1. Records: each carries the sha256 of its own content.
2. Files: size and sha256 of every file listed; files that nobody listed.
3. Rows: labels and ids of every spectral equal those of the plan's row index.
4. Values, if `deep`: every part is decoded, its statistics are those of its block's record (`verify_values`).
5. Pixels: a seeded sample of rows is put back together and compared with the source, where that is given.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.chosen import as_planned
from spectral_prep.conversion.row_index import read_labels
from spectral_prep.errors import CorruptFileError, InputError, SpectralError
from spectral_prep.inspection.pixels import PixelCheck, compare_pixels
from spectral_prep.inspection.verify_values import dataset_faults, folder_faults
from spectral_prep.places import at, exists, sha256_of
from spectral_prep.places.url import Place
from spectral_prep.sources.interface import Source
from spectral_prep.store.interface import BAD_LABEL, UNREADABLE
from spectral_prep.store.layout import DatasetPaths, SpectralPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.planned import read_block, read_spectral
from spectral_prep.store.read_folder import stored_labels
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import FileEntry, Manifest, SpectralRecord
from spectral_prep.system.files import is_temporary
from spectral_prep.system.watch import counted, step

SAMPLE_ROWS = 64
READ_AT_ONCE = 8


@dataclass(frozen=True)
class Verification:
    """What `verify` found; `faults` is empty for a data set that is whole; `decoded` says that every part was."""

    files: int
    bytes: int
    spectrals: int
    rows: dict[str, int]
    faults: tuple[str, ...]
    pixels: PixelCheck | None
    decoded: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for `--json`."""
        return asdict(self)


def verify(
    root: Place,
    open_source: Callable[[Plan], Source | None] = lambda _: None,
    sample_rows: int = SAMPLE_ROWS,
    deep: bool = False,
) -> Verification:
    """Check every file of a data set, or of one spectral folder copied alone.

    Parameters
    ----------
    root
        The folder that `convert` wrote, or one `spectral-NN` folder.
    open_source
        Given the plan, the source to compare a sample of rows with, or None where it is not at hand.
    deep
        Also decode every part and compare its values with the recorded statistics, its labels with the row index.

    Raises
    ------
    InputError
        If this is neither, the conversion is not complete, or the source is another one.
    """
    if exists(SpectralPaths(root).record):
        return _verify_spectral(root, deep)
    paths = DatasetPaths(root)
    if not exists(paths.manifest):
        raise InputError(
            "not a complete data set",
            where=root,
            expected="manifest.json, or spectral.json of a single spectral folder",
            run="the spectral-prep convert command again: it goes on where it stopped" if exists(paths.plan) else None,
        )
    manifest = read_record(paths.manifest, Manifest)
    listed = manifest.files
    faults = [*_file_faults(root, listed, {paths.manifest.name})]
    rows: dict[str, int] = {}
    pixels = None
    spectrals = 0
    if not faults:
        plan = read_record(paths.plan, Plan)
        rows = {name: part.rows for name, part in plan.splits.items()}
        spectrals = plan.spec.q
        faults += _row_faults(paths, plan, manifest.dataset_id)
        if deep and not faults:
            faults += dataset_faults(paths, plan)
        with step("opening the source"):
            source = open_source(plan)
        if source is not None:
            require_source(plan, source, root)
            source = as_planned(paths, plan, source)
        if source is not None and not faults:
            pixels, differing = compare_pixels(paths, plan, source, sample_rows)
            faults += differing
    size = sum(entry.size for entry in listed)
    return Verification(len(listed) + 1, size, spectrals, rows, tuple(faults), pixels, deep and not faults)


def require_source(plan: Plan, source: Source, root: Place) -> None:
    """Raise `InputError` if a data set with this plan was not made from this source."""
    if source.fingerprint != plan.fingerprint:
        raise InputError(
            "this is not the source that was converted",
            where=root,
            expected=f"fingerprint {plan.fingerprint[:16]}",
            got=source.fingerprint[:16],
            run="the same command with --source of the release that was converted",
        )


def _verify_spectral(root: Place, deep: bool) -> Verification:
    record = read_record(SpectralPaths(root).record, SpectralRecord)
    faults = tuple(_file_faults(root, record.files, {SpectralPaths(root).record.name}))
    if deep and not faults:
        faults = tuple(folder_faults(root, record))
    rows = {name: split.rows for name, split in record.splits.items()}
    size = sum(entry.size for entry in record.files)
    return Verification(len(record.files) + 1, size, 1, rows, faults, None, deep and not faults)


def _file_faults(root: Place, listed: Sequence[FileEntry], unlisted: set[str]) -> Iterator[str]:
    """Yield a line for every listed file that is not as listed, and for every file that is there but not listed."""
    sizes = {entry.path: entry.size for entry in at(root).files()}
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        found = pool.map(lambda entry: _file_fault(root, entry, sizes.get(entry.path)), listed)
        yield from filter(None, counted(found, "checking files", "files", len(listed)))
    known = {entry.path for entry in listed} | unlisted
    for name in sorted(sizes.keys() - known):
        kind = "left by a killed run" if is_temporary(name) else "not part of the data set"
        yield f"{root / name}: {kind}"
    for path, kind in at(root).oddities():
        yield f"{path}: {kind}, not part of the data set"


def _file_fault(root: Place, entry: FileEntry, size: int | None) -> str | None:
    path = root / entry.path
    try:
        if size is None:
            return f"{path}: {'not a regular file in this folder' if exists(path) else os.strerror(errno.ENOENT)}"
        if size != entry.size:
            return f"{path}: {size} bytes, expected {entry.size}"
        if sha256_of(path) != entry.sha256:
            return f"{path}: its content does not match its sha256"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _row_faults(paths: DatasetPaths, plan: Plan, dataset_id: str) -> Iterator[str]:
    """Yield a line for every record or label array that does not agree with the plan."""
    bad: dict[str, list[int]] = {name: [] for name in plan.splits}
    for block in counted(plan.blocks, "checking blocks", "blocks"):
        bad[block.split] += [row.id for row in read_block(paths, plan, block).bad]
    for name in plan.splits:
        try:
            labels = read_labels(paths, plan, name)
        except CorruptFileError as error:
            yield str(error)
            continue
        labels[bad[name]] = BAD_LABEL
        ids = plan.ids(name)
        for k in counted(range(plan.spec.q), f"checking rows of {name}", "spectrals"):
            try:
                record = read_spectral(paths, plan, k)
            except SpectralError as error:
                yield f"{paths.spectral(k).root}: {error}"
                continue
            if record.dataset_id != dataset_id:
                where = paths.spectral(k).record
                yield f"{where}: of data set {record.dataset_id}, but the manifest is of {dataset_id}"
            yield from _alignment_faults(paths.spectral(k), record, name, labels[ids], ids)


def _alignment_faults(
    spectral: SpectralPaths, record: SpectralRecord, name: str, labels: npt.NDArray[Any], ids: npt.NDArray[Any]
) -> Iterator[str]:
    try:
        for what, stored, expected in zip(
            ("labels", "ids"), stored_labels(spectral.root, record, name), (labels, ids), strict=True
        ):
            if not np.array_equal(stored, expected):
                yield f"{spectral.root}: the {what} of {name} do not agree with the row index"
    except UNREADABLE as error:
        yield f"{spectral.root}: {error}"
