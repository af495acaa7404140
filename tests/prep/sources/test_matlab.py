"""A MATLAB file is looked through before scipy takes memory for what it says."""

from __future__ import annotations

import io
import tracemalloc
import zlib
from typing import Any, cast

import numpy as np
import pytest
from scipy.io import savemat

from spectral_prep.sources import matlab
from spectral_prep.sources.matlab import inflated, matlab_variables
from tests.torture.hostile_sources import FIELDS, array, element, nested, packed, zeros

MOST = 1 << 20


def saved(packed: bool = False, **variables: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(cast(Any, buffer), variables, do_compression=packed)
    return buffer.getvalue()


HEADER = saved(x=1.0)[:128]


@pytest.mark.parametrize("packed", [False, True])
def test_honest_files_read_as_scipy_reads_them(packed: bool) -> None:
    synsets = np.zeros((3, 1), [(name, object) for name in ("WNID", "words", "children")])
    for row, wnid in enumerate(("n1", "n02084071", "")):
        synsets[row, 0] = (wnid, "é", np.arange(row * 5, dtype=np.uint16))
    cells = np.array([[1, "two"], [np.ones((2, 3, 4)), np.array([], object)]], object)
    found = matlab_variables(
        saved(packed, synsets=synsets, cells=cells, n=np.array([1, -2], np.int8), e=np.zeros((0, 3))), MOST
    )
    assert [row["WNID"] for row in found["synsets"][:2]] == ["n1", "n02084071"]
    assert found["synsets"][2]["children"].tolist() == list(range(10))
    assert found["cells"][0, 1] == "two"
    assert found["cells"][1, 0].shape == (2, 3, 4)
    assert found["n"].tolist() == [1, -2]


BOMBS = {
    "cells": array(1, 1 << 28, 1, element(14, b"")),
    "structures": array(2, 1 << 27, 1, FIELDS, element(14, b"")),
    "structures without a field": array(2, 1 << 30, 1, element(5, bytes(4)), element(1, b"")),
    "texts": array(4, 1 << 28, 1, element(1, b"")),
    "numbers": array(6, 1 << 15, 1 << 15, element(9, bytes(8))),
    "a negative side": array(6, -1, -(1 << 30), element(9, bytes(8))),
    "no side": element(14, element(6, bytes(8)) + element(5, b"") + element(1, b"x")),
    "sparse": array(5, 1 << 28, 1 << 28, element(5, bytes(4))),
    "an object": array(3, 1, 1, element(1, b"x"), FIELDS),
    "packed in packed": packed(packed(array(6, 1, 1, element(9, bytes(8))))),
    "deep": nested(1000),
    "many": array(1, 1 << 18, 1, element(14, b"") * (1 << 18)),
    "an element beyond its array": element(14, element(6, bytes(8)) + b"\5\0\0\0\xff\xff\xff\x7f"),
    "cut": array(1, 1, 1, element(14, b""))[:-12],
    "a kind of its own": element(99, bytes(8)),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_what_states_more_than_is_there_is_refused_before_it_takes_memory(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"array|element"):
            matlab_variables(HEADER + content, 1 << 22)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_nothing_inflates_beyond_the_bound() -> None:
    for content in (packed(bytes(64 << 20)), packed(bytes(600_000)) * 2):
        with pytest.raises(ValueError, match="without compression"):
            inflated(HEADER + content, MOST)
    assert zlib.decompress(zeros(3 << 20)) == bytes(3 << 20)
    assert matlab.MOST_ARRAYS > 8 * 1860  # fields and synsets of ImageNet's
