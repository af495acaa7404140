"""Train the papers' systems on real data and write the tables of docs/results.md.

    taskset -c 0 python benchmarks/train.py --source data --work work                           # all: days
    taskset -c 0 python benchmarks/train.py --source data --work work tiny-alexnet --seed 0     # names that begin so
    python benchmarks/train.py --work work --tables docs/results.md                             # trains nothing

`data` holds `mnist/`, `cifar10/` and `tiny-imagenet/` as released; `work` gets the converted sets and the runs. What is
there is not made again, so a stopped benchmark goes on. One core and one thread a process: processor times of two
networks then compare. Several at once need cores of their own, and other systems or seeds each.

Systems with a budget compare branches with a conventional network that has the same: the same processor time (of all
branches together, and of the one network), in which each network searches its own learning rate (`--find-rate`) on
held-out rows and then has as many epochs as fit; training ends before if the held-out loss stops falling, and the best
epoch's weights are kept. `train_work.py` says how the epochs come about.

The tables are put between the marks `<!-- table: NAME -->` and `<!-- end -->` of the file; those of which nothing is
done in `work` stay as they are.
"""

from __future__ import annotations

import json
import resource
import shlex
import signal
import subprocess
import time
from pathlib import Path

import click
from train_systems import Side, systems
from train_tables import write_tables
from train_work import Work, commands, convert, judge, pace


def run(command: list[str], out: Path | None = None) -> None:
    """Say and run a command; its own progress goes where ours does, what it prints into a file if one is given."""
    click.echo(f"{time.strftime('%H:%M:%S')} {shlex.join(command)}")
    if out is None:
        subprocess.run(command, check=True)
        return
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(printed)


def train(side: Side, command: list[str], log: Path) -> None:
    """Run a training and write down its processor time, be it stopped or not."""
    before = _processor_seconds()
    try:
        run(command)
    finally:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as lines:
            lines.write(json.dumps({"side": side, "seconds": _processor_seconds() - before}) + "\n")


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--source", type=click.Path(path_type=Path, exists=True), help="The releases.")
@click.option("--work", "root", type=click.Path(path_type=Path), required=True, help="Converted sets and runs.")
@click.option("--tables", type=click.Path(path_type=Path, exists=True), help="Only fill in this file's tables.")
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, help="Only this. May be repeated.")
def main(names: tuple[str, ...], source: Path | None, root: Path, tables: Path | None, seeds: tuple[int, ...]) -> None:
    """Train what is asked for, or fill in the tables."""
    work = Work(root)
    if tables is not None:
        write_tables(tables, work)
        return
    if source is None:
        raise click.UsageError("--source, or --tables")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was used until then is written down
    wanted = {name: each for name, each in systems().items() if not names or name.startswith(names)}
    if not wanted:
        raise click.UsageError(f"no system's name begins so; there are {', '.join(systems())}")
    for name, system in wanted.items():
        run(convert(system.data, source, work))
        if system.branches is not None and (system.conventional is not None or system.beside):
            pace(name, system, work)
        for seed in range(system.seeds):
            if seeds and seed not in seeds:
                continue
            for side, command in commands(name, system, seed, work):
                train(side, command, work.processor(name, seed))
            if system.budget is not None and not work.flipped(name, seed).is_file():
                fuse, flip = judge(name, seed, system, work)
                run(fuse)
                run(flip, work.flipped(name, seed))


if __name__ == "__main__":
    main()
