"""All branches of a data set on one machine: as one stack a device, or one after the other, whichever is faster.

1. On GPUs the branches are dealt out, and each GPU trains its share as one stack (`stack`) in a process of its own. No
   GPU sends anything to another.
2. On a CPU a few batches of random rows are trained both ways first, and the faster way is taken (`auto`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch

from spectral_prep.errors import InputError
from spectral_prep.system.resources import usable_cpus
from spectral_prep.system.threads import torch_threads
from spectral_prep.system.workers import run_all
from spectral_train.data.loader import ShardLoader
from spectral_train.data.placement import Placement, available_memory, place, prove, split_bytes
from spectral_train.data.rows import Examples
from spectral_train.data.shard import Shard, find_data, open_shard
from spectral_train.data.standardise import Standardisation
from spectral_train.device import choose_device, every_device
from spectral_train.recipe.recipe import Recipe, resolve
from spectral_train.run.metrics import Report
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import BranchRecord
from spectral_train.training.branch import plan_of, processes_for, row_reader, run_of, silent, train_branches, what_next
from spectral_train.training.fit import Fitting, Training, train_epoch
from spectral_train.training.network import finished, new_network, threads_for
from spectral_train.training.stack import NOT_STACKED, epoch_together, train_together
from spectral_train.training.state import State

Joint = Literal["auto", "always"]
Item = TypeVar("Item")

TRIAL_BATCHES = 2
TRIAL_ROUNDS = 3


@dataclass(frozen=True)
class Share:
    """The branches that one device trains as one stack."""

    shards: tuple[Shard, ...]
    recipe: Recipe
    run: RunPaths
    device: str
    memory: int

    def __str__(self) -> str:
        return f"{len(self.shards)} branches on {self.device}"

    def trainings(self, report: Report = silent) -> list[Training]:
        """Return the training of each branch."""
        device = choose_device(self.device)
        return [
            Training(plan_of(each, resolve(self.recipe, each.input_shape)), self.run.branch(each.index), device, report)
            for each in self.shards
        ]


def train_jointly(
    data: Path | None,
    recipe: Recipe,
    run: Path | None = None,
    *,
    joint: Joint = "auto",
    shards: int | None = None,
    grouping: str = "contiguous",
    common: Sequence[int] = (),
    device: str = "auto",
    workers: int | None = None,
    memory: int | None = None,
    report: Report = silent,
) -> tuple[BranchRecord, ...]:
    """Train all branches of a data set as one stack a device, and return their records.

    With `auto` a CPU trains them as `train_branches` does, in up to `workers` processes, if that is measured to be
    faster. Branches that are finished already are left as they are.

    Raises
    ------
    InputError
        If not all training rows fit into `memory`, or as `stack.train_together` does.
    PlanMismatchError, CorruptFileError
        As `train_branches` does.
    """
    root = find_data(data)
    first = open_shard(root, 0, shards, grouping, common)
    opened = [first, *(open_shard(root, number, shards, grouping, common) for number in range(1, first.shards))]
    paths, devices = run_of(first, recipe, run), every_device(device)
    budget = available_memory() // 2 if memory is None else memory
    hands = deal(opened, len(devices))
    dealt = [Share(hand, recipe, paths, name, budget // len(hands)) for hand, name in zip(hands, devices, strict=False)]
    if joint == "auto" and devices == ("cpu",):
        most = processes_for(first, recipe, device)
        processes = min(workers or most, most, len(opened))
        ratio = speed_ratio(dealt[0], processes)
        way = "joint training" if ratio > 1 else f"{processes} processes" if processes > 1 else "one after the other"
        report(f"joint training is {ratio:.2f} times as fast here as {processes} at a time: {way}")
        if ratio <= 1:
            return train_branches(
                root,
                None,
                recipe,
                run,
                shards=shards,
                grouping=grouping,
                common=common,
                device=device,
                workers=workers,
                memory=memory,
                report=report,
            )
    if len(dealt) == 1:
        records = list(train_share(dealt[0], report))
    else:
        records = [record for each in run_all(train_share, dealt, len(dealt)) for record in each]
    report(what_next(paths))
    return tuple(sorted(records, key=lambda record: record.plan.shard or 0))


def deal(items: Sequence[Item], hands: int) -> list[tuple[Item, ...]]:
    """Return the items dealt out as evenly as it goes; no hand is empty.

    >>> deal([0, 1, 2, 3, 4], 2), deal([0], 2)
    ([(0, 2, 4), (1, 3)], [(0,)])
    """
    return [tuple(items[hand::hands]) for hand in range(min(hands, len(items)))]


def train_share(share: Share, report: Report = silent) -> tuple[BranchRecord, ...]:
    """Train the branches of one device that are not finished as one stack; return the records of all."""
    records, members = [], []
    for shard, training in zip(share.shards, share.trainings(report), strict=True):
        if (record := finished(training.plan, training.paths)) is not None:
            report(f"{training.plan.name}: finished already in {training.paths.root}")
            records.append(record)
        else:
            members.append((shard, training))
    chosen = _placed(share, [shard for shard, _ in members])
    readers = [(training, row_reader(shard, training.device, chosen)) for shard, training in members]
    return (*records, *train_together(readers))


def speed_ratio(share: Share, processes: int) -> float:
    """Return how many times faster one stack is than so many processes, measured on random rows in turns.

    Processes are taken to be as fast side by side as one alone.
    """
    trainings = share.trainings()
    threads = threads_for(trainings[0].plan)
    fittings = [_trial(training) for training in trainings]
    apart, together = _trial(trainings[0]), float("inf")
    alone = float("inf")
    for _ in range(TRIAL_ROUNDS):
        with torch_threads(threads):
            alone = min(alone, _seconds(lambda: train_epoch(apart)))
        with torch_threads(usable_cpus()):
            together = min(together, _seconds(lambda: epoch_together(fittings)))
    return alone * len(trainings) / processes / together


def _trial(training: Training) -> Fitting:
    """Return a fitting of the same network on random rows, which writes nothing."""
    plan, recipe = training.plan, training.recipe
    rows, channels = TRIAL_BATCHES * recipe.batch_size, plan.input_shape[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-127, 128, (rows, *plan.input_shape), generator=generator, dtype=torch.int8)
    standardise = Standardisation.of([0.0] * channels, [73.0] * channels)
    examples = Examples(x, torch.arange(rows) % len(plan.classes), standardise)
    loader = ShardLoader(examples, recipe.batch_size, device=training.device, change=training.augmenter)
    return Fitting(State.fresh(new_network(training), recipe, training.device), loader, loader.views[0], training)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _placed(share: Share, shards: Sequence[Shard]) -> Placement:
    """Decide where the rows of all these shards go, together, and prove their files whole."""
    size = sum(split_bytes(shard, "train") for shard in shards)
    device = choose_device(share.device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    chosen = place(size, share.memory, available_memory(), free)
    if chosen.where == "disk":
        raise InputError(
            "the rows of all branches do not fit: joint training does not stream",
            expected=f"{size} bytes",
            got=f"a budget of {share.memory}",
            run=f"{NOT_STACKED}, or with a larger --memory",
        )
    for shard in shards:
        prove(shard, chosen)
    return chosen
