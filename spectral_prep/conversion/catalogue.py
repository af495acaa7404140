"""The catalogue: what each block is made of, written down once, so that a task reads of it what its own blocks need.

Input: a conversion whose source was opened: its archives passed over, its folders listed. Output: beside `plan.json`,
in the folder that is there until the data set is complete:

```
.staging-kept/catalogue.json   the request and source that it is of, and where each block's rows stand
.staging-kept/train.rows       the rows in stored order, block by block
```

A task of the same request and source starts from these alone. Where there is none (images that come as arrays, rows
that are read in order only), or it is of another request or source, the source is opened as ever.

A block's rows are one zstd frame and its crc32c: ids and labels (int32), where each name ends (uint32), where the bytes
of each row are (`row_table.SPAN`), and the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs.zstd import Zstd

from spectral_prep.conversion.agree import Conversion
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.tasks import BlockTask
from spectral_prep.errors import CorruptFileError, SpectralError
from spectral_prep.places import at, atomic_write, exists
from spectral_prep.places.interface import OpenFile
from spectral_prep.places.url import Place, absolute
from spectral_prep.sources.described import Description, described, spans_of
from spectral_prep.sources.interface import RowIndex, Source
from spectral_prep.sources.name_list import some
from spectral_prep.sources.row_table import LONGEST_NAME, SPAN
from spectral_prep.store.block_groups import BlockGroup
from spectral_prep.store.fields import Id, Size
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.plan_record import Block, Plan
from spectral_prep.store.record_file import plain, read_record, write_record
from spectral_prep.store.zarr_rows import content_size
from spectral_prep.system.staging import KEPT

ZSTD_LEVEL = 1
CHECKSUM_BYTES = 4
ROW_BYTES = 3 * 4 + SPAN.itemsize
LONGEST_TEXT = 4 * LONGEST_NAME
"""Bytes of a name whose every byte is escaped."""

RUN = "delete it, then the same command: the source is opened again"

Frame = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[Any], list[str]]
"""Ids, labels, spans and names of a block's rows."""


@dataclass(frozen=True)
class SplitCatalogue:
    """Of one split: what reads its rows, and where each of its blocks ends in the file of rows (bytes)."""

    images: Description
    ends: tuple[Size, ...]


@dataclass(frozen=True)
class Catalogue:
    """`catalogue.json`."""

    KIND: ClassVar[str] = "catalogue"

    plan_id: Id
    request: Mapping[str, Any]
    source: str
    splits: Mapping[str, SplitCatalogue]


@dataclass(frozen=True)
class CataloguedBlocks:
    """The blocks of a plan, as the catalogue has them."""

    paths: DatasetPaths
    plan: Plan
    catalogue: Catalogue

    def task(self, group: BlockGroup) -> BlockTask:
        """Return what a worker needs for one group, by one read a block.

        Raises
        ------
        CorruptFileError
            If the rows there are not the blocks'.
        """
        part, path = self.plan.splits[group.split], rows_file(self.paths, group.split)
        split = self.catalogue.splits[group.split]
        try:
            with at(path).open() as file:
                frames = [self._frame(file, split.ends, block) for block in group.blocks]
        except (ValueError, OSError, RuntimeError) as error:
            raise CorruptFileError("the catalogue is damaged", where=path, got=error, run=RUN) from error
        of_rows = [np.concatenate(columns) for columns in zip(*(frame[:3] for frame in frames), strict=True)]
        names_of_rows = [name for frame in frames for name in frame[3]]
        first = group.rows_of_places
        ids, labels, spans = (column[first] for column in of_rows)
        if ids.min() < 0 or ids.max() >= part.images or labels.min() < 0 or labels.max() >= len(self.plan.classes):
            raise CorruptFileError("the catalogue is damaged", where=path, got=f"rows of no {group}", run=RUN)
        names = [names_of_rows[row] for row in first.tolist()]
        return BlockTask(group, ids, names, labels, split.images.images(ids, spans))

    def _frame(self, file: OpenFile, ends: Sequence[int], block: Block) -> Frame:
        number = block.start // self.plan.splits[block.split].block_rows
        start = ends[number - 1] if number else 0
        return _unpacked(file.read(start, ends[number] - start), block.stop - block.start)


def catalogue_file(paths: DatasetPaths) -> Place:
    """Return where the record of a catalogue is."""
    return paths.root / KEPT / "catalogue.json"


def has_catalogue(paths: DatasetPaths) -> bool:
    """Whether there is a catalogue, of whatever request and source."""
    return exists(catalogue_file(paths))


def rows_file(paths: DatasetPaths, split: str) -> Place:
    """Return where the rows of a split are."""
    return paths.root / KEPT / f"{split}.rows"


def open_catalogue(paths: DatasetPaths, request: Request, source: Place) -> CataloguedBlocks | None:
    """Return the blocks of a conversion that was begun with this request and source; None where there is no catalogue.

    Raises
    ------
    CorruptFileError
        If the plan is damaged; a damaged catalogue is none.
    """
    if not exists(paths.plan):
        return None
    try:
        found = read_record(catalogue_file(paths), Catalogue)
    except SpectralError:
        return None
    if (found.request, found.source) != (plain(request), str(absolute(source))):
        return None
    plan = read_record(paths.plan, Plan)
    blocks = {name: -(-part.rows // part.block_rows) for name, part in plan.splits.items()}
    known = {name: len(split.ends) for name, split in found.splits.items()}
    return CataloguedBlocks(paths, plan, found) if (found.plan_id, known) == (plan.plan_id, blocks) else None


def write_catalogue(conversion: Conversion, request: Request, source: Place) -> None:
    """Write the catalogue of a conversion, if another process can read its source without having opened it."""
    paths, plan, opened = conversion.paths, conversion.plan, conversion.source
    splits = {}
    for name in plan.splits:
        images = described(opened, name)
        if images is None:
            return
        ends: list[int] = []
        atomic_write(rows_file(paths, name), _frames(plan, name, opened, conversion.index[name], ends), WRITING)
        splits[name] = SplitCatalogue(images, tuple(ends))
    record = Catalogue(plan.plan_id, plain(request), str(absolute(source)), splits)
    write_record(catalogue_file(paths), record, WRITING)


def _frames(plan: Plan, split: str, source: Source, rows: RowIndex, ends: list[int]) -> Iterator[bytes]:
    """Yield the rows of each block; `ends` grows by where each ends."""
    order, end = plan.ids(split), 0
    for block in plan.blocks:
        if block.split != split:
            continue
        ids = order[block.start : block.stop]
        names = some(rows.names, ids)
        content = _packed(ids, rows.labels[ids], spans_of(source, split, ids), names)
        end += len(content)
        ends.append(end)
        yield content


def _packed(
    ids: npt.NDArray[np.int32], labels: npt.NDArray[np.int32], spans: npt.NDArray[Any], names: list[str]
) -> bytes:
    text = "".join(names).encode()
    lengths = map(len, names) if text.isascii() else (len(name.encode()) for name in names)
    ends = np.cumsum(np.fromiter(lengths, np.int64, len(names))).astype("<u4")
    columns = (ids.astype("<i4"), labels.astype("<i4"), ends, spans)
    frame = bytes(Zstd(ZSTD_LEVEL).encode(b"".join([*(column.tobytes() for column in columns), text])))
    checksum: int = google_crc32c.value(frame)
    return frame + checksum.to_bytes(CHECKSUM_BYTES, "little")


def _unpacked(content: bytes, rows: int) -> Frame:
    """Return ids, labels, spans and names of so many rows; `ValueError` if that is not what the content holds."""
    frame, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if google_crc32c.value(frame) != int.from_bytes(checksum, "little"):
        raise ValueError("rows that do not match their crc32c")
    stated = content_size(frame) or 0
    if not rows * ROW_BYTES <= stated <= rows * (ROW_BYTES + LONGEST_TEXT):
        raise ValueError(f"{stated} bytes for {rows} rows")
    unpacked = memoryview(Zstd(ZSTD_LEVEL).decode(frame))
    ids, labels = (np.frombuffer(unpacked, "<i4", rows, place * 4 * rows).astype(np.int32) for place in (0, 1))
    ends = np.frombuffer(unpacked, "<u4", rows, 8 * rows).astype(np.int64)
    spans = np.frombuffer(unpacked, SPAN, rows, 12 * rows)
    text = bytes(unpacked[rows * ROW_BYTES :])
    if (np.diff(ends, prepend=0) < 0).any() or ends[-1] != len(text):
        raise ValueError("names that end nowhere")
    starts = [0, *ends[:-1].tolist()]
    return ids, labels, spans, [text[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=True)]
