"""Completing a data set: labels, metadata and one `spectral.json` a folder, the dataset card, and the manifest last.

Input: a folder whose blocks are all converted. Output: a data set that is complete, which is what the presence of
`manifest.json` means.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.bad_images import remove_lists
from spectral_prep.conversion.card import card
from spectral_prep.conversion.finished import finished_blocks
from spectral_prep.conversion.row_index import read_labels
from spectral_prep.errors import CorruptFileError, InputError
from spectral_prep.places import at, atomic_write, refuse_irregular, sha256_of
from spectral_prep.places.url import AnyPlace, Place
from spectral_prep.printable import quoted
from spectral_prep.store import STORES
from spectral_prep.store.block_groups import block_groups
from spectral_prep.store.interface import BAD_LABEL
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.plan_record import Block, Plan
from spectral_prep.store.planned import part_paths
from spectral_prep.store.record_file import digest, plain, read_record, write_record
from spectral_prep.store.records import BlockRecord, FileEntry, Manifest, SpectralRecord, SplitInfo
from spectral_prep.system.watch import counted

SPECTRALS_AT_ONCE = 4
IntArray = npt.NDArray[np.int16] | npt.NDArray[np.int32]


def finalize(out: AnyPlace) -> DatasetPaths[AnyPlace]:
    """Complete a data set whose blocks are all done: labels, metadata, `spectral.json`, the card, the manifest last.

    Raises
    ------
    InputError
        If blocks are missing; the message names them and, if there is one, the task that makes just them.
    """
    paths = DatasetPaths(out)
    refuse_irregular(out)
    plan = read_record(paths.plan, Plan)
    records = list(counted(finished_blocks(paths, plan), "checking blocks", "blocks", len(plan.blocks)))
    finished = {record.number for record in records}
    missing = [block for block in plan.blocks if block.number not in finished]
    if missing:
        raise _incomplete(out, plan, missing)
    at(out).tidy(WRITING)
    with at(out).shared_use(
        WRITING
    ):  # another that completes it must not take this one's temporary files for leftovers
        remove_lists(paths)
        _complete(_Finished.of(paths, plan, records))
    return paths


@dataclass(frozen=True)
class _Finished:
    """A data set whose blocks are all converted: what its other files are made from."""

    paths: DatasetPaths
    plan: Plan
    records: Sequence[BlockRecord]
    dataset_id: str
    label_files: Mapping[str, bytes]
    label_entries: Sequence[FileEntry]
    parts: Mapping[str, Sequence[FileEntry]]

    @classmethod
    def of(cls, paths: DatasetPaths, plan: Plan, records: Sequence[BlockRecord]) -> _Finished:
        """Read labels by row id, put them, as the ids, into stored order, and make their files once for all folders."""
        by_id = {name: _labels(paths, plan, name, records) for name in plan.splits}  # as many as the plan says
        ids = {name: plan.ids(name) for name in plan.splits}
        labels = {name: by_id.pop(name)[ids[name]] for name in plan.splits}
        files = STORES[plan.store].label_files(labels, ids)
        entries = [FileEntry(name, len(each), hashlib.sha256(each).hexdigest()) for name, each in files.items()]
        return cls(paths, plan, records, _dataset_id(plan, records), files, entries, _parts(records))


def _complete(finished: _Finished) -> None:
    """Write all but the parts and their records; the manifest last."""
    paths, plan, records = finished.paths, finished.plan, finished.records
    files = [entry for record in records for entry in record.files]
    statistics = spectral_statistics(plan, records)
    with ThreadPoolExecutor(SPECTRALS_AT_ONCE) as pool:  # what takes the time is the disk, or the bucket
        finishing = pool.map(functools.partial(_finish_spectral, finished), range(plan.spec.q), statistics)
        done = list(counted(finishing, "completing spectrals", "spectrals", plan.spec.q))
    spectrals = [spectral for spectral, _ in done]
    files += [entry for _, written in done for entry in written]
    atomic_write(paths.card, card(plan, finished.dataset_id, spectrals).encode(), WRITING)
    others = [paths.card, paths.plan, *map(paths.rows, plan.splits), *(paths.block(each.number) for each in records)]
    files += [FileEntry.of(paths.root, path) for path in counted(others, "writing the manifest", "files")]
    bad_rows = tuple(row for record in records for row in record.bad)
    listed = tuple(sorted(files, key=lambda entry: entry.path))
    write_record(paths.manifest, Manifest(finished.dataset_id, bad_rows, listed), WRITING)


def _incomplete(out: Place, plan: Plan, missing: Sequence[Block]) -> InputError:
    """Name the missing blocks; the groups of one task of an array stand at equal distances."""
    groups, absent = block_groups(plan), set(missing)
    numbers = [group.number for group in groups if not absent.isdisjoint(group.blocks)]
    count = math.gcd(*(number - numbers[0] for number in numbers)) or len(groups)
    task = f", or with --task {numbers[0] % count}/{count}" if count > 1 else ""
    return InputError(
        f"{len(missing)} of {len(plan.blocks)} blocks are not converted yet",
        where=out,
        got=f"missing {', '.join(map(str, missing[:20]))}{' …' if len(missing) > 20 else ''}",
        run=f"the same spectral-prep convert command again{task}: it converts only those; "
        f"then spectral-prep finalize {quoted(out)}",
    )


def is_complete(paths: DatasetPaths) -> bool:
    """Whether the manifest is there and every file that it lists is: parts by size, all the small ones by sha256."""
    try:
        listed = read_record(paths.manifest, Manifest).files
        plan = read_record(paths.plan, Plan)
    except (InputError, CorruptFileError):
        return False
    parts = {str(path) for block in plan.blocks for path in part_paths(paths, plan, block)}
    sizes = {entry.path: entry.size for entry in at(paths.root).files()}
    return all(
        sizes.get(entry.path) == entry.size and (str(path) in parts or sha256_of(path) == entry.sha256)
        for entry in listed
        for path in [paths.root / entry.path]
    )


def _dataset_id(plan: Plan, records: Sequence[BlockRecord]) -> str:
    """Return a name for exactly these rows: 16 hexadecimal digits of the sha256 of the plan, all parts and bad rows."""
    blocks = [[[entry.sha256 for entry in record.files], [row.id for row in record.bad]] for record in records]
    return digest("dataset", {"plan": plain(plan), "blocks": blocks})[:16]


def _labels(paths: DatasetPaths, plan: Plan, name: str, records: Iterable[BlockRecord]) -> IntArray:
    """Return the labels of a split by row id, −1 for bad rows."""
    labels = read_labels(paths, plan, name)
    labels[[row.id for record in records if record.split == name for row in record.bad]] = BAD_LABEL
    return labels.astype(np.int16) if len(plan.classes) <= np.iinfo(np.int16).max else labels


def _parts(records: Iterable[BlockRecord]) -> Mapping[str, Sequence[FileEntry]]:
    """Return the parts of each spectral folder, by its name."""
    parts: dict[str, list[FileEntry]] = {}
    for record in records:
        for entry in record.files:
            parts.setdefault(entry.path.partition("/")[0], []).append(entry)
    return parts


def _finish_spectral(
    finished: _Finished, k: int, statistics: Mapping[str, Any]
) -> tuple[SpectralRecord, list[FileEntry]]:
    """Write all of one spectral folder but its parts; return its record, and entries for what was written."""
    plan, root = finished.plan, finished.paths.spectral(k).root
    arrays = {name: plan.array(name, k) for name in plan.splits}
    attributes = {"dataset": plan.title, "dataset_id": finished.dataset_id, "spectral": k}
    metadata = STORES[plan.store].metadata_files(arrays, attributes)
    written = [*finished.label_entries]
    written += [FileEntry.of_bytes(root, root / name, content) for name, content in metadata.items()]
    for name, content in (*finished.label_files.items(), *metadata.items()):
        atomic_write(root / name, content, WRITING)
    prefix = f"{root.name}/"
    parts = [replace(entry, path=entry.path.removeprefix(prefix)) for entry in finished.parts[root.name]]
    files = tuple(sorted(parts + written, key=lambda entry: entry.path))
    record = _spectral_record(finished, k, statistics, files)
    content = write_record(finished.paths.spectral(k).record, record, WRITING)
    written.append(FileEntry.of_bytes(root, finished.paths.spectral(k).record, content))
    return record, [replace(entry, path=prefix + entry.path) for entry in written]


def _spectral_record(
    finished: _Finished, k: int, statistics: Mapping[str, Any], files: tuple[FileEntry, ...]
) -> SpectralRecord:
    plan = finished.plan
    bad_rows = Counter(record.split for record in finished.records for _ in record.bad)
    return SpectralRecord(
        dataset_id=finished.dataset_id,
        dataset=plan.title,
        k=k,
        spec=plan.spec,
        encoding=plan.encoding,
        store=plan.store,
        height=plan.geometry.height,
        width=plan.geometry.width,
        channels=plan.geometry.channels,
        resize=plan.geometry.resize,
        classes=plan.classes,
        splits={
            name: SplitInfo(part.rows, part.block_rows, bad_rows[name], part.views)
            for name, part in plan.splits.items()
        },
        **statistics,
        files=files,
        max_pixels=plan.geometry.chosen_max_pixels,
    )


def spectral_statistics(plan: Plan, records: Sequence[BlockRecord]) -> list[dict[str, Any]]:
    """Return what the record of each spectral says of its values: `mean`, `std` (C,), `energy` (Q,) and `saturated`."""
    mean_QC, std_QC = _statistics(plan, [record for record in records if record.split == "train"])
    energy = tuple((std_QC**2).mean(axis=1).tolist())
    return [
        {
            "mean": tuple(mean_QC[k].tolist()),
            "std": tuple(std_QC[k].tolist()),
            "energy": energy,
            "saturated": sum(record.saturated[k] for record in records),
        }
        for k in range(plan.spec.q)
    ]


def _statistics(plan: Plan, records: Sequence[BlockRecord]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and standard deviation (Q, C), in grey levels, of the rows of these blocks."""
    count = max(1, sum(record.count for record in records))
    mean = np.sum([record.sum for record in records], axis=0) / count
    variance = np.sum([record.sum_of_squares for record in records], axis=0) / count - mean**2
    scale, offset = np.array([plan.encoding.scalars(k) for k in range(plan.spec.q)]).T[..., None]
    return mean * scale + offset, np.sqrt(np.maximum(variance, 0)) * scale
