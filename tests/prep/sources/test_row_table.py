"""The packed row index: order, names and places, against Python's own sort."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spectral_prep.sources.name_list import Names, bytes_of, some, text_of
from spectral_prep.sources.row_table import ENDS, LABELS, NAMES, SPAN, SPANS, ClassNumbers, RowTable, Span

PART = st.binary(min_size=1, max_size=20).filter(lambda part: not {0, ord("/")} & set(part)).map(os.fsdecode)
PART = st.one_of(st.sampled_from(["a", "a b", "a-b", "b" * 8, "b" * 9]), PART)  # often the same, or nearly
ROWS = st.lists(st.tuples(PART, st.sampled_from(["", "/deep", "/deep er"]), PART), max_size=40)


@settings(deadline=None)
@given(rows=ROWS)
@example(rows=[("a b", "", "f"), ("a", "/deep", "f"), ("a", "", "f")])  # "a b/" sorts before "a/", but "a" before "a b"
def test_rows_stand_by_file_name_then_class_then_folder(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    table, numbers = RowTable(), ClassNumbers()
    for row, (label, below, file) in enumerate(rows):
        table.add(label + below, file, numbers.number(label), Span(row << 33, row, 7))
    classes, labels = numbers.sorted()
    staged = table.stage(tmp_path_factory.mktemp("rows") / "train", labels)
    key = lambda row: tuple(map(os.fsencode, (rows[row][2], rows[row][0], rows[row][1] + "/")))  # noqa: E731
    order = sorted(range(len(rows)), key=key)
    index = staged.index()
    assert list(index.names) == [
        text_of(f"{label}{below}/{file}") for label, below, file in map(rows.__getitem__, order)
    ]
    assert [classes[label] for label in index.labels] == [text_of(rows[row][0]) for row in order]
    assert [staged.span(place) for place in range(len(rows))] == [Span(row << 33, row, 7) for row in order]


@pytest.mark.parametrize("folder", ["n01", "n01/" + "deep/" * 500])
def test_many_files_are_added_as_one_after_the_other(tmp_path: Path, folder: str) -> None:
    files = [b"b.png", b"caf\xe9.png", b"a.png"]
    spans = np.array([(row << 33, row, 7) for row in range(3)], SPAN)
    one, many = RowTable(), RowTable()
    for file, span in zip(files, spans, strict=True):
        one.add(folder, os.fsdecode(file), 5, Span(*span.item()))
    many.add_files(folder, files, 5, spans)
    for table, name in ((one, "one"), (many, "many")):
        table.add("last", "z", 6)
        table.stage(tmp_path / name)
    for suffix in (NAMES, ENDS, LABELS, SPANS):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"many{suffix}").read_bytes()


def test_the_stored_order_may_be_kept(tmp_path: Path) -> None:
    table = RowTable()
    for file in ("b", "a", "c"):
        table.add("x", file, 0)
    assert list(table.stage(tmp_path / "train", sort=False).index().names) == ["x/b", "x/a", "x/c"]


@given(names=st.lists(st.binary(max_size=9).map(os.fsdecode)), place=st.slices(8))
def test_names_are_the_strings_that_were_packed(names: list[str], place: slice) -> None:
    text = [os.fsencode(name) for name in names]
    packed = Names(np.frombuffer(b"".join(text), np.uint8), np.cumsum([len(name) for name in text], dtype=np.int64))
    names = list(map(text_of, names))
    assert [os.fsencode(bytes_of(name)) for name in names] == text
    assert list(packed) == names
    assert packed[place] == names[place]
    assert some(packed, np.arange(len(names))[place]) == names[place]
    assert [packed[int(row)] for row in np.arange(-len(names), len(names))] == names + names
