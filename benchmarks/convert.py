"""Converting photographs, beside the floor (decoding them, and nothing else) and beside what else prepares image sets.

    pip install webdataset mosaicml-streaming      # in an environment of its own: the latter wants numpy < 2.2
    python benchmarks/convert.py --source data/imagenet --images 1536 --rounds 3
    python benchmarks/convert.py --source data/imagenet --profile
    python benchmarks/convert.py --source data/imagenet --profile --views 4

All write the same images at 224 pixels in two processes of one pool, which is warm: start-up is excluded. They take
turns, and a ratio is the median of the ratios within the rounds. `--commands` times whole commands instead, from the
start of Python to the last byte, with the calibration and the manifest. Beside the clock stands the processor time of
all processes: it says the same on an idle machine, and on a busy one it is the better measure. The peers decode with
Pillow, resize the short side to 256 and crop, and write with their own writers: webdataset with `TarWriter`, a tar a
process, images as JPEG (quality 100, its own) or as uint8; MosaicML streaming with `MDSWriter`, a folder a process,
as JPEG or as uint8; FFCV with `DatasetWriter` and two processes of its own, forked each time, as uint8.

A peer that is not installed is left out. FFCV has no wheels: it is built from source, with the headers of OpenCV and
libjpeg-turbo (apt: libopencv-dev libturbojpeg0-dev).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import io
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import simplejpeg
import torch
from PIL import Image

from spectral_prep.conversion import block, tasks
from spectral_prep.conversion.agree import Conversion
from spectral_prep.conversion.block import BlockTask, run_blocks
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.plan import CHUNK_ROWS, make_plan
from spectral_prep.conversion.request import Request
from spectral_prep.images import load
from spectral_prep.images import views as view_module
from spectral_prep.kernel import stream
from spectral_prep.sources import open_source
from spectral_prep.store import zarr_store
from spectral_prep.store.block_groups import block_groups
from spectral_prep.store.block_writer import BlockWriter
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.system.files import AtomicFile

WORKERS = 2
SIZE, RESIZE = 224, 256
SET_CHILD_SUBREAPER = 36
"""Of Linux's prctl."""
ORPHANS_SECONDS = 60
"""What a command left behind ends within so long, or never."""

OURS = {"int8, zstd-1": "zstd", "int8, uncompressed": "none"}

Work = Callable[[Any], Any]
Seconds = dict[str, list[float]]


def decode_only(paths: list[Path]) -> None:
    """The floor: no program that reads these pixels takes less, short of decoding a part of each image."""
    for path in paths:
        simplejpeg.decode_jpeg(path.read_bytes())


def by_pillow(path: Path) -> Image.Image:
    """Decode, resize and crop as the peers' users do."""
    image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    short = min(image.size)
    width, height = (int(RESIZE * side / short) for side in image.size)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + SIZE, top + SIZE))


def webdataset(task: tuple[list[Path], Path, str]) -> None:
    """Write one tar, of JPEGs or of arrays."""
    from webdataset import TarWriter

    paths, out, form = task
    out.mkdir(parents=True)
    with TarWriter(str(out / "00000.tar")) as writer:
        for number, path in enumerate(paths):
            image = by_pillow(path)
            content = {"jpg": image} if form == "JPEG" else {"npy": np.asarray(image)}
            writer.write({"__key__": f"{number:08}", **content, "cls": 1})


def mosaicml(task: tuple[list[Path], Path, str]) -> None:
    """Write one folder of MDS shards, of JPEGs or of arrays."""
    from streaming import MDSWriter

    paths, out, form = task
    kind = "jpeg" if form == "JPEG" else f"ndarray:uint8:{SIZE},{SIZE},3"
    with MDSWriter(out=str(out), columns={"image": kind, "class": "int"}) as writer:
        for path in paths:
            image = by_pillow(path)
            writer.write({"image": image if form == "JPEG" else np.asarray(image), "class": 1})


@dataclass(frozen=True)
class Cropped:
    """What FFCV reads images from."""

    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        return by_pillow(self.paths[row]), 1


def ffcv(task: tuple[list[Path], Path, str]) -> None:
    """Write one .beton of arrays."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    paths, out, _ = task
    out.parent.mkdir(parents=True)
    others = set(multiprocessing.active_children())
    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        writer = DatasetWriter(str(out), fields, num_workers=WORKERS)
        writer.from_indexed_dataset(Cropped(paths), chunksize=len(paths) // WORKERS // 4)
    for child in set(multiprocessing.active_children()) - others:  # it does not wait for them
        child.join()


PEERS = {
    f"{name}, {form}": (work, form)
    for name, work, forms in (
        ("webdataset", webdataset, ("JPEG", "uint8")),
        ("streaming", mosaicml, ("JPEG", "uint8")),
        ("ffcv", ffcv, ("uint8",)),
    )
    for form in forms
    if importlib.util.find_spec(name)
}


def tasks_of(name: str, tree: Path, out: Path) -> tuple[Work, list[Any]]:
    """Return what each process of a contestant does, and with what."""
    if name in OURS:
        return block_tasks(tree, out, OURS[name])
    paths = sorted(tree.rglob("*.JPEG"))
    halves = [paths[start::WORKERS] for start in range(WORKERS)]
    if name == "decode only":
        return decode_only, halves
    work, form = PEERS[name]
    if work is ffcv:  # which divides the work itself
        return work, [(paths, out / "images.beton", form)]
    return work, [(half, out / f"{number}", form) for number, half in enumerate(halves)]


def block_tasks(tree: Path, out: Path, compression: Any, views: int = 0) -> tuple[Work, list[BlockTask]]:
    """Return what converts blocks, and one group of them a process: one block, or as many as an image has views."""
    source = open_source("folder", tree, out / "staging")
    index = source.index()
    rows = -(-len(index["train"].names) // WORKERS)
    geometry = {"size": SIZE, "resize": RESIZE, "views": views}
    request = Request("folder", "16", compression=compression, block_rows=rows, **geometry)
    plan = make_plan(source, index, dict.fromkeys(index, ""), request)
    conversion = Conversion(DatasetPaths(out), plan, source, index)
    conversion.paths.plan.touch()  # which workers look for
    work = functools.partial(
        run_blocks, tasks.all_blocks(conversion.paths.root, conversion.plan, Execution(device="cpu"))
    )
    return work, list(tasks.block_tasks(conversion, block_groups(plan)))


def import_peers(*names: str) -> None:
    """Import those that are installed."""
    for name in filter(importlib.util.find_spec, names):
        importlib.import_module(name)


def warm(_: int) -> None:
    """Import what any contestant needs, and let the other process do the same."""
    torch.set_num_threads(1)
    import_peers("webdataset", "streaming")
    load.resize_and_crop(np.zeros((300, 400, 3), np.uint8), RESIZE, SIZE, SIZE)
    time.sleep(1)


def measured(job: tuple[Work, Any]) -> float:
    """Do a task, and return the processor time that it took, in the kernel as well."""
    work, task = job
    start = time.process_time()
    work(task)
    return time.process_time() - start


def in_turns(names: list[str], tree: Path, rounds: int) -> tuple[Seconds, Seconds]:
    """Return the seconds of each contestant in each round, in a warm pool, and those of its processors."""
    seconds: Seconds = {name: [] for name in names}
    processor: Seconds = {name: [] for name in names}
    with multiprocessing.get_context("forkserver").Pool(WORKERS) as pool:
        pool.map(warm, range(WORKERS), chunksize=1)
        if "ffcv, uint8" in names:
            import_peers("ffcv.fields", "ffcv.writer")
        for _ in range(rounds):
            for name in names:
                with tempfile.TemporaryDirectory(dir=".") as scratch:
                    work, parts = tasks_of(name, tree, Path(scratch) / "out")
                    start, before = time.perf_counter(), of_children()
                    if work is ffcv:  # a pool's processes may start none
                        work(parts[0])
                        spent = [of_children() - before]
                    else:
                        spent = pool.map(measured, [(work, task) for task in parts], chunksize=1)
                    seconds[name].append(time.perf_counter() - start)
                    processor[name].append(sum(spent))
    return seconds, processor


def as_commands(names: list[str], tree: Path, rounds: int) -> tuple[Seconds, Seconds]:
    """Return the seconds of each contestant in each round as a command, and those of its processors."""
    seconds: Seconds = {name: [] for name in names}
    processor: Seconds = {name: [] for name in names}
    adopt_orphans()
    for _ in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory(dir=".") as scratch:
                out = Path(scratch) / "out"
                command = [sys.executable, __file__, "--source", str(tree), "--once", name, "--out", str(out)]
                if name in OURS:
                    options = f"--dataset folder --size {SIZE} --resize {RESIZE} --q 16 --compression {OURS[name]}"
                    command = [
                        sys.executable,
                        "-c",
                        "from spectral_prep.console.main import prep; prep()",
                        "convert",
                        *options.split(),
                    ]
                    command += ["--workers", str(WORKERS), "--source", str(tree), "--out", str(out)]
                start, before = time.perf_counter(), of_children()
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise click.ClickException(f"{name} failed:\n{done.stderr}")
                seconds[name].append(time.perf_counter() - start)
                wait_for_orphans()
                processor[name].append(of_children() - before)
    return seconds, processor


def adopt_orphans() -> None:
    """Become the parent of what outlives a command, such as the server of its workers: their time counts, too."""
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1)


def wait_for_orphans() -> None:
    """Wait until nothing is left that a command started; raise `ClickException` if that takes too long."""
    latest = time.monotonic() + ORPHANS_SECONDS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < latest:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        raise click.ClickException(f"what the command started has not ended in {ORPHANS_SECONDS} s")


def of_children() -> float:
    """Return the processor time of all processes that this one has waited for."""
    times = os.times()
    return times.children_user + times.children_system


def once(name: str, tree: Path, out: Path) -> None:
    """Be the command of a peer."""
    work, parts = tasks_of(name, tree, out)
    if work is ffcv:
        work(parts[0])
        return
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        pool.map(work, parts, chunksize=1)


@contextmanager
def stopwatches(spent: dict[str, float]) -> Iterator[None]:
    """Add up what each stage of a worker takes, without what the stages inside it take."""
    running: list[float] = []
    patched: list[tuple[Any, str, Any]] = []

    def watch(owner: Any, name: str, stage: str) -> None:
        function = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            running.append(0.0)
            start = time.process_time()
            result = function(*arguments, **options)
            took = time.process_time() - start
            spent[stage] += took - running.pop()
            if running:
                running[-1] += took
            return result

        patched.append((owner, name, function))
        setattr(owner, name, timed)

    watch(stream, "fused_split", "split")
    watch(block, "totals", "statistics")
    watch(load.decode, "decode", "decode")
    watch(load, "resize_and_crop", "resize")
    watch(view_module, "_cropped", "crops of views")
    watch(zarr_store.Zstd, "encode", "zstd-1")
    watch(zarr_store, "_with_crc32c", "crc32c")
    watch(BlockWriter, "append", "gather a chunk")
    watch(AtomicFile, "append", "write and sha256")
    watch(AtomicFile, "finish", "fsync and rename")
    try:
        yield
    finally:
        for owner, name, function in patched:
            setattr(owner, name, function)


def profile(tree: Path, compression: str, rounds: int, views: int) -> dict[str, float]:
    """Return the milliseconds of processor time an image, in all views, that each stage of a worker takes, its best
    round.
    """
    torch.set_num_threads(1)
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        spent: dict[str, float] = defaultdict(float)
        with tempfile.TemporaryDirectory(dir=".") as scratch:
            work, blocks = block_tasks(tree, Path(scratch) / "out", compression, views)
            source = type(blocks[0].images)
            read, total = source.read, 0.0

            def reading(*arguments: Any, read: Any = read, spent: Any = spent) -> Any:
                start = time.process_time()
                content = read(*arguments)
                spent["read"] += time.process_time() - start
                return content

            source.read = reading
            try:
                with stopwatches(spent):
                    start = time.process_time()
                    for task in blocks:
                        work(task)
                    total = time.process_time() - start
            finally:
                source.read = read
        spent["the rest"] = total - sum(spent.values())
        spent["all"] = total
        count = sum(len(task.ids) for task in blocks)
        found.append({stage: took / count * 1e3 for stage, took in spent.items()})
    return min(found, key=lambda stages: stages["all"])


@click.command()
@click.option("--source", type=click.Path(path_type=Path, exists=True), required=True, help="Holds class folders.")
@click.option("--images", "count", default=1536, show_default=True, help="The source's JPEGs, repeated to this many.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--commands", is_flag=True, help="Time whole commands: start-up is included.")
@click.option("--profile", "profiled", is_flag=True, help="Where a worker's time goes, in one process.")
@click.option("--views", default=0, show_default=True, help="With --profile: of each image, beside itself.")
@click.option("--once", "name", hidden=True)
@click.option("--out", type=click.Path(path_type=Path), hidden=True)
def main(
    source: Path,
    count: int,
    rounds: int,
    commands: bool,
    profiled: bool,
    views: int,
    name: str | None,
    out: Path | None,
) -> None:
    """Print images a second, and their ratio to the floor and to the best peer."""
    if name is not None and out is not None:
        once(name, source, out)
        return
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        count = max(1, round(count / WORKERS / CHUNK_ROWS[0])) * WORKERS * CHUNK_ROWS[0]  # as much for each process
        tree = repeated(source, Path(scratch) / "tree", count)
        if profiled:
            for title, compression in OURS.items():
                stages = profile(tree, compression, rounds, views)
                print(f"{title}: milliseconds of processor time an image, {count} images")
                for stage, took in stages.items():
                    print(f"    {stage:20} {took:6.3f}   {took / stages['all']:5.1%}", flush=True)
            return
        names = ["decode only", *OURS, *PEERS]
        table(*(as_commands if commands else in_turns)(names, tree, rounds), count)


def repeated(source: Path, target: Path, count: int) -> Path:
    """Make a tree of class folders with `count` links to the JPEGs that lie, at any depth, in the source's."""
    photographs = sorted(source.rglob("*.JPEG"))
    if not photographs:
        raise click.ClickException(f"no *.JPEG under {source}")
    for number in range(count):
        path = photographs[number % len(photographs)]
        link = target / "train" / path.parent.name / f"{path.stem}_{number // len(photographs)}.JPEG"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return target


def table(seconds: Seconds, processor: Seconds, count: int) -> None:
    """Print one line a contestant: by the clock, and by processor time."""
    print(f"{count} images, {WORKERS} processes       images/s   of the floor   × best peer   by processor time")
    for name, times in seconds.items():
        clock, cpu = beside(seconds, name), beside(processor, name)
        rate = count / statistics.median(times)
        print(
            f"{name:30} {rate:10.0f}   {clock[0]:12.2f}   {clock[1]:11.2f}   {cpu[0]:.2f} and {cpu[1]:.2f}", flush=True
        )


def beside(seconds: Seconds, name: str) -> tuple[float, float]:
    """Return a contestant's speed as a ratio to the floor's and to that of the best peer in the same round."""
    peers = [seconds[peer] for peer in seconds if peer in PEERS]
    best = [min(times) for times in zip(*peers, strict=True)] or [math.nan] * len(seconds[name])
    floor = seconds["decode only"]
    shares = [statistics.median(a / b for a, b in zip(other, seconds[name], strict=True)) for other in (floor, best)]
    return shares[0], shares[1]


if __name__ == "__main__":
    main()
