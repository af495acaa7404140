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
PIECE_BYTES = 4 << 20
DIGITS = 10
"""Of a label at most."""
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
    path = paths.rows(split)
    labels = np.empty(plan.splits[split].images, np.int32)
    row_id = 0
    for lines in _pieces(path):
        found = _labels(lines)
        wrong = np.flatnonzero((found < 0) | (found >= len(plan.classes)))
        if wrong.size or row_id + len(found) > len(labels):
            first = int(wrong[0]) if wrong.size else len(labels) - row_id
            raise _damaged(path, row_id + first, lines.split(b"\n")[first][:50])
        labels[row_id : row_id + len(found)] = found
        row_id += len(found)
    if row_id != len(labels):
        raise _other_number(path, len(labels), row_id)
    return labels


def _pieces(path: Place) -> Iterator[bytes]:
    """Yield an index by whole lines, about `PIECE_BYTES` at a time."""
    try:
        with at(path).stream() as file:
            begun = b""
            while piece := file.read(PIECE_BYTES):
                whole, newline, rest = piece.rpartition(b"\n")
                if newline:
                    yield begun + whole + newline
                    begun = rest
                else:
                    begun += rest
                if len(begun) > LONGEST_LINE:
                    raise ValueError(f"a line of more than {LONGEST_LINE} bytes")
            if begun:
                raise ValueError("a last line without an end")
    except (ValueError, OSError) as error:
        raise CorruptFileError("the row index cannot be read", where=path, got=error) from error


def _labels(lines: bytes) -> npt.NDArray[np.int64]:
    """Return the number that stands between a blank and "]" at the end of each line, −1 where there is none."""
    text = np.frombuffer(lines, np.uint8)
    at_ends = np.flatnonzero(text == ord("\n")) - 1
    starts = np.concatenate([[0], at_ends[:-1] + 2])
    labels = np.zeros(len(at_ends), np.int64)
    good = (text[at_ends] == ord("]")) & (at_ends + 2 - starts <= LONGEST_LINE)
    open_rows = np.arange(len(at_ends))
    for power in range(DIGITS + 1):
        places = at_ends[open_rows] - 1 - power
        inside = places > starts[open_rows]
        found = text[np.maximum(places, 0)]
        digit = inside & (found >= ord("0")) & (found <= ord("9")) & (power < DIGITS)
        ended = ~digit
        good[open_rows[ended]] &= (inside & (found == ord(" ")) & (power > 0))[ended]
        open_rows = open_rows[digit]
        labels[open_rows] += (found[digit].astype(np.int64) - ord("0")) * 10**power
    return np.where(good, labels, -1)


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
        raise _other_number(path, plan.splits[split].images, count)


def _other_number(path: Place, expected: int, got: int) -> CorruptFileError:
    return CorruptFileError("the row index has another number of rows", where=path, expected=expected, got=got)


def _damaged(path: Place, row_id: object, got: object) -> CorruptFileError:
    return CorruptFileError(f"row {row_id} of the row index is none", where=path, expected="[name, label]", got=got)
