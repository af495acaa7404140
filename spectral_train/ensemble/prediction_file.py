"""Predictions as a table, for a spreadsheet or pandas: CSV or Parquet, by the file's name, written as they come.

One row an image: `id`, `true` (empty where nobody said), `predicted`, a column `p_CLASS` with the probability of each
class, and `reason`, why a bad image has neither.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from spectral_prep.errors import InputError
from spectral_prep.places import at
from spectral_prep.places.interface import NewFile
from spectral_prep.places.url import Place
from spectral_prep.sources.opening import optional
from spectral_prep.system.files import Advice

GROUP_VALUES = 1 << 20
"""Of a Parquet row group, which is in memory while it fills."""
WRITING = Advice("free space, then the same command", "the same command with --predictions in such a folder")


@dataclass(frozen=True)
class PredictedRow:
    """One image: its id, the class that it has (None: not known), and the probability of each class, or why none."""

    id: str
    true: str | None
    probabilities: Sequence[float] | None
    reason: str | None = None


Write = Callable[[PredictedRow], None]


@contextmanager
def prediction_file(path: Place | None, classes: Sequence[str]) -> Iterator[Write]:
    """Yield what takes a row; the file gets its name at the end, or never. Without a path rows are let go.

    Raises
    ------
    InputError
        If it ends neither in .csv nor in .parquet, pyarrow is missing, or the folder may not be written.
    StorageError
        If the disk is full.
    """
    if path is None:
        yield lambda row: None
        return
    if path.suffix not in WRITERS:
        raise InputError("unusable file for predictions", where=path, expected=f"a name in {' or '.join(WRITERS)}")
    file = at(path).new(WRITING)
    try:
        write, close = WRITERS[path.suffix](file, classes)
        yield write
        close()
        file.finish()
    finally:
        file.abandon()


def _csv(file: NewFile, classes: Sequence[str]) -> tuple[Write, Callable[[], None]]:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")

    def put(cells: Sequence[object]) -> None:
        table.writerow(cells)
        file.append(text.getvalue().encode(errors="backslashreplace"))
        text.seek(0)
        text.truncate()

    put(["id", "true", "predicted", *(f"p_{name}" for name in classes), "reason"])

    def write(row: PredictedRow) -> None:
        shares = [""] * len(classes) if row.probabilities is None else [f"{value:.6g}" for value in row.probabilities]
        put([row.id, row.true or "", _predicted(row, classes) or "", *shares, row.reason or ""])

    return write, lambda: None


def _parquet(file: NewFile, classes: Sequence[str]) -> tuple[Write, Callable[[], None]]:
    arrow, parquet = optional("pyarrow", "parquet"), optional("pyarrow.parquet", "parquet")
    texts = [arrow.field(name, arrow.string()) for name in ("id", "true", "predicted")]
    shares = [arrow.field(f"p_{_stored(name)}", arrow.float32()) for name in classes]
    schema = arrow.schema([*texts, *shares, arrow.field("reason", arrow.string())])
    writer = parquet.ParquetWriter(arrow.PythonFile(_Sink(file), mode="w"), schema)
    rows: list[PredictedRow] = []

    def flush() -> None:
        columns: list[list[Any]] = [
            [_stored(row.id) for row in rows],
            [_stored(row.true) for row in rows],
            [_stored(_predicted(row, classes)) for row in rows],
            *([None if r.probabilities is None else r.probabilities[k] for r in rows] for k in range(len(classes))),
            [_stored(row.reason) for row in rows],
        ]
        arrays = [arrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
        rows.clear()

    def write(row: PredictedRow) -> None:
        rows.append(row)
        if len(rows) * len(classes) >= GROUP_VALUES:
            flush()

    def close() -> None:
        flush()
        writer.close()

    return write, close


def _stored(text: str | None) -> str | None:
    """Return a text as both kinds of file hold it: what is no UTF-8, as of a file's name, is escaped."""
    return None if text is None else text.encode(errors="backslashreplace").decode()


class _Sink(io.RawIOBase):
    """What pyarrow writes to: it appends."""

    def __init__(self, file: NewFile) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._file.append(bytes(content))
        return len(content)

    def tell(self) -> int:
        return self._file.size


def _predicted(row: PredictedRow, classes: Sequence[str]) -> str | None:
    if row.probabilities is None:
        return None
    return classes[max(range(len(classes)), key=row.probabilities.__getitem__)]


Writer = Callable[[NewFile, Sequence[str]], tuple[Write, Callable[[], None]]]
WRITERS: Mapping[str, Writer] = {".csv": _csv, ".parquet": _parquet}
