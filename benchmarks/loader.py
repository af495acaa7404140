"""Samples a second of a shard's rows, by this package's loader and by its peers, in one interleaved run.

    pip install litdata webdataset ffcv                        # left out of the table where they are missing
    python benchmarks/loader.py spectral/imagenet-q16 --shard 0
    python benchmarks/loader.py spectral/imagenet-q16 --shard 0 --rounds 5 --batch-size 256
    python benchmarks/loader.py spectral/imagenet-q16 --train fc       # training, resident beside streamed

Every loader is asked for the same rows, shuffled, as standardised float32 batches and labels. The peers get them in
their own format, uncompressed int8 arrays of the shard's rows, and are used as their documentation says, in this
process; their batches go through the same standardisation. All files are in the page cache. `copy` is `index_select` of
ready float32 rows, the bytes that every batch has in the end; `copy of int8`, of the rows as stored, a quarter of
them. A round times each loader for one epoch; a number is the median over rounds, a ratio the median of the ratios
within the rounds. One process, one thread (and the one that reads ahead).

`--train` trains that network for three epochs a round instead, with its rows resident and streamed within a quarter of
their bytes, and gives the seconds that its record has: held-out rows are scored and checkpoints written, too.

FFCV reads ahead with a thread of its own, compiled by Numba. It has no wheels: it is built from source, with the
headers of OpenCV and libjpeg-turbo (apt: libopencv-dev libturbojpeg0-dev).
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from spectral_train.data.dataset import ShardDataset
from spectral_train.data.loader import LoaderOptions, ShardLoader
from spectral_train.data.order import shuffled
from spectral_train.data.pieces import read_values
from spectral_train.data.placement import split_bytes
from spectral_train.data.rows import Examples
from spectral_train.data.shard import Shard, open_shard, read_labels
from spectral_train.device import Resources
from spectral_train.recipe.recipes import named
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest

EPOCHS = 3
Batch = tuple[Tensor, Tensor]
Loader = Callable[[], Iterable[Batch]]


def own(shard: Shard, batch_size: int) -> Iterator[tuple[str, Loader]]:
    """Yield this package's loaders: resident, streamed within a quarter of the rows' bytes, and row by row."""
    resident = ShardLoader(shard, batch_size)
    yield "resident", lambda: resident
    streamed = ShardLoader(shard, batch_size, options=LoaderOptions(memory=split_bytes(shard, "train") // 4))
    yield "streamed", lambda: streamed
    dataset = ShardDataset(shard, memory=1 << 40)
    yield (
        "ShardDataset, all kept",
        lambda: torch.utils.data.DataLoader(dataset, batch_size, shuffle=True),
    )


def copies(shard: Shard, rows: Examples, batch_size: int) -> Iterator[tuple[str, Loader]]:
    """Yield what a loader could reach if a batch were nothing but a copy."""
    ready = shard.standardise(rows.x)

    def copy(x: Tensor) -> Iterator[Batch]:
        order = torch.from_numpy(shuffled(np.arange(len(x), dtype=np.int32), 0))
        for index in order.split(batch_size):
            yield x.index_select(0, index), rows.y.index_select(0, index)

    yield "copy", lambda: copy(ready)
    yield "copy of int8", lambda: copy(rows.x)


def webdataset_loader(shard: Shard, rows: Examples, batch_size: int, folder: Path) -> Loader:
    """Write a tar of samples and return its reader: a shuffle buffer, decoded arrays, batches."""
    import webdataset

    with webdataset.TarWriter(str(folder / "rows-000000.tar"), mtime=0) as writer:
        for i, (x, y) in enumerate(zip(rows.x.numpy(), rows.y.tolist(), strict=True)):
            writer.write({"__key__": f"{i:08d}", "x.npy": x, "cls": y})

    def read() -> Iterator[Batch]:
        pipe = webdataset.WebDataset(str(folder / "rows-000000.tar"), shardshuffle=False).shuffle(1000).decode()
        for x, y in pipe.to_tuple("x.npy", "cls").batched(batch_size):
            yield shard.standardise(torch.from_numpy(np.stack(x) if isinstance(x, list) else x)), torch.as_tensor(y)

    return read


def litdata_loader(shard: Shard, rows: Examples, batch_size: int, folder: Path) -> Loader:
    """Write a streaming data set and return its loader."""
    import litdata
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for i, (x, y) in enumerate(zip(rows.x.numpy(), rows.y.tolist(), strict=True)):
        writer.add_item(i, {"x": x, "y": int(y)})
    writer.done()
    writer.merge()

    def read() -> Iterator[Batch]:
        dataset = litdata.StreamingDataset(str(folder), shuffle=True)
        for batch in litdata.StreamingDataLoader(dataset, batch_size=batch_size, num_workers=0):
            yield shard.standardise(batch["x"]), batch["y"]

    return read


def ffcv_loader(shard: Shard, rows: Examples, batch_size: int, folder: Path) -> Loader:
    """Write a beton of arrays and return its loader: random order, the file in the page cache, one worker."""
    import ffcv
    from ffcv.fields import IntField, NDArrayField
    from ffcv.fields.decoders import IntDecoder, NDArrayDecoder
    from ffcv.transforms import Squeeze, ToTensor

    beton = str(folder / "rows.beton")
    samples = list(zip(rows.x.numpy(), rows.y.tolist(), strict=True))
    fields = {"x": NDArrayField(samples[0][0].dtype, samples[0][0].shape), "y": IntField()}
    ffcv.DatasetWriter(beton, fields, num_workers=1).from_indexed_dataset(samples)
    pipelines = {"x": [NDArrayDecoder(), ToTensor()], "y": [IntDecoder(), ToTensor(), Squeeze()]}
    loader = ffcv.Loader(
        beton, batch_size, num_workers=1, order=ffcv.loader.OrderOption.RANDOM, os_cache=True, pipelines=pipelines
    )

    def read() -> Iterator[Batch]:
        for x, y in loader:
            yield shard.standardise(x), y

    return read


PEERS: dict[str, Callable[[Shard, Examples, int, Path], Loader]] = {
    "webdataset": webdataset_loader,
    "litdata": litdata_loader,
    "ffcv": ffcv_loader,
}


def epoch_rate(loader: Loader) -> float:
    """Return samples a second of one epoch."""
    started, rows = time.perf_counter(), 0
    for _, y in loader():
        rows += len(y)
    return rows / (time.perf_counter() - started)


def train(data: Path, shard: int, batch_size: int, rounds: int, model: str) -> None:
    """Print the seconds of an epoch, resident and streamed, and the median ratio within the rounds."""
    size = split_bytes(open_shard(data, shard), "train")
    recipe = named("default", model=model, epochs=EPOCHS, batch_size=batch_size)
    seconds: dict[str, list[float]] = {"resident": [], "streamed": []}
    for _ in range(rounds):
        for name, memory in (("resident", size + 1), ("streamed", size // 4)):
            with tempfile.TemporaryDirectory() as run:
                request = TrainingRequest(data, recipe, Path(run), resources=Resources("cpu", memory=memory))
                (record,) = train_branches(request, shard)
                seconds[name].append(record.seconds / EPOCHS)
    speed = statistics.median(a / b for a, b in zip(seconds["resident"], seconds["streamed"], strict=True))
    for name, measured in seconds.items():
        click.echo(f"{model}, {name:9} {statistics.median(measured):8.2f} s an epoch")
    click.echo(f"streamed is {speed:.2f} of the resident speed")


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--shard", type=int, default=0, show_default=True)
@click.option("--batch-size", type=int, default=128, show_default=True)
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--train", "model", help="Time training this network instead.")
def main(data: Path, shard: int, batch_size: int, rounds: int, model: str | None) -> None:
    """Print a table of samples a second and of ratios to the resident loader."""
    if model:
        train(data, shard, batch_size, rounds, model)
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    opened = open_shard(data, shard)
    rows = Examples(read_values(opened, "train"), read_labels(opened.folders, "train").y, opened.standardise)
    with tempfile.TemporaryDirectory() as scratch:
        loaders = {**dict(own(opened, batch_size)), **dict(copies(opened, rows, batch_size))}
        for name, make in PEERS.items():
            if importlib.util.find_spec(name):
                folder = Path(scratch) / name
                folder.mkdir()
                loaders[name] = make(opened, rows, batch_size, folder)
        rates: dict[str, list[float]] = {name: [] for name in loaders}
        for number in range(rounds + 1):
            for name, loader in loaders.items():
                rate = epoch_rate(loader)
                if number:  # the first round fills caches
                    rates[name].append(rate)
    click.echo(f"{len(rows.y)} rows of {opened.input_shape}, {opened.encoding.dtype}, batches of {batch_size}")
    for name, measured in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["resident"], measured, strict=True))
        click.echo(f"{name:24} {statistics.median(measured):12,.0f} samples/s   resident is {ratio:7.2f} x")


if __name__ == "__main__":
    main()
