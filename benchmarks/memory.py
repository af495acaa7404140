"""Peak memory of converting and of training, against the number of images and the size of a shard.

    python benchmarks/memory.py convert --source data/imagenet      # class folders; N images, then each linked 4 times
    python benchmarks/memory.py convert --source data/imagenet --views 4
    python benchmarks/memory.py threads --source data/imagenet      # 400 images or more, or where they lie in a bucket
    python benchmarks/memory.py train spectral/digits-q4 spectral/mnist-q16 …   # the first, a small one, is the base

Converting: the largest sum of the proportional set sizes (PSS) of the converter and all its workers, sampled every
20 ms, and the largest VmHWM of any one of them. Threads: VmHWM of what reads images before a test set is made of them.
Training: VmHWM of `spectral-train --shard 3 --epochs 1`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil

from spectral_prep.places.url import place_of
from spectral_prep.sources import open_source
from spectral_prep.sources.related import related_rows
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord

MIB = 1 << 20
COPIES = 4
MANY_THREADS = 6


@click.group()
def main() -> None:
    """Measure peak memory."""


@main.command()
@click.option("--source", type=click.Path(path_type=Path), required=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--views", default=0, show_default=True, help="Of each training image, beside itself.")
def convert(source: Path, workers: int, views: int) -> None:
    """Convert N and 4N images at 224 pixels, Q = 16."""
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        click.echo("images  bound, MiB  peak of all, MiB PSS  largest process, MiB")
        for copies in (1, COPIES):
            tree = link_copies(source, Path(scratch) / f"source{copies}", copies)
            command = [sys.executable, "-c", "from spectral_prep.console.main import prep; prep()"]
            out = Path(scratch) / f"out{copies}"
            options = ["--dataset", "imagenet", "--q", "16", "--block-rows", "128", "--workers", str(workers)]
            options += ["--views", str(views), "--source", str(tree), "--out", str(out)]
            planned = subprocess.run([*command, "plan", *options, "--json"], check=True, stdout=subprocess.PIPE).stdout
            together, largest = peaks([*command, "convert", *options])
            found = json.loads(planned)
            images, bound = sum(found["rows"].values()), found["peak_memory"]
            click.echo(f"{images:6}  {bound / MIB:10.0f}  {together / MIB:20.0f}  {largest / MIB:20.0f}")
            shutil.rmtree(out)


@main.command()
@click.argument("datasets", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--model", default="fc", show_default=True)
def train(datasets: tuple[Path, ...], model: str) -> None:
    """Train shard 3 of each data set for one epoch; the first is the base that the others are compared with."""
    click.echo("data set  shard int8, MiB  peak, MiB  over base, MiB  ratio to shard")
    base = 0.0
    for number, dataset in enumerate(datasets):
        with tempfile.TemporaryDirectory(dir=".") as run:
            command = [
                sys.executable,
                "-c",
                "from spectral_train.main import train; train()",
                "--shard",
                "3",
                "--data",
                str(dataset),
            ]
            _, peak = peaks([*command, "--model", model, "--epochs", "1", "--run", run])
        base = base or peak
        size = spectral_bytes(dataset / "spectral-03")
        ratio = f"{(peak - base) / size:14.2f}" if number else "          base"
        click.echo(f"{dataset.name}  {size / MIB:.2f}  {peak / MIB:.0f}  {(peak - base) / MIB:.1f}  {ratio}")


@main.command()
@click.option("--source", required=True, help="Class folders, on a disk or in a bucket.")
def threads(source: str) -> None:
    """Look for duplicates, as --test-fraction does, by 1 and by 6 threads."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from memory import read; read(sys.argv[2], int(sys.argv[3]))"
    )
    one, many = (
        peaks([sys.executable, "-c", program, str(Path(__file__).parent), source, str(count)])[1]
        for count in (1, MANY_THREADS)
    )
    click.echo(f"peak {one / MIB:.0f} MiB by 1, {many / MIB:.0f} MiB by {MANY_THREADS}")
    click.echo(f"a thread takes {(many - one) / (MANY_THREADS - 1) / MIB:.1f} MiB")


def read(source: str, count: int) -> None:
    """Read all training images by so many threads."""
    with tempfile.TemporaryDirectory() as staging:
        opened = open_source("imagenet", place_of(source), Path(staging))
        rows = opened.index()["train"]
        related_rows(opened, "train", rows, np.arange(len(rows.names), dtype=np.int32), count)


def spectral_bytes(folder: Path) -> int:
    """Return how many int8 values all splits of one spectral hold."""
    record = read_record(folder / "spectral.json", SpectralRecord)
    h, w = record.spec.spectral_size(record.height, record.width)
    return sum(split.rows for split in record.splits.values()) * record.channels * h * w


def link_copies(source: Path, target: Path, copies: int) -> Path:
    """Make a tree with every image of source `copies` times, as links."""
    for path in source.rglob("*"):
        if path.is_file():
            for copy in range(copies):
                linked = target / path.relative_to(source).parent / f"{path.stem}_{copy}{path.suffix}"
                linked.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(path.resolve(), linked)
    return target


def peaks(command: list[str]) -> tuple[int, int]:
    """Run a command; return the peak of its processes' PSS together and the largest VmHWM of one, bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    together = largest = 0
    while process.poll() is None:
        family = [process.pid]
        try:
            family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        together = max(together, sum(field(pid, "smaps_rollup", "Pss") for pid in family))
        largest = max([largest, *(field(pid, "status", "VmHWM") for pid in family)])
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return together, largest


def field(pid: int, file: str, name: str) -> int:
    """Return a figure of /proc/PID in bytes, 0 for a process that has ended."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
