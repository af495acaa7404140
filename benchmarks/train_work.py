"""Where the trainings of `train.py` lie, the commands that train them, and how many epochs a budget is worth.

Input: a system and the folder of the work. Output: paths, commands and a `Pace`.

How both sides get the same processor time:

1. Before the first training of a system, epochs of each branch and of its conventional network are timed in turns, in
   this process, on a few batches of random rows: forward, backward, step, scoring. Processor time, not the clock's:
   whoever else uses the machine matters little.
2. The medians are written once, `pace/SYSTEM.json`; they hold for every seed and whenever a training goes on.
3. Each side has the most epochs of which all its networks, with `TRIALS` of the learning rate, take no longer than the
   budget. They are part of the command, so that the schedule is laid out over them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from train_systems import SETS, SOURCES, Side, System, systems

from spectral_train.commands import train_command
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import open_shard, open_shards
from spectral_train.recipe.options import OPTIONS, parse_settings
from spectral_train.recipe.recipes import named
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import NetworkPlan, read_network
from spectral_train.training.devices import TRIAL_BATCHES, on_random_rows
from spectral_train.training.fit import Training, score, train_epoch
from spectral_train.training.plan import baseline_plan, branch_plan
from spectral_train.training.rates import trial_epochs
from spectral_train.training.widths import own_width

TRIALS = 5
"""Of each search that a budget counts: all five were tried when the tables were measured, now four at most."""

ROUNDS = 4
KINDS: dict[Side, str] = {"branches": "--shard all", "conventional": "--baseline"}


@dataclass(frozen=True)
class Work:
    """Where everything lies."""

    root: Path

    def converted(self, data: str) -> Path:
        """A converted set."""
        return self.root / "spectral" / data

    def run(self, name: str, seed: int) -> RunPaths[Path]:
        """One system with one seed."""
        return RunPaths(self.root / "runs" / name / f"seed-{seed}")

    def pace(self, name: str) -> Path:
        """How long an epoch of each side takes."""
        return self.root / "pace" / f"{name}.json"

    def processor(self, name: str, seed: int) -> Path:
        """A line a command that trained: which side, and its processor seconds."""
        return self.root / "processor" / name / f"seed-{seed}.jsonl"

    def flipped(self, name: str, seed: int) -> Path:
        """What `spectral-ensemble evaluate --views flip --json` said."""
        return self.root / "flipped" / name / f"seed-{seed}.json"

    def done(self, name: str, system: System, side: Side) -> tuple[int, ...]:
        """The seeds whose networks of a side are all there; the conventional ones are those it is compared with."""
        source = system.trained_as(name, side)
        return tuple(seed for seed in range(systems()[source].seeds) if self.complete(source, seed, side))

    def complete(self, name: str, seed: int, side: Side) -> bool:
        """Whether all networks of one side are there."""
        run = self.run(name, seed)
        if side == "conventional":
            return run.baseline.record.is_file()
        numbers = run.finished()
        return bool(numbers) and len(numbers) == read_network(run.branch(numbers[0])).plan.shards

    def baselines(self, name: str, system: System) -> dict[int, NetworkPaths[Path]]:
        """Every finished conventional network that a system is compared with, by seed."""
        return {
            seed: self.run(system.trained_as(name, "conventional"), seed).baseline
            for seed in self.done(name, system, "conventional")
        }


@dataclass(frozen=True)
class Pace:
    """Processor seconds of an epoch: of each branch, and of the conventional network."""

    branches: Sequence[float]
    conventional: float

    @classmethod
    def read(cls, path: Path) -> Pace:
        """Return what `pace` wrote there."""
        return cls(**json.loads(path.read_text()))

    def epochs(self, side: Side, minutes: float) -> int:
        """Return how many epochs of a side, and of its search, fit into so many minutes; at least one."""
        return epochs_within(60 * minutes / (sum(self.branches) if side == "branches" else self.conventional))


def epochs_within(budget: float) -> int:
    """Return the most epochs that fit into a budget of so many, with the trials of `--find-rate`; at least one.

    >>> epochs_within(7), epochs_within(6.9), epochs_within(30)
    (2, 1, 20)
    """
    return max(
        (epochs for epochs in range(1, int(budget) + 1) if with_trials(epochs) <= budget),
        default=1,
    )


def with_trials(epochs: int) -> int:
    """Return how many epochs a training of so many has together with the trials of `--find-rate`."""
    return epochs + TRIALS * trial_epochs(epochs)


def convert(data: str, source: Path, work: Work) -> list[str]:
    """Return what converts a set."""
    places = ["--source", str(source / SOURCES[data.split("-")[0]]), "--out", str(work.converted(data))]
    return ["spectral-prep", "convert", *shlex.split(SETS[data]), *places]


def commands(name: str, system: System, seed: int, work: Work) -> Iterator[tuple[Side, list[str]]]:
    """Yield what trains each side of a system that is not finished."""
    places = ["--data", str(work.converted(system.data)), "--run", str(work.run(name, seed).root)]
    for side, _ in system.sides():
        if not work.complete(name, seed, side):
            options = shlex.split(full_options(name, system, side, work))
            yield side, ["spectral-train", *KINDS[side].split(), *places, "--seed", str(seed), *options]


def full_options(name: str, system: System, side: Side, work: Work) -> str:
    """Return the options of a side; with a budget the epochs that it is worth, and the search of the rate."""
    options = system.options(side) or ""
    if system.budget is None:
        return options
    return f"{options} --find-rate --epochs {pace(name, system, work).epochs(side, system.budget)}"


def judge(name: str, seed: int, system: System, work: Work) -> tuple[list[str], list[str]]:
    """Return what fits a head on the branches of a finished system, and what looks at every image mirrored, too."""
    places = [str(work.run(name, seed).root), "--data", str(work.converted(system.data))]
    return (
        ["spectral-ensemble", "fuse", *places],
        ["spectral-ensemble", "evaluate", *places, "--views", "flip", "--json"],
    )


def pace(name: str, system: System, work: Work) -> Pace:
    """Return how long epochs of both sides take: as it was measured, else as it is now, which is written."""
    path = work.pace(name)
    if not path.is_file():
        click.echo(f"{time.strftime('%H:%M:%S')} measuring epochs of {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = path.with_suffix(f".{os.getpid()}")
        mine.write_text(json.dumps(asdict(measured(name, system, work))))
        with contextlib.suppress(FileExistsError):  # another process was first: both go by its measure
            os.link(mine, path)
        mine.unlink()
    return Pace.read(path)


def measured(name: str, system: System, work: Work) -> Pace:
    """Measure epochs of all networks of both sides in turns."""
    branches, rows = plans_of("branches", system, work)
    conventional, _ = plans_of("conventional", systems()[system.trained_as(name, "conventional")], work)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    epochs = [epoch_timer(plan, rows, work) for plan in (*branches, *conventional)]
    rounds = [[epoch() for epoch in epochs] for _ in range(ROUNDS + 1)]
    torch.set_num_threads(threads)
    seconds = [statistics.median(each) for each in zip(*rounds[1:], strict=True)]
    return Pace(seconds[:-1], seconds[-1])


def plans_of(side: Side, system: System, work: Work) -> tuple[list[NetworkPlan], int]:
    """Return the plans of a side's networks, and how many rows they are trained on and held out from."""
    data, words = work.converted(system.data), shlex.split(f"{KINDS[side]} {system.options(side)}")
    given = train_command.make_context("spectral-train", words).params
    recipe = named(given["recipe"], **{name: given[name] for name in OPTIONS}, **parse_settings(given["settings"]))
    if side == "conventional":
        shard = open_shard(data, 0, ShardChoice(shards=1))
        return [baseline_plan(shard, recipe)], shard.first.splits["train"].rows
    shards = open_shards(data, ShardChoice(given["shards"], given["grouping"], given["common"]))
    plans = [branch_plan(shard, own_width(shard, recipe, given["width_by"])) for shard in shards]
    return plans, shards[0].first.splits["train"].rows


def epoch_timer(plan: NetworkPlan, rows: int, work: Work) -> Callable[[], float]:
    """Return what measures the processor seconds of an epoch of a network on so many rows, from a few batches."""
    training = Training(plan, NetworkPaths(work.root / "pace" / "nothing"), torch.device("cpu"), click.echo)
    fitting, recipe = on_random_rows(training), plan.recipe
    share = rows / (TRIAL_BATCHES * recipe.batch_size)

    def epoch() -> float:
        started = time.process_time()
        train_epoch(fitting)
        trained = time.process_time()
        score(fitting.state.scored, fitting.loader.rows, fitting.held_out, training)
        scored = time.process_time()
        return share * ((1 - recipe.holdout) * (trained - started) + recipe.holdout * (scored - trained))

    return epoch
