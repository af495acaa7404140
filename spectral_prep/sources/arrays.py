"""Sets whose pixels come as arrays (digits, IDX, CIFAR): streamed once into scratch files, then read row by row.

Input: what a release's reader yields, batch by batch. Output: an `ArraySource` that any process can read from.

1. Every batch is checked and appended to two scratch files of its part (a part is one file of the release, such as
   data_batch_3): pixels and labels. Parts may come in any order, so an archive needs one pass.
2. Both are hashed on the way; at the end the files are renamed after their hash, so that one path never stands for two
   contents.
3. A row is read by seeking to it. Nothing is memory-mapped: the pages of a mapping count as resident memory, which must
   not grow with the data set.

The hashes, class names and shape make the fingerprint, which therefore is the same for every layout of one release.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, InputError, StorageError
from spectral_prep.sources.interface import RawImage, RowIndex
from spectral_prep.system.files import Advice, explain
from spectral_prep.system.staging import SCRATCH, scratch_of

BATCH_BYTES = 1 << 20
PIXELS, LABELS, PARTIAL = ".pixels", ".labels", ".partial"


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of one part: images (n, H, W, C) uint8, labels (n,) of any integer dtype.

    `where` names the file that the labels came from.
    """

    part: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    where: str


@dataclass(frozen=True)
class ClassNames:
    """What the labels of a release mean; an archive may give it before, between or after the batches."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class StagedPart:
    """One part in the scratch folder; `digest` is the sha256 (hex) of its pixels and labels and part of its names."""

    split: str
    name: str
    rows: int
    digest: str


@dataclass(frozen=True)
class ArraySource:
    """A `Source` over scratch files: row i of a split is the i-th row of its parts, one after the other.

    Row names are "part#row", such as "data_batch_1#17": the same in every layout of a release.
    """

    random_access: ClassVar[bool] = True  # the scratch files can be read in any order
    needs_scratch: ClassVar[bool] = True  # that is where the pixels are

    classes: tuple[str, ...]
    fingerprint: str
    image_shape: tuple[int, int, int]
    staging: Path
    parts: tuple[StagedPart, ...]

    @property
    def release(self) -> None:
        """None: all layouts are of one release."""
        return

    def index(self) -> Mapping[str, RowIndex]:
        """Return the rows of each split, labels read from the scratch files."""
        return {split: self._rows(split) for split in dict.fromkeys(part.split for part in self.parts)}

    def for_rows(self, split: str, ids: npt.NDArray[np.int32]) -> ArraySource:
        """Return this source: it holds no index."""
        return self

    def read(self, split: str, row_id: int, name: str) -> RawImage:
        """Return the pixels (H, W, C) of one row.

        Raises
        ------
        InputError
            If there is no such row.
        StorageError
            If the scratch file is gone or too short: the disk is at fault, not the row.
        """
        (pixels,) = self.read_each(split, [(row_id, name)])
        return pixels

    def read_each(self, split: str, rows: Iterable[tuple[int, str]]) -> Iterator[RawImage]:
        """Yield what `read` returns for each row (row id, name), with each scratch file opened once."""
        with contextlib.ExitStack() as opened:
            files: dict[Path, io.FileIO] = {}
            for row_id, name in rows:
                part, row = self._locate(split, row_id)
                path = _scratch(self.staging, part, PIXELS)
                pixels, what = np.empty(self.image_shape, np.uint8), f"cannot read row {name} back"
                try:
                    if path not in files:
                        files[path] = opened.enter_context(open(path, "rb", buffering=0))
                    files[path].seek(row * pixels.nbytes)
                    got = files[path].readinto(pixels.data)
                except OSError as error:
                    raise StorageError(what, where=path, got=error) from error
                if got != pixels.nbytes:
                    raise StorageError(what, where=path, expected=f"{pixels.nbytes} bytes", got=got)
                yield pixels

    def _rows(self, split: str) -> RowIndex:
        parts = [part for part in self.parts if part.split == split]
        labels = np.concatenate([_read_labels(_scratch(self.staging, part, LABELS), part.rows) for part in parts])
        return RowIndex([f"{part.name}#{row}" for part in parts for row in range(part.rows)], labels)

    def _locate(self, split: str, row_id: int) -> tuple[StagedPart, int]:
        row = row_id
        for part in self.parts:
            if part.split == split:
                if 0 <= row < part.rows:
                    return part, row
                row -= part.rows
        raise InputError(f"the source has no row {row_id} in split {split}", where=self.staging)


def stage(
    splits: Mapping[str, str],
    class_count: int,
    content: Iterable[Batch | ClassNames],
    staging: Path,
    *,
    whole: bool = True,
    bytes_in_all: int | None = None,
) -> ArraySource:
    """Stream a release into scratch files and return the source over them.

    Parameters
    ----------
    splits
        The split (of `SPLITS`) of each part, in canonical order.
    class_count
        Labels must be in 0 … class_count − 1.
    content
        Batches of the parts, each part's own batches in order, and the class names once. One is held at a time.
    staging
        A folder of the caller's, made if need be; scratch files that a killed run left in it are removed.
    whole
        Whether every split must have rows; else one that has none is left out.
    bytes_in_all
        About what the scratch files will take, where it is known: for the user whose disk is full.

    Raises
    ------
    CorruptSourceError
        If a label is out of range, images differ in size, a part has no rows, or there are not `class_count` names.
    InputError, StorageError
        If the scratch files cannot be written.
    """
    _clear(staging)
    advice = SCRATCH if bytes_in_all is None else scratch_of(bytes_in_all)
    drafts = {part: _Draft(staging / part, advice) for part in splits}
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    for item in content:
        if isinstance(item, ClassNames):
            classes = item.names
            continue
        shape = shape or item.images.shape[1:]
        _check(item, class_count, drafts[item.part].rows, shape)
        drafts[item.part].append(item)
    if len(classes) != class_count:
        raise CorruptSourceError("wrong number of class names", expected=class_count, got=len(classes))
    there = {splits[name] for name, draft in drafts.items() if whole or draft.rows} or {*splits.values()}
    parts = tuple(draft.finish(splits[name], name, staging) for name, draft in drafts.items() if splits[name] in there)
    height, width, channels = shape
    return ArraySource(classes, _fingerprint(classes, shape, parts), (height, width, channels), staging, parts)


@dataclass
class _Draft:
    """The scratch files of a part while they grow."""

    path: Path
    advice: Advice
    rows: int = 0
    pixels_hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    labels_hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def growing(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}{suffix}{PARTIAL}")

    def append(self, batch: Batch) -> None:
        pixels, labels = np.ascontiguousarray(batch.images), batch.labels.astype(np.uint8)
        self.pixels_hash.update(pixels.data)
        self.labels_hash.update(labels.data)
        self.rows += len(labels)
        _append(self.growing(PIXELS), pixels, self.advice)
        _append(self.growing(LABELS), labels, self.advice)

    def finish(self, split: str, name: str, staging: Path) -> StagedPart:
        if not self.rows:
            raise CorruptSourceError(f"{name} holds no images", expected="at least one")
        digest = hashlib.sha256(self.pixels_hash.digest() + self.labels_hash.digest()).hexdigest()
        part = StagedPart(split, name, self.rows, digest)
        for suffix in (PIXELS, LABELS):
            try:
                os.replace(self.growing(suffix), _scratch(staging, part, suffix))
            except OSError as error:
                raise explain(error, staging, SCRATCH) from error
        return part


def _scratch(staging: Path, part: StagedPart, suffix: str) -> Path:
    return staging / f"{part.name}-{part.digest}{suffix}"


def _read_labels(path: Path, rows: int) -> npt.NDArray[np.int32]:
    try:
        labels = np.fromfile(path, np.uint8)
    except OSError as error:
        raise StorageError("cannot read the labels back", where=path, got=error) from error
    if len(labels) != rows:
        raise StorageError("cannot read the labels back", where=path, expected=f"{rows} bytes", got=len(labels))
    return labels.astype(np.int32)


def _check(batch: Batch, class_count: int, first_row: int, shape: tuple[int, ...]) -> None:
    if batch.images.shape[1:] != shape:
        raise CorruptSourceError(
            "images of different sizes in one release", where=batch.where, expected=shape, got=batch.images.shape[1:]
        )
    wrong = np.flatnonzero((batch.labels < 0) | (batch.labels >= class_count))
    if len(wrong):
        raise CorruptSourceError(
            f"label out of range in row {first_row + wrong[0]}",
            where=batch.where,
            expected=f"0 to {class_count - 1}",
            got=batch.labels[wrong[0]],
        )


def _clear(staging: Path) -> None:
    try:
        staging.mkdir(parents=True, exist_ok=True)
        for leftover in staging.iterdir():
            if leftover.suffix in (PIXELS, LABELS, PARTIAL):
                leftover.unlink()
    except OSError as error:
        raise explain(error, staging, SCRATCH) from error


def _append(path: Path, values: npt.NDArray[np.uint8], advice: Advice) -> None:
    try:
        with open(path, "ab") as file:
            file.write(values.data)
    except OSError as error:
        raise explain(error, path, advice) from error


def _fingerprint(classes: tuple[str, ...], shape: tuple[int, ...], parts: tuple[StagedPart, ...]) -> str:
    content = [classes, shape, [[part.split, part.name, part.rows, part.digest] for part in parts]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def rows_per_batch(row_bytes: int) -> int:
    """Return how many rows of this size to stream at a time: about a mebibyte, at least one row.

    >>> rows_per_batch(784), rows_per_batch(1 << 24)
    (1337, 1)
    """
    return max(1, BATCH_BYTES // row_bytes)
