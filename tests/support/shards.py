"""A small converted data set, written straight from images that a network can learn: no source, no plan, no blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.choices import Format, Storage
from spectral_prep.encoding import Encoding, calibrate, decode, encode
from spectral_prep.spectrum import SpectralSpec, split
from spectral_prep.store import STORES
from spectral_prep.store.block_writer import BlockWriter
from spectral_prep.store.interface import SpectralArray
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.record_file import write_record
from spectral_prep.store.records import FileEntry, SpectralRecord, SplitInfo
from spectral_train.data.pieces import read_values
from spectral_train.data.shard import Shard, read_labels

torch.set_num_threads(1)  # the tests promise bit-equal weights, and share their cores with others

CLASSES = ("circle", "cross", "star")
LABELS = tuple(np.arange(len(CLASSES)))


class Images(NamedTuple):
    """Images (N, H, W, C) uint8 in canonical order and their labels (N,)."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int16]


def draw(rows: int, size: int | tuple[int, int] = 8, channels: int = 1, seed: int = 0, noise: float = 60) -> Images:
    """Return random textures, one a class, under noise: every frequency tells a little about the class."""
    height, width = (size, size) if isinstance(size, int) else size
    textures = np.random.RandomState(99).randint(0, 256, (len(CLASSES), height, width, channels))
    random = np.random.RandomState(seed)
    labels = random.randint(0, len(CLASSES), rows).astype(np.int16)
    pixels = 0.4 * textures[labels] + 76 + random.normal(0, noise, (rows, height, width, channels))
    return Images(pixels.round().clip(0, 255).astype(np.uint8), labels)


class Stored(NamedTuple):
    """Rows of one split as stored: `x` (N, G·C, h, w), `y` (N,) label or −1, `ids` (N,) canonical row id."""

    x: Tensor
    y: Tensor
    ids: npt.NDArray[np.int32]


def stored(shard: Shard, split: str) -> Stored:
    """Return the rows of a split of a shard."""
    labels = read_labels(shard.folders, split)
    return Stored(read_values(shard, split), labels.y, labels.ids)


def smooth(rows: int, seed: int) -> Images:
    """Return images whose low frequencies are stronger than the others."""
    fine, coarse = draw(rows, size=16, channels=3, seed=seed), draw(rows, size=8, channels=3, seed=seed)
    pixels = coarse.pixels.repeat(2, axis=1).repeat(2, axis=2) // 2 + fine.pixels // 4
    return Images(pixels, fine.labels)


def make_shards(
    root: Path,
    *,
    train: Images | None = None,
    test: Images | None = None,
    spec: SpectralSpec | None = None,
    dtype: Storage = "int8",
    format: Format = "zarr",
    block_rows: int = 128,
    chunk_rows: int = 32,
    order_seed: int = 0,
    dataset_id: str = "0123456789abcdef",
    bad: Sequence[int] = (),
) -> Path:
    """Write all spectral folders of a data set; the training rows with the ids in `bad` are bad rows."""
    spec = spec or SpectralSpec(2, 2)
    splits = {"train": train or draw(300), "test": test or draw(100, seed=1)}
    ids = {
        "train": np.random.RandomState(order_seed).permutation(len(splits["train"].labels)).astype(np.int32),
        "test": np.arange(len(splits["test"].labels), dtype=np.int32),
    }
    labels = {name: splits[name].labels[ids[name]] for name in splits}
    labels["train"][np.isin(ids["train"], list(bad))] = -1
    spectra = {name: split(torch.from_numpy(splits[name].pixels[ids[name]]), spec) for name in splits}
    encoding = calibrate(spectra["train"], spec) if dtype == "int8" else Encoding(dtype)
    stored = {name: encode(values, encoding).numpy() for name, values in spectra.items()}
    decoded_QNChw = decode(torch.from_numpy(stored["train"]), encoding)
    _, height, width, channels = splits["train"].pixels.shape
    common: dict[str, Any] = {
        "dataset_id": dataset_id,
        "dataset": "shapes",
        "spec": spec,
        "encoding": encoding,
        "store": format,
        "height": height,
        "width": width,
        "channels": channels,
        "resize": None,
        "classes": CLASSES,
        "splits": {name: SplitInfo(len(values), block_rows) for name, values in labels.items()},
        "energy": tuple(decoded_QNChw.flatten(1).var(1).tolist()),
        "saturated": 0,
        "files": (),
    }
    compression = STORES[format].compressions[0]
    arrays = {
        name: SpectralArray(values.shape[1], values.shape[2:], dtype, block_rows, chunk_rows, compression)
        for name, values in stored.items()
    }
    parts = [
        entry
        for name, array in arrays.items()
        for entry in write_parts(root, name, array, stored[name], labels[name], format)
    ]
    beside = STORES[format].label_files(labels, ids) | STORES[format].metadata_files(arrays, {})
    for k in range(spec.q):
        mean, std = (tuple(getattr(decoded_QNChw[k], name)((0, 2, 3)).tolist()) for name in ("mean", "std"))
        folder = DatasetPaths(root).spectral(k).root
        files = [
            FileEntry.of(folder, root / entry.path) for entry in parts if (root / entry.path).is_relative_to(folder)
        ]
        for path, content in beside.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
            files.append(FileEntry.of_bytes(folder, folder / path, content))
        record = SpectralRecord(k=k, mean=mean, std=std, **{**common, "files": tuple(files)})
        write_record(folder / "spectral.json", record)
    return root


def write_parts(
    root: Path,
    split: str,
    array: SpectralArray,
    stored_QNChw: npt.NDArray[Any],
    labels_N: npt.NDArray[Any],
    format: Format,
) -> Iterator[FileEntry]:
    """Write all parts of a split, as a converter does but for the record of each block."""
    q = len(stored_QNChw)
    for start in range(0, array.rows, array.block_rows):
        rows = slice(start, start + array.block_rows)
        paths = [DatasetPaths(root).spectral(k).part(split, start // array.block_rows, format) for k in range(q)]
        with BlockWriter(root, paths, STORES[format].encoder(array, q, start), array) as writer:
            writer.append(stored_QNChw[:, rows], labels_N[rows])
            yield from writer.finish()
