"""A spectral folder is plain Zarr v3: zarr and xarray read and decode it without a line of ours."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
import zarr

from spectral_prep.encoding import Encoding
from spectral_prep.manifest import SpectralRecord, read_record
from spectral_prep.store.zarr_store import SpectralArray, part_bytes


def test_plain_zarr_opens_a_spectral_folder(digits) -> None:
    group = zarr.open(digits / "spectral-02", mode="r")
    assert group["train/x"].shape == (1438, 1, 4, 4)
    assert group["train/x"].dtype == np.int8
    assert group["test/y"].shape == group["test/id"].shape == (359,)
    assert group.attrs["spectral"] == 2


def test_xarray_opens_it_and_decodes_int8_by_itself(digits) -> None:
    record = SpectralRecord.from_dict(read_record(digits / "spectral-02" / "spectral.json", "spectral"))
    opened = xarray.open_zarr(digits / "spectral-02", group="train", consolidated=False)
    assert opened.x.dims == ("row", "channel", "height", "width")
    assert opened.y.dims == ("row",)
    stored = zarr.open(digits / "spectral-02", mode="r")["train/x"][:]
    scale, offset = record.encoding.scalars(2)
    np.testing.assert_allclose(opened.x.values, stored * scale + offset, rtol=1e-5, atol=1e-4)
    assert np.isfinite(opened.x.values).all()
    assert (stored == 0).any()


def test_a_block_of_zeros_is_written_and_read_back(tmp_path) -> None:
    array = SpectralArray(10, (1, 2, 2), "int8", block_rows=8, chunk_rows=4, compression="zstd")
    content = part_bytes(array, 0, np.zeros((8, 1, 2, 2), np.int8))
    assert len(content) > 2 * 16 + 4  # more than the index alone


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_every_flipped_byte_of_a_part_stops_the_reader(tmp_path, compression, dtype) -> None:
    """crc32c guards chunks and index; a flipped byte must never become another number."""
    values = np.random.default_rng(0).normal(size=(6, 1, 2, 2)).astype(dtype)
    array = SpectralArray(6, (1, 2, 2), dtype, block_rows=6, chunk_rows=3, compression=compression)
    store: dict[str, object] = {}
    array.create(zarr.storage.MemoryStore(store))
    opened = zarr.open_array(zarr.storage.MemoryStore(store), path="x")
    content = bytearray(part_bytes(array, 0, values))
    buffer = zarr.core.buffer.default_buffer_prototype().buffer
    for place in range(len(content)):
        content[place] ^= 0x04
        store["x/c/0/0/0/0"] = buffer.from_bytes(bytes(content))
        with pytest.raises((ValueError, RuntimeError)):
            opened[:]
        content[place] ^= 0x04
    store["x/c/0/0/0/0"] = buffer.from_bytes(bytes(content))
    np.testing.assert_array_equal(opened[:], values)


def test_floats_carry_no_scalars() -> None:
    assert Encoding("float16").scalars(3) == (1.0, 0.0)
