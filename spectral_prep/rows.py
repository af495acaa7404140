"""The row index on disk: which source image every row came from, one JSON line a row, in canonical order.

Line i of `rows/<split>.jsonl` is `[name, label]` of the row with id i; `id` in every spectral folder points here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from spectral_prep.sources.base import RowIndex
from spectral_prep.store.layout import DatasetPaths


def index_lines(rows: RowIndex) -> bytes:
    """Return the content of the file; names that are no UTF-8 keep their bytes."""
    pairs = zip(rows.names, rows.labels.tolist(), strict=True)
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs).encode("utf-8", "surrogateescape")


def read_index(paths: DatasetPaths, split: str) -> Iterator[tuple[str, int]]:
    """Yield (name, label) of each row of a split, by row id."""
    with open(paths.rows(split), encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            name, label = json.loads(line)
            yield name, label
