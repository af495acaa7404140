"""Spectral folders as Zarr v3 groups.

Goes in: rows of one spectral, or labels and ids of a split. Comes out: the bytes of Zarr objects, encoded by
zarr-python in memory and written by our own atomic write: its local store has no fsync.

`x` (N, C, h, w) is sharded: one shard object a block of rows (a *part*), with inner chunks for partial reads. `y` and
`id` (N,) are small and written at the end. Every chunk and every shard index carries a crc32c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt
import zarr
from zarr.abc.buffer import Buffer
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

Compression = Literal["zstd", "none"]

LABEL_CHUNK_ROWS = 1 << 20


@dataclass(frozen=True)
class SpectralArray:
    """The `x` of one split of one spectral: its shape, how it is cut, and the scalars that decode it."""

    rows: int
    image_shape: tuple[int, int, int]
    dtype: str
    block_rows: int
    chunk_rows: int
    compression: Compression
    scale_factor: float | None = None
    add_offset: float | None = None

    def create(self, store: MemoryStore) -> zarr.Array[Any]:
        """Create the array in a store, without any data."""
        attributes = {"scale_factor": self.scale_factor, "add_offset": self.add_offset}
        return zarr.create_array(
            store,
            name="x",
            shape=(self.rows, *self.image_shape),
            shards=(self.block_rows, *self.image_shape),
            chunks=(self.chunk_rows, *self.image_shape),
            dtype=self.dtype,
            fill_value=0,
            compressors=_compressors(self.compression),
            dimension_names=("row", "channel", "height", "width"),
            attributes={name: value for name, value in attributes.items() if value is not None},
            config={"write_empty_chunks": True},
        )


def part_bytes(array: SpectralArray, start: int, values_NChw: npt.NDArray[Any]) -> bytes:
    """Return the shard object that holds the block of rows from `start` on; `start` is a multiple of `block_rows`."""
    objects: dict[str, Buffer] = {}
    array.create(MemoryStore(objects))[start : start + len(values_NChw)] = values_NChw
    return objects[f"x/c/{start // array.block_rows}/0/0/0"].to_bytes()


def metadata_objects(
    arrays: Mapping[str, SpectralArray],
    labels: Mapping[str, npt.NDArray[Any]],
    ids: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Any],
) -> dict[str, bytes]:
    """Return everything of a spectral folder's Zarr hierarchy but the parts: {path in the folder: content}.

    Parameters
    ----------
    arrays, labels, ids
        A mapping from split to its `x`, its class labels (N,) (−1 for a bad row) and its row ids (N,).
    attributes
        Of the root group.
    """
    objects: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(objects), attributes=dict(attributes))
    for split, array in arrays.items():
        split_objects: dict[str, Buffer] = {}
        store = MemoryStore(split_objects)
        zarr.create_group(store)
        array.create(store)
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
        objects |= {f"{split}/{key}": content for key, content in split_objects.items()}
    return {key: content.to_bytes() for key, content in objects.items()}


def _compressors(compression: Compression) -> list[Any]:
    return [Crc32cCodec()] if compression == "none" else [ZstdCodec(level=1), Crc32cCodec()]
