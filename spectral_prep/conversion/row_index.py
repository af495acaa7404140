"""The row index on disk: which source image every row came from, one JSON line a row, in canonical order.

Line i of `rows/<split>.jsonl` is `[name, label]` of the row with id i; `id` in every spectral folder points here.
Nothing here holds more than some thousand names at a time: ImageNet-21K has 14 million.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptFileError
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.sources.interface import RowIndex
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan

ROWS_A_PIECE = 1 << 14
LONGEST_LINE = 1 << 16
"""Bytes: the longest path that there is, every byte of it escaped."""


def index_pieces(rows: RowIndex) -> Iterator[bytes]:
    r"""Yield the content of the file piece by piece.

    >>> list(index_pieces(RowIndex(["a.png", "ü.png"], np.array([3, 0], np.int32))))
    [b'["a.png", 3]\n["\xc3\xbc.png", 0]\n']
    """
    for start in range(0, len(rows.names), ROWS_A_PIECE):
        labels = rows.labels[start : start + ROWS_A_PIECE].tolist()
        # One call for many names is several times faster; a JSON string holds no bare newline, so they part again.
        written = json.dumps(rows.names[start : start + ROWS_A_PIECE], ensure_ascii=False, separators=("\n", ":"))
        pairs = zip(written[1:-1].split("\n"), labels, strict=True)
        yield "".join([f"[{name}, {label}]\n" for name, label in pairs]).encode()


def index_sha256(rows: RowIndex) -> str:
    """Return the sha256 (hex) of the file."""
    digest = hashlib.sha256()
    for piece in index_pieces(rows):
        digest.update(piece)
    return digest.hexdigest()


def read_index(paths: DatasetPaths, plan: Plan, split: str) -> Iterator[tuple[str, int]]:
    """Yield (name, label) of each row of a split, by row id; raises as `read_labels` does."""
    for row_id, line in enumerate(_lines(paths.rows(split), plan, split)):
        try:
            name, label = json.loads(line.decode("utf-8", "surrogateescape"))
        except (ValueError, TypeError, RecursionError) as error:
            raise _damaged(paths.rows(split), row_id, error) from error
        if not isinstance(name, str) or type(label) is not int or not 0 <= label < len(plan.classes):
            raise _damaged(paths.rows(split), row_id, f"{type(name).__name__} and {label!r:.50}")
        yield name, label


def named_row(paths: DatasetPaths, plan: Plan, split: str, row_id: int) -> tuple[str, int]:
    """Return (name, label) of one row of a split; raises as `read_labels` does."""
    found = next(islice(read_index(paths, plan, split), row_id, None), None) if row_id >= 0 else None
    if found is None:
        raise _damaged(paths.rows(split), row_id, "no such row")
    return found


def read_labels(paths: DatasetPaths, plan: Plan, split: str) -> npt.NDArray[np.int32]:
    """Return the labels of a split, (N,), by row id.

    Raises
    ------
    CorruptFileError
        If a line of the file is not one that `index_pieces` writes, a label is none of the plan's classes, or there are
        not as many lines as the plan has images.
    """
    path, row_id = paths.rows(split), -1
    labels: list[npt.NDArray[np.int32]] = []
    lines = _lines(path, plan, split)
    while piece := [line[line.rindex(b" ") : -2] if b" " in line else b"" for line in islice(lines, ROWS_A_PIECE)]:
        try:
            found = np.array([int(text) for text in piece])
        except ValueError as error:
            raise _damaged(path, f"{row_id + 1} or after", error) from error
        if (wrong := np.flatnonzero((found < 0) | (found >= len(plan.classes)))).size:
            raise _damaged(path, row_id + 1 + int(wrong[0]), f"label {found[wrong[0]]}")
        labels.append(found.astype(np.int32))
        row_id += len(piece)
    return np.concatenate(labels)


def _lines(path: Place, plan: Plan, split: str) -> Iterator[bytes]:
    """Yield the lines of an index, as many as the plan has images; no longer line is read."""
    count = 0
    try:
        with at(path).stream() as lines:
            while line := lines.readline(LONGEST_LINE):
                if not line.endswith(b"]\n") or count == plan.splits[split].images:
                    raise _damaged(path, count, line[:50])
                count += 1
                yield line
    except (ValueError, OSError) as error:
        raise CorruptFileError("the row index cannot be read", where=path, got=error) from error
    if count != plan.splits[split].images:
        raise CorruptFileError(
            "the row index has another number of rows", where=path, expected=plan.splits[split].images, got=count
        )


def _damaged(path: Place, row_id: object, got: object) -> CorruptFileError:
    return CorruptFileError(f"row {row_id} of the row index is none", where=path, expected="[name, label]", got=got)
