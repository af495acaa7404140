"""A spectral folder is plain Zarr v3: zarr, xarray and tensorstore read and decode it without a line of ours."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import xarray
import zarr
from zarr.core.buffer import Buffer

from spectral_prep.choices import Compression, Storage
from spectral_prep.encoding import Encoding
from spectral_prep.errors import StorageError
from spectral_prep.store.block_writer import BlockWriter
from spectral_prep.store.interface import SpectralArray
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import FileEntry, SpectralRecord
from spectral_prep.store.zarr_store import ZarrParts, create
from spectral_prep.system import files
from tests.support.shards import write_parts
from tests.support.trees import tree


def test_plain_zarr_opens_a_spectral_folder(digits: Path) -> None:
    group = zarr.open_group(digits / "spectral-02", mode="r")
    x, y, ids = (group[name] for name in ("train/x", "test/y", "test/id"))
    assert isinstance(x, zarr.Array)
    assert isinstance(y, zarr.Array)
    assert isinstance(ids, zarr.Array)
    assert x.shape == (1438, 1, 4, 4)
    assert x.dtype == np.int8
    assert y.shape == ids.shape == (359,)
    assert group.attrs["spectral"] == 2


def test_xarray_opens_it_and_decodes_int8_by_itself(digits: Path) -> None:
    record = read_record(digits / "spectral-02" / "spectral.json", SpectralRecord)
    opened = xarray.open_zarr(digits / "spectral-02", group="train", consolidated=False)
    assert opened.x.dims == ("row", "channel", "height", "width")
    assert opened.y.dims == ("row",)
    stored = np.asarray(zarr.open_array(digits / "spectral-02" / "train/x", mode="r")[:])
    scale, offset = record.encoding.scalars(2)
    np.testing.assert_allclose(opened.x.values, stored * scale + offset, rtol=1e-5, atol=1e-4)
    assert np.isfinite(opened.x.values).all()
    assert (stored == 0).any()


def by_zarr(array: SpectralArray, values_NChw: np.ndarray) -> dict[str, bytes]:
    """Return what zarr-python itself writes: {path: content}."""
    store: dict[str, Buffer] = {}
    create(array, zarr.storage.MemoryStore(store))[:] = values_NChw
    return {path: content.to_bytes() for path, content in store.items() if path.startswith("x/")}


def noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 20, shape).astype(dtype)


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
@pytest.mark.parametrize("rows", [24, 16, 22, 17, 3], ids=lambda rows: f"{rows} rows")
def test_parts_are_byte_for_byte_what_zarr_python_writes(
    tmp_path: Path, rows: int, dtype: Storage, compression: Compression
) -> None:
    """Full parts and ragged ones, full chunks and ragged ones, and chunks of zeros; tensorstore reads the same."""
    array = SpectralArray(rows, (3, 2, 5), dtype, block_rows=8, chunk_rows=4, compression=compression)
    values_QNChw = noise((2, rows, 3, 2, 5), dtype)
    values_QNChw[1] = 0
    entries = list(write_parts(tmp_path, "train", array, values_QNChw, np.zeros(rows), "zarr"))
    for k, values_NChw in enumerate(values_QNChw):
        expected = by_zarr(array, values_NChw)
        folder = tmp_path / f"spectral-0{k}" / "train"
        metadata = expected.pop("x/zarr.json")
        assert tree(folder) == expected
        (folder / "x" / "zarr.json").write_bytes(metadata)
        np.testing.assert_array_equal(zarr.open_array(folder / "x", mode="r")[:], values_NChw)
        store = {"driver": "file", "path": str(folder / "x")}
        opened = tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()
        np.testing.assert_array_equal(opened.read().result(), values_NChw)
    assert [entry.path for entry in entries[:2]] == [f"spectral-0{k}/train/x/c/0/0/0/0" for k in (0, 1)]
    assert all(entry == FileEntry.of(tmp_path, tmp_path / entry.path) for entry in entries)


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_every_flipped_byte_of_a_part_stops_the_reader(
    tmp_path: Path, compression: Compression, dtype: Storage
) -> None:
    """crc32c guards chunks and index; a flipped byte must never become another number."""
    values = noise((6, 1, 2, 2), dtype)
    array = SpectralArray(6, (1, 2, 2), dtype, block_rows=6, chunk_rows=3, compression=compression)
    list(write_parts(tmp_path, "train", array, values[None], np.zeros(6), "zarr"))
    folder = tmp_path / "spectral-00" / "train"
    (folder / "x" / "zarr.json").write_bytes(by_zarr(array, values)["x/zarr.json"])
    opened = zarr.open_array(folder / "x", mode="r")
    part = folder / "x/c/0/0/0/0"
    content = bytearray(part.read_bytes())
    for place in range(len(content)):
        content[place] ^= 0x04
        part.write_bytes(content)
        with pytest.raises((ValueError, RuntimeError)):
            opened[:]
        content[place] ^= 0x04
    part.write_bytes(content)
    np.testing.assert_array_equal(opened[:], values)


@pytest.mark.parametrize("sizes", [[1] * 21, [21], [5, 16], [3, 4, 5, 9]], ids=str)
def test_however_rows_arrive_the_bytes_are_the_same(tmp_path: Path, sizes: list[int]) -> None:
    array = SpectralArray(21, (1, 2, 2), "int8", block_rows=24, chunk_rows=4, compression="zstd")
    values_QNChw = noise((3, 21, 1, 2, 2), "int8")
    with BlockWriter(tmp_path, [tmp_path / f"{k}" for k in range(3)], ZarrParts(array, 3), array) as writer:
        for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            writer.append(values_QNChw[:, start : start + size], np.zeros(size))
        writer.finish()
    assert tree(tmp_path) == {f"{k}": by_zarr(array, values_QNChw[k])["x/c/0/0/0/0"] for k in range(3)}


@pytest.mark.parametrize("failing", [None, "open", "write", "fsync"])
def test_what_was_not_finished_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str | None
) -> None:
    array = SpectralArray(8, (1, 2, 2), "int8", block_rows=8, chunk_rows=4, compression="none")
    paths = [tmp_path / f"{k}" / "part" for k in range(3)]

    def convert() -> None:
        with BlockWriter(tmp_path, paths, ZarrParts(array, 3), array) as writer:
            writer.append(noise((3, 8, 1, 2, 2), "int8"), np.zeros(8))
            if failing:
                writer.finish()

    calls = iter(range(100))

    def fail_at_the_second(genuine: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object) -> Any:
            if next(calls) == 1:
                raise OSError(errno.ENOSPC, "full")
            return genuine(*arguments)

        return call

    if failing == "open":
        monkeypatch.setattr(files, "open", fail_at_the_second(open), raising=False)
    elif failing == "write":
        monkeypatch.setattr(files.AtomicFile, "append", fail_at_the_second(files.AtomicFile.append))
    elif failing == "fsync":
        monkeypatch.setattr(files, "sync_folder", lambda _: None)
        monkeypatch.setattr(os, "fsync", fail_at_the_second(os.fsync))
    with pytest.raises((StorageError, OSError)) if failing else contextlib.nullcontext():
        convert()
    assert set(tree(tmp_path)) == ({"0/part"} if failing == "fsync" else set())


def test_floats_carry_no_scalars() -> None:
    assert Encoding("float16").scalars(3) == (1.0, 0.0)
