"""What `zarr.json` of an array may say: exactly what format version 1 writes, and nothing else.

Input: a `zarr.json` from anywhere. Output: how the array is cut and compressed. Zarr's metadata chooses the code that
reads it: codecs, chunk keys, older versions with pickled objects. A shard may come from anybody, so its metadata is
compared as a whole with what it has to be before anything is read; no codec is looked up by a name that stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from spectral_prep.choices import Compression
from spectral_prep.places import at
from spectral_prep.places.url import Place

LARGEST = 1 << 20
"""Bytes of a `zarr.json`: some thousand in fact."""
LABEL_CHUNK_ROWS = 1 << 20
ZSTD_LEVEL = 1
DIMENSIONS = ("row", "channel", "height", "width")
NODE = {"zarr_format": 3, "node_type": "array"}

LabelType = Literal["int16", "int32"]


@dataclass(frozen=True)
class Cut:
    """How `x` is cut into inner chunks, and what each is compressed with."""

    chunk_rows: int
    compression: Compression


def read_cut(path: Place, shape_NChw: tuple[int, int, int, int], dtype: str, block_rows: int) -> Cut:
    """Return how the `x` with this shape and this metadata is cut.

    Raises
    ------
    ValueError
        If the metadata is not what this format writes for such an array.
    """
    found = _read(path)
    for cut in _possible_cuts(found, block_rows):
        if found == _sharded(shape_NChw, dtype, block_rows, cut):
            return cut
    raise ValueError(f"{path.name} is not what format version 1 writes for {shape_NChw} {dtype}")


def read_label_type(path: Place, rows: int) -> LabelType:
    """Return the dtype of `y` or `id` with this metadata; ValueError if it is not what this format writes."""
    found = _read(path)
    known: tuple[LabelType, ...] = get_args(LabelType)
    for dtype in known:
        if found == _array((rows,), dtype, (min(rows, LABEL_CHUNK_ROWS),), _compressed(dtype, "zstd"), DIMENSIONS[:1]):
            return dtype
    raise ValueError(f"{path.parent.name}/{path.name} is not what format version 1 writes for {rows} rows")


def _read(path: Place) -> Mapping[str, Any]:
    try:
        found = json.loads(at(path).read(LARGEST))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no object")
    return {key: value for key, value in found.items() if key != "attributes"}  # for other readers; ours has its record


def _possible_cuts(found: Mapping[str, Any], block_rows: int) -> Iterator[Cut]:
    try:
        chunk_rows = found["codecs"][0]["configuration"]["chunk_shape"][0]
    except (KeyError, IndexError, TypeError):
        return
    if type(chunk_rows) is int and 0 < chunk_rows <= block_rows and block_rows % chunk_rows == 0:
        for compression in get_args(Compression):
            yield Cut(chunk_rows, compression)


def _sharded(shape_NChw: tuple[int, int, int, int], dtype: str, block_rows: int, cut: Cut) -> dict[str, Any]:
    image_shape = shape_NChw[1:]
    sharding = {
        "chunk_shape": [cut.chunk_rows, *image_shape],
        "codecs": _compressed(dtype, cut.compression),
        "index_codecs": [_bytes("uint64"), {"name": "crc32c"}],
        "index_location": "end",
    }
    codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    return _array(shape_NChw, dtype, (block_rows, *image_shape), codecs, DIMENSIONS)


def _array(
    shape: tuple[int, ...], dtype: str, chunk: tuple[int, ...], codecs: list[dict[str, Any]], names: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0 if dtype.startswith("int") else 0.0,
        "codecs": codecs,
        "dimension_names": list(names),
        "storage_transformers": [],
        **NODE,
    }


def _compressed(dtype: str, compression: Compression) -> list[dict[str, Any]]:
    zstd = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
    return [_bytes(dtype), *([zstd] if compression == "zstd" else []), {"name": "crc32c"}]


def _bytes(dtype: str) -> dict[str, Any]:
    return {"name": "bytes"} if dtype == "int8" else {"name": "bytes", "configuration": {"endian": "little"}}
