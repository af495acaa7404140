"""Spectral folders as Zarr v3 groups.

Input: rows of the Q spectrals, or labels and ids of a split. Output: the bytes of Zarr objects, written by our own
atomic write: zarr-python's local store has no fsync.

`x` (N, C, h, w) is sharded: one shard object a block of rows (a *part*), with inner chunks for partial reads.
zarr-python can write one only as a whole. Parts are written chunk by chunk, so they are laid out here, byte for byte
as zarr-python does (the `sharding_indexed` codec of the Zarr v3 specification): the chunks in order, then for each its
(offset, nbytes) as little-endian uint64, all ones for a chunk beyond the last row, then the crc32c of that index. `y`
and `id` (N,) are small, written at the end, and wholly zarr-python's. Every chunk and every index carries a crc32c.
What is read is the business of `zarr_metadata` and `zarr_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs.zstd import Zstd
from zarr.abc.buffer import Buffer
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from spectral_prep.choices import Compression
from spectral_prep.places.url import Place
from spectral_prep.store.interface import SpectralArray
from spectral_prep.store.zarr_metadata import LABEL_CHUNK_ROWS, ZSTD_LEVEL, read_cut
from spectral_prep.store.zarr_rows import ZarrRows, read_labels

NO_CHUNK = 2**64 - 1


class ZarrParts:
    """Encodes the Q shard objects of one block; a `PartEncoder`."""

    def __init__(self, array: SpectralArray, q: int) -> None:
        self._array = array
        self._index_Qn2 = np.full((q, array.block_rows // array.chunk_rows, 2), NO_CHUNK, "<u8")
        self._sizes_Q = np.zeros(q, np.uint64)
        self._chunks = 0

    def chunk(self, values_QNChw: npt.NDArray[Any], labels_N: npt.NDArray[Any]) -> Iterator[bytes]:
        """Yield the next chunk of each of the Q parts; rows that are missing in the last one are zeros."""
        missing = self._array.chunk_rows - values_QNChw.shape[1]
        for k, values_NChw in enumerate(values_QNChw):
            content = self._encode(values_NChw.tobytes() + bytes(missing * values_NChw[0].nbytes))
            self._index_Qn2[k, self._chunks] = self._sizes_Q[k], len(content)
            self._sizes_Q[k] += len(content)
            yield content
        self._chunks += 1

    def end(self) -> Iterator[bytes]:
        """Yield the index of each of the Q parts."""
        for index_n2 in self._index_Qn2:
            yield _with_crc32c(index_n2.tobytes())

    def _encode(self, content: bytes) -> bytes:
        return _with_crc32c(content if self._array.compression == "none" else Zstd(ZSTD_LEVEL).encode(content))


def _with_crc32c(content: bytes) -> bytes:
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(4, "little")


@dataclass(frozen=True)
class ZarrStore:
    """A Zarr v3 group with `x`, `y` and `id` for each split; a `Store`."""

    compressions: tuple[Compression, ...] = ("zstd", "none")
    checks_parts: bool = True

    def encoder(self, array: SpectralArray, q: int, start: int) -> ZarrParts:
        """Return what makes the Q shard objects of a block."""
        return ZarrParts(array, q)

    def label_files(
        self, labels: Mapping[str, npt.NDArray[Any]], ids: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, bytes]:
        """Return the arrays `y` and `id` of every split."""
        contents: dict[str, bytes] = {}
        for split in labels:
            objects: dict[str, Buffer] = {}
            store = MemoryStore(objects)
            zarr.create_group(store)
            for name, values in (("y", labels[split]), ("id", ids[split])):
                zarr.create_array(
                    store,
                    name=name,
                    data=values,
                    chunks=(min(len(values), LABEL_CHUNK_ROWS),),
                    compressors=_compressors("zstd"),
                    dimension_names=("row",),
                    config={"write_empty_chunks": True},
                )
            del objects["zarr.json"]  # of the group, which is the metadata's
            contents |= {f"{split}/{key}": content.to_bytes() for key, content in objects.items()}
        return contents

    def metadata_files(self, arrays: Mapping[str, SpectralArray], attributes: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the metadata of the hierarchy, whose root group has the attributes, and of `x` of every split."""
        objects: dict[str, Buffer] = {}
        zarr.create_group(MemoryStore(objects), attributes=dict(attributes))
        for split, array in arrays.items():
            split_objects: dict[str, Buffer] = {}
            store = MemoryStore(split_objects)
            zarr.create_group(store)
            create(array, store)
            objects |= {f"{split}/{key}": content for key, content in split_objects.items()}
        return {key: content.to_bytes() for key, content in objects.items()}

    def labels(self, root: Place, split: str, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return labels and row ids of a split."""
        y, ids = (read_labels(root / split / name, rows) for name in ("y", "id"))
        return y, ids

    def rows(
        self, root: Place, split: str, shape_NChw: tuple[int, int, int, int], dtype: str, block_rows: int
    ) -> ZarrRows:
        """Return the rows of a split; ValueError if the array is not the one that belongs there."""
        cut = read_cut(root / split / "x" / "zarr.json", shape_NChw, dtype, block_rows)
        array = SpectralArray(shape_NChw[0], shape_NChw[1:], dtype, block_rows, cut.chunk_rows, cut.compression)
        return ZarrRows(root, split, array)


def create(array: SpectralArray, store: MemoryStore) -> zarr.Array[Any]:
    """Create the array `x` in a store, without any data."""
    attributes = {"scale_factor": array.scale_factor, "add_offset": array.add_offset}
    return zarr.create_array(
        store,
        name="x",
        shape=(array.rows, *array.image_shape),
        shards=(array.block_rows, *array.image_shape),
        chunks=(array.chunk_rows, *array.image_shape),
        dtype=array.dtype,
        fill_value=0,
        compressors=_compressors(array.compression),
        dimension_names=("row", "channel", "height", "width"),
        attributes={name: value for name, value in attributes.items() if value is not None},
        config={"write_empty_chunks": True},
    )


def _compressors(compression: Compression) -> list[Any]:
    return [Crc32cCodec()] if compression == "none" else [ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()]
