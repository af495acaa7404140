"""All branches of a data set on one machine: as one stack a device, or one after the other, whichever is faster.

1. The branches are shared out among the GPUs, and each GPU trains its own as one stack (`stack`) in a process of its
   own. No GPU sends anything to another.
2. On a CPU a few batches of random rows are trained both ways first, and the faster way is taken (`auto`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from spectral_prep.engines.processes import run_all
from spectral_prep.errors import InputError
from spectral_prep.system.resources import usable_cpus
from spectral_prep.system.threads import torch_threads
from spectral_prep.system.watch import counted, unwatched, watched
from spectral_train.data.loader import ShardLoader
from spectral_train.data.nearby import nearby
from spectral_train.data.placement import Placement, available_memory, check_shard, memory_each, place, split_bytes
from spectral_train.data.reader import row_reader
from spectral_train.data.rows import Examples
from spectral_train.data.shard import Shard, find_data, open_shards
from spectral_train.data.standardise import Standardisation
from spectral_train.device import Resources, choose_device, every_device
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.metrics import Log, silent
from spectral_train.run.paths import RunPaths, run_of
from spectral_train.run.record import NetworkRecord
from spectral_train.training.beside import require_beside
from spectral_train.training.branch import train_branches, what_next
from spectral_train.training.fit import Fitting, Training, train_epoch
from spectral_train.training.network import alone, new_network
from spectral_train.training.plan import branch_plan
from spectral_train.training.processes import processes_for, threads_for
from spectral_train.training.request import Joint, TrainingRequest
from spectral_train.training.stack import NOT_STACKED, require_stackable, stacked_epoch, train_stacked, try_out
from spectral_train.training.state import State
from spectral_train.training.trainable import require_trainable

Item = TypeVar("Item")

TRIAL_BATCHES = 2
TRIAL_ROUNDS = 3


@dataclass(frozen=True)
class DeviceWork:
    """The branches that one device trains as one stack; `resources` names that device and the memory for its rows."""

    shards: tuple[Shard, ...]
    recipe: Recipe
    run: RunPaths
    resources: Resources

    def __str__(self) -> str:
        return f"{len(self.shards)} branches on {self.resources.device}"

    def trainings(self, log: Log = silent) -> list[Training]:
        """Return the training of each branch."""
        device, compiled = choose_device(self.resources.device), self.resources.compiled
        return [
            Training(
                branch_plan(each, self.recipe), self.run.branch(each.index), device, log, compiled, self.resources.logs
            )
            for each in self.shards
        ]


def train_on_devices(request: TrainingRequest, joint: Joint = "auto", log: Log = silent) -> tuple[NetworkRecord, ...]:
    """Train all branches of a data set as one stack a device, and return their records.

    With `auto` a CPU trains them as `train_branches` does, in up to `Resources.workers` processes, if that is measured
    to be faster. Branches that are finished already are left as they are.

    Raises
    ------
    InputError
        If not all training rows fit into `Resources.memory`, or as `stack.train_stacked` does.
    PlanMismatchError, CorruptFileError
        As `train_branches` does.
    """
    root, recipe, resources = find_data(request.data), request.recipe, request.resources
    opened, devices = open_shards(root, request.choice), every_device(resources.device)
    paths = run_of(opened[0], recipe, request.run)
    parts = share_out(opened, len(devices))
    own = replace(resources, memory=memory_each(resources.memory, len(parts)))
    work = [
        DeviceWork(part, recipe, paths, replace(own, device=name)) for part, name in zip(parts, devices, strict=False)
    ]
    members = [training for each in work for training in each.trainings()]
    require_beside(members, paths, request.data)
    require_trainable(members[0].plan)
    require_stackable(members[0])
    if joint == "auto" and devices == ("cpu",):
        processes = processes_for(branch_plan(opened[0], recipe), resources, len(opened))
        ratio = speed_ratio(work[0], processes)
        way = "joint training" if ratio > 1 else f"{processes} processes" if processes > 1 else "one after the other"
        log(f"joint training is {ratio:.2f} times as fast here as {processes} at a time: {way}")
        if ratio <= 1:
            return train_branches(replace(request, data=root), log=log)
    if len(work) == 1:
        records = list(train_one_device(work[0], log))
    else:
        records = [record for each in run_all(train_one_device, work, len(work)) for record in each]
    log(what_next(paths))
    return tuple(sorted(records, key=lambda record: record.plan.shard or 0))


def share_out(items: Sequence[Item], parts: int) -> list[tuple[Item, ...]]:
    """Return the items shared out as evenly as it goes; no part is empty.

    >>> share_out([0, 1, 2, 3, 4], 2), share_out([0], 2)
    ([(0, 2, 4), (1, 3)], [(0,)])
    """
    return [tuple(items[part::parts]) for part in range(min(parts, len(items)))]


def train_one_device(work: DeviceWork, log: Log = silent) -> tuple[NetworkRecord, ...]:
    """Train the branches of one device that are not finished as one stack; return the records of all."""
    records, members = [], []
    with contextlib.ExitStack() as held:
        for shard, training in zip(work.shards, work.trainings(log), strict=True):
            if (record := held.enter_context(alone(training.plan, training.paths))) is not None:
                log(f"{training.plan.name}: finished already in {training.paths.root}")
                records.append(record)
            else:
                members.append((nearby(shard, work.resources.cache), training))
        chosen = _placed(work, [shard for shard, _ in members])
        readers = [(training, row_reader(shard, training.device, chosen)) for shard, training in members]
        return (*records, *train_stacked(readers))


def speed_ratio(work: DeviceWork, processes: int) -> float:
    """Return how many times faster one stack is than so many processes, measured on random rows in turns.

    Processes are taken to be as fast side by side as one alone.
    """
    trainings = work.trainings()
    threads = threads_for(trainings[0].plan)
    fittings = [on_random_rows(training) for training in trainings]
    apart = on_random_rows(trainings[0])
    try_out([each.state.model for each in fittings], trainings[0])
    alone = stacked = float("inf")
    for _ in counted(range(TRIAL_ROUNDS), "measuring joint training", "rounds"):
        with torch_threads(threads), watched(unwatched):
            alone = min(alone, _seconds(lambda: train_epoch(apart)))
        with torch_threads(usable_cpus()), watched(unwatched):
            stacked = min(stacked, _seconds(lambda: stacked_epoch(fittings)))
    return alone * len(trainings) / processes / stacked


def on_random_rows(training: Training) -> Fitting:
    """Return a fitting of the same network on `TRIAL_BATCHES` batches of random rows, which writes nothing."""
    plan, recipe = training.plan, training.recipe
    rows, channels = TRIAL_BATCHES * recipe.batch_size, plan.input_shape[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-127, 128, (rows, *plan.input_shape), generator=generator, dtype=torch.int8)
    standardise = Standardisation.of([0.0] * channels, [73.0] * channels)
    examples = Examples(x, torch.arange(rows) % len(plan.classes), standardise)
    loader = ShardLoader(examples, recipe.batch_size, device=training.device, change=training.augmenter)
    return Fitting(State.fresh(new_network(training), recipe, training.device), loader, loader.views[0], training)


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _placed(work: DeviceWork, shards: Sequence[Shard]) -> Placement:
    """Decide where the rows of all these shards go, together, and check their files."""
    size = sum(split_bytes(shard, "train") for shard in shards)
    device = choose_device(work.resources.device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    chosen = place(size, work.resources.memory, available_memory(), free)
    if chosen.where == "disk":
        raise InputError(
            "the rows of all branches do not fit: joint training does not stream",
            expected=f"{size} bytes",
            got=f"a budget of {chosen.budget}",
            run=f"{NOT_STACKED}, or with a larger --memory",
        )
    for shard in shards:
        check_shard(shard, chosen)
    return chosen
