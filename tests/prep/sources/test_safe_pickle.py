"""The unpickler gives back what CIFAR's pickles hold and runs nothing."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_prep.errors import CorruptSourceError
from spectral_prep.sources import safe_pickle
from tests.support.releases import python2_pickle, random_images


def load(content: bytes) -> dict[bytes, Any]:
    return safe_pickle.load(io.BytesIO(content), len(content), "data_batch_1")


BATCH = {b"labels": [3, 1, 2], b"data": random_images(3, 3072), b"filenames": [b"a\xff.png", b"b.png"]}


def same(got: dict[bytes, Any], expected: dict[bytes, Any]) -> bool:
    return got.keys() == expected.keys() and all(np.array_equal(got[key], expected[key]) for key in expected)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_reads_what_python_3_writes(protocol: int) -> None:
    assert same(load(pickle.dumps(BATCH, protocol)), BATCH)


def test_reads_what_python_2_wrote() -> None:
    content = python2_pickle(BATCH)
    assert same(load(content), BATCH)
    assert same(pickle.loads(content, encoding="bytes"), BATCH)  # noqa: S301  the fixture is a true numpy 1 pickle


def test_reads_columns_first_arrays_and_text_keys() -> None:
    columns = np.asfortranarray(random_images(4, 6))
    assert same(load(pickle.dumps({"data": columns}, protocol=2)), {b"data": columns})


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def test_does_not_run_a_command(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    hostile = pickle.dumps({b"data": Call(os.system, f"touch {marker}")}, protocol=2)
    with pytest.raises(CorruptSourceError, match=r"refuses to load os\.system.*Where: data_batch_1") as caught:
        load(hostile)
    assert caught.value.exit_code == 1
    assert not marker.exists()
    pickle.loads(hostile)  # noqa: S301  the same pickle does run in an ordinary unpickler
    assert marker.exists()


@pytest.mark.parametrize(
    "name",
    ["os.system", "builtins.eval", "numpy.load", "numpy.core.multiarray.scalar", "copyreg._reconstructor", "numpy.x"],
)
def test_refuses_every_other_name(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    with pytest.raises(CorruptSourceError, match=f"refuses to load {name}"):
        load(b"\x80\x02c" + module.encode() + b"\n" + attribute.encode() + b"\n.")


@pytest.mark.parametrize("array", [np.array([{}, "x"], object), np.zeros(3), np.zeros(3, "i1")])
def test_refuses_arrays_of_another_dtype(array: np.ndarray) -> None:
    with pytest.raises(CorruptSourceError, match=f"refuses to load an array of dtype {array.dtype.str[1:]}"):
        load(pickle.dumps({b"data": array}, protocol=2))


def test_refuses_other_codecs_and_persistent_objects() -> None:
    call = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    with pytest.raises(CorruptSourceError, match=r"refuses to load _codecs\.encode with 'rot13'"):
        load(call)
    with pytest.raises(CorruptSourceError, match="refuses to load a persistent object"):
        load(b"\x80\x02K\x01Q.")


def test_an_array_must_hold_its_shape() -> None:
    content = python2_pickle({b"data": random_images(2, 5)}).replace(b"J\x05\x00\x00\x00", b"J\x06\x00\x00\x00")
    with pytest.raises(CorruptSourceError, match=r"shape \(2, 6\) in 10 bytes"):
        load(content)


def test_a_truncated_pickle_and_one_that_is_no_dictionary() -> None:
    content = pickle.dumps(BATCH, protocol=2)
    with pytest.raises(CorruptSourceError, match="truncated or damaged pickle"):
        load(content[:-100])
    with pytest.raises(CorruptSourceError, match="truncated or damaged pickle"):
        load(b"")
    with pytest.raises(CorruptSourceError, match=r"not a pickled dictionary.*Got: list"):
        load(pickle.dumps([1, 2], protocol=2))


def test_stated_sizes_allocate_nothing() -> None:
    large = (1 << 24).to_bytes(4, "little")
    for opcodes in (b"T" + large, b"X" + large, b"]r" + large + b"0", b"\x8e" + large + bytes(4)):
        tracemalloc.start()
        with pytest.raises(CorruptSourceError):
            load(b"\x80\x02" + opcodes)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4))))
def test_only_our_errors_escape_from_any_bytes(change: bytes | tuple[int, bytes]) -> None:
    content = change
    if isinstance(change, tuple):  # a real pickle with a few bytes changed
        whole = pickle.dumps({b"labels": [1, 2], b"data": random_images(2, 4)}, protocol=2)
        start = change[0] % len(whole)
        content = whole[:start] + change[1] + whole[start + len(change[1]) :]
    assert isinstance(content, bytes)
    try:
        load(content)
    except CorruptSourceError as error:
        assert "data_batch_1" in str(error)  # noqa: PT017
