"""What the steps of a conversion cost at the size of ImageNet-21K, and where the time goes on a thousand tasks.

    python benchmarks/scale.py --rows 14197122 --classes 21841 --tasks 1000

1. `begin`, the start of a task and `finalize` run as they are, each in a process of its own, on the source `synthetic`.
   Between them the blocks are forged: their records are whole, their parts are files of the right size without content
   (finalize does not read them), since 14 million images take hours.
2. `begin` and the start of a task again on tars with `--members` members, whose index has to be made: what the source
   `synthetic` does not have. `--members 0` leaves it out.
3. A timeline is simulated from these costs: tasks on machines, of which one in a hundred dies in the middle and is done
   again, and one in twenty is slow; images a second is what `--rate` says of one task.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import random
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from spectral_prep.conversion.convert import begin, convert
from spectral_prep.conversion.execution import Execution, Task
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.engines.interface import Needs
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.planned import part_paths
from spectral_prep.store.record_file import read_record, write_record
from spectral_prep.store.records import BlockRecord, FileEntry

PART_BYTES = 1000
ATTEMPTS_LOST, ATTEMPTS_SLOW, SLOW = 0.01, 0.05, 3.0


@dataclass(frozen=True)
class NoEngine:
    """Takes the first task and does nothing with it: an engine that shows what starting costs."""

    elsewhere: bool = False

    def started(self) -> nullcontext[None]:
        """Do nothing."""
        return nullcontext()

    def has_gpus(self) -> bool:
        """False."""
        return False

    def at_once(self, needs: Needs) -> int:
        """One."""
        return 1

    def run(
        self, work: Callable[[Any], Any], tasks: Iterable[Any], workers: int, needs: Needs
    ) -> Generator[Any, None, None]:
        """Look up the first task."""
        next(iter(tasks))
        yield from ()


def step(name: str, request: Request, source: Path, out: Path, tasks: int) -> None:
    """Do one step in this process and print what it took, without importing."""
    before, spent = time.perf_counter(), time.process_time()
    if name == "begin":
        begin(request, source, out)
    elif name == "start":
        convert(request, source, out, Execution(Task(tasks // 2, tasks), workers=1, engine=NoEngine()))
    else:
        finalize(out)
    seconds, peak = time.perf_counter() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - spent, "peak_mib": peak / 2**20}))


def measured(name: str, request: Request, source: Path, out: Path, tasks: int) -> dict[str, float]:
    """Run a step in a process of its own; `whole` seconds count Python and imports, too."""
    arguments = [sys.executable, __file__, "--step", name, "--out", str(out), "--source", str(source)]
    arguments += ["--dataset", request.dataset, "--tasks", str(tasks)]
    started = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    found: dict[str, float] = {**json.loads(done.stdout.splitlines()[-1]), "whole": time.perf_counter() - started}
    print(
        f"{request.dataset:11} {name:9} {found['seconds']:7.1f} s, {found['cpu']:.1f} of a processor; "
        f"{found['whole']:.1f} s with imports; {found['peak_mib']:,.0f} MiB"
    )
    return found


def request_of(dataset: str) -> Request:
    """Return what is asked for: small images, since their size changes none of these steps."""
    return Request(dataset, "16", size=None if dataset == "synthetic" else 32)


def forge(paths: DatasetPaths) -> Plan:
    """Write a record and parts without content for every block."""
    plan, digest = read_record(paths.plan, Plan), hashlib.sha256(b"").hexdigest()
    zeros = ((0.0,) * plan.geometry.channels,) * plan.spec.q
    for block in plan.blocks:
        entries = []
        for part in map(Path, map(str, part_paths(paths, plan, block))):
            part.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                file.truncate(PART_BYTES)
            entries.append(FileEntry(part.relative_to(str(paths.root)).as_posix(), PART_BYTES, digest))
        count = (block.stop - block.start) * plan.spectral_shape[1] * plan.spectral_shape[2]
        record = BlockRecord(**vars(block), files=tuple(entries), bad=(), count=count, sum=zeros,
                             sum_of_squares=zeros, saturated=(0,) * plan.spec.q)  # fmt: skip
        path = paths.block(block.number)
        path.parent.mkdir(exist_ok=True) if isinstance(path, Path) else None
        write_record(path, record, WRITING)
    return plan


def write_tars(folder: Path, members: int, classes: int) -> None:
    """Write class tars with this many members in all, of 512 bytes each."""
    folder.mkdir()
    member = tarfile.TarInfo()
    member.size = tarfile.BLOCKSIZE
    blank = member.tobuf(tarfile.USTAR_FORMAT)
    before, after = blank[100:148], blank[156:] + bytes(tarfile.BLOCKSIZE)
    total = sum(before) + sum(after) + 8 * ord(" ")
    for label in range(classes):
        with open(folder / f"n{label:08}.tar", "wb") as file:
            for number in range(label, members, classes):
                name = f"n{label:08}_{number}.JPEG".encode()  # tarfile would take 20 µs
                file.write(name.ljust(100, b"\0") + before + b"%06o\0 " % (total + sum(name)) + after)
            file.write(bytes(2 * tarfile.BLOCKSIZE))


def timeline(rows: int, tasks: int, machines: int, seconds_a_row: float, start: float) -> tuple[float, float]:
    """Return when the last task ends, and machine seconds in all: a task that dies is done again from its middle."""
    chance = random.Random(0)
    free = [0.0] * machines
    heapq.heapify(free)
    waiting = [rows / tasks * seconds_a_row] * tasks
    busy = last = 0.0
    while waiting:
        work = waiting.pop()
        begins = heapq.heappop(free)
        took = start + work * (SLOW if chance.random() < ATTEMPTS_SLOW else 1)
        if chance.random() < ATTEMPTS_LOST:
            took /= 2
            waiting.append(work / 2)  # finished blocks are kept
        heapq.heappush(free, begins + took)
        busy, last = busy + took, max(last, begins + took)
    return last, busy


@click.command()
@click.option("--rows", default=14_197_122, show_default=True)
@click.option("--classes", default=21_841, show_default=True)
@click.option("--tasks", default=1000, show_default=True)
@click.option("--machines", default=100, show_default=True, help="Of the timeline; a task on each at a time.")
@click.option("--rate", default=1000.0, show_default=True, help="Images a second of a task, of the timeline.")
@click.option("--members", default=14_197_122, show_default=True, help="Of the tars; 0: none.")
@click.option("--step", "one", type=click.Choice(["begin", "start", "finalize"]), hidden=True)
@click.option("--out", type=click.Path(path_type=Path), hidden=True)
@click.option("--source", type=click.Path(path_type=Path), hidden=True)
@click.option("--dataset", hidden=True)
def main(rows: int, classes: int, tasks: int, machines: int, rate: float, members: int, **own: Any) -> None:
    """Measure."""
    if own["one"]:
        step(own["one"], request_of(own["dataset"]), own["source"], own["out"], tasks)
        return
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        out, source = Path(scratch, "out"), Path(f"rows={rows},test=50000,classes={classes},size=32x32")
        asked = request_of("synthetic")
        costs = {name: measured(name, asked, source, out, tasks) for name in ("begin", "start")}
        plan = forge(DatasetPaths(out))
        costs["finalize"] = measured("finalize", asked, source, out, tasks)
        files = sum(len(names) for _, _, names in os.walk(out))
        print(f"{plan.rows:,} rows, {len(plan.blocks):,} blocks, {files:,} files")
        if members:
            write_tars(Path(scratch, "tars"), members, classes)
            costs |= {
                f"tars {name}": measured(
                    name, request_of("imagenet21k"), Path(scratch, "tars"), Path(scratch, "tars-out"), tasks
                )
                for name in ("begin", "start")
            }
    start = costs["tars start" if members else "start"]["whole"]
    for count in (machines, 10 * machines):
        last, busy = timeline(rows, tasks, count, 1 / rate, start)
        print(
            f"{count} machines: {costs['begin']['whole']:.0f} s begin, {last:.0f} s {tasks} tasks, "
            f"{costs['finalize']['whole']:.0f} s finalize; of {busy:.0f} machine seconds {tasks * start:.0f} are starts"
        )


if __name__ == "__main__":
    main()
