"""Train one branch on one shard: it reads the folders of its shard and sends nothing to anyone.

Input: a shard and a recipe. Output: the folder of a finished branch (`run.paths` says what is in it).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spectral_prep.system.resources import usable_cpus
from spectral_prep.system.workers import run_all
from spectral_train.data.placement import Placement, available_memory, open_rows, placement, prove
from spectral_train.data.rows import RowSource
from spectral_train.data.shard import Shard, find_data, open_shard, read_labels
from spectral_train.device import choose_device
from spectral_train.recipe.recipe import Recipe, resolve
from spectral_train.run.metrics import Report
from spectral_train.run.paths import NetworkPaths, RunPaths, default_run
from spectral_train.run.record import NetworkPlan, NetworkRecord
from spectral_train.training.fit import Training
from spectral_train.training.network import RowReader, finished, threads_for, train_network


def silent(line: str) -> None:
    """Take a line of progress and say nothing."""


def train_branches(
    data: Path | None,
    shard: int | None,
    recipe: Recipe,
    run: Path | None = None,
    *,
    shards: int | None = None,
    grouping: str = "contiguous",
    common: Sequence[int] = (),
    device: str = "auto",
    workers: int | None = None,
    compiled: bool = False,
    memory: int | None = None,
    report: Report = silent,
) -> tuple[NetworkRecord, ...]:
    """Train one branch, or all of them (`shard` None), and return their records.

    All of them: networks that train on one CPU thread each (`network.threads_for`) go into at most `workers` processes,
    by default as many as there are usable CPUs; others, and all on a GPU, train one after the other. The weights are
    the same either way. `memory` is what the rows of all that train at the same time may take, half of what is
    available unless said; rows that do not fit are streamed.

    Raises
    ------
    InputError, PlanMismatchError, CorruptShardError
        As `find_data`, `open_shard` and `train_branch` do.
    """
    root = find_data(data)
    first = open_shard(root, shard or 0, shards, grouping, common)
    paths = run_of(first, recipe, run)
    rest = [] if shard is not None else range(1, first.shards)
    opened = [first, *(open_shard(root, number, shards, grouping, common) for number in rest)]
    most = processes_for(first, recipe, device)
    processes = min(workers or most, most, len(opened))
    share = (available_memory() // 2 if memory is None else memory) // processes
    tasks = [BranchTask(each, recipe, paths.branch(each.index), device, compiled, share) for each in opened]
    if processes == 1:
        trained = tuple(run_task(each, report) for each in tasks)
        report(what_next(paths))
        return trained
    records = []
    for record in run_all(run_task, tasks, processes):
        records.append(record)
        report(f"{record.plan.name}: done, held-out accuracy {100 * record.held_out_accuracy:.2f} %")
    report(what_next(paths))
    return tuple(sorted(records, key=lambda record: record.plan.shard or 0))


def what_next(run: RunPaths) -> str:
    """Return the line that says where a run is and what to do with it."""
    return f"The run is {run.root}. Run next, when all its branches are there: spectral-ensemble evaluate {run.root}"


@dataclass(frozen=True)
class BranchTask:
    """All that a worker process needs to train one branch."""

    shard: Shard
    recipe: Recipe
    paths: NetworkPaths
    device: str
    compiled: bool
    memory: int

    def __str__(self) -> str:
        return self.paths.root.name


def run_task(task: BranchTask, report: Report = silent) -> NetworkRecord:
    """Train one branch, in a process of its own or in this one."""
    return train_branch(task.shard, task.recipe, task.paths, task.device, report, task.compiled, task.memory)


def processes_for(shard: Shard, recipe: Recipe, device: str) -> int:
    """Return in how many processes branches train at the same time, at most."""
    if choose_device(device).type != "cpu":
        return 1
    return usable_cpus() // threads_for(plan_of(shard, resolve(recipe, shard.input_shape)))


def train_branch(
    shard: Shard,
    recipe: Recipe,
    paths: NetworkPaths,
    device: str = "auto",
    report: Report = silent,
    compiled: bool = False,
    memory: int | None = None,
) -> NetworkRecord:
    """Train the branch of a shard to the end of its recipe; a finished one is returned, a begun one resumed.

    The same seed on the same machine gives the same weights bit for bit, if the rows are streamed with the same memory.
    Memory peaks at the training rows as stored, or at `memory`, and little else: the network's outputs are 4 bytes a
    held-out or test row and class.

    Parameters
    ----------
    shard
        From `open_shard`; its files are checked before the first step.
    recipe
        `auto` is resolved for the shape of the shard.
    paths
        The branch's folder, for example `RunPaths(Path("runs/mine")).branch(shard.index)`.
    device
        `auto`, `cpu` or `cuda`.
    report
        Takes a line of progress an epoch.
    compiled
        Run the network through `torch.compile`; its checkpoints are those of the plain one.
    memory
        Bytes of RAM that the rows may take, half of what is available unless said; rows that do not fit are streamed.

    Raises
    ------
    PlanMismatchError
        If another branch or recipe was begun or finished in this folder.
    CorruptShardError
        Naming the file of the shard that is missing or damaged.
    InputError
        If the loss stops being finite, or too few rows are good.
    """
    plan = plan_of(shard, resolve(recipe, shard.input_shape))
    training = Training(plan, paths, choose_device(device), report, compiled)
    if (record := finished(plan, paths)) is not None:
        report(f"{plan.name}: finished already in {paths.root}")
        return record
    chosen = placement(shard, "train", memory, training.device)
    report(f"{plan.name}: {chosen.text}")
    prove(shard, chosen)
    return train_network(training, row_reader(shard, training.device, chosen))


def row_reader(shard: Shard, device: torch.device, chosen: Placement) -> RowReader:
    """Return where the rows of a shard come from: training rows from where they were placed, others within its budget.

    Memory is looked at once: what was proved and said of the training rows is then what happens.
    """

    def examples(split: str, y: Tensor) -> RowSource:
        here = chosen if split == "train" else placement(shard, split, chosen.budget, device)
        return open_rows(shard, split, y, here, device)

    return RowReader(functools.partial(read_labels, shard.folders), examples)


def run_of(shard: Shard, recipe: Recipe, run: Path | None) -> RunPaths:
    """Return the run that was given, or the default one for this shard and its (resolved) recipe."""
    if run is not None:
        return RunPaths(run)
    model = resolve(recipe, shard.input_shape).model
    return default_run(shard.first.dataset, shard.spec, model, shard.shards, shard.grouping, shard.common)


def plan_of(shard: Shard, recipe: Recipe) -> NetworkPlan:
    """Return everything that decides this branch's weights."""
    record = shard.first
    return NetworkPlan(
        dataset=record.dataset,
        dataset_id=record.dataset_id,
        classes=record.classes,
        height=record.height,
        width=record.width,
        channels=record.channels,
        resize=record.resize,
        spec=record.spec,
        encoding=record.encoding,
        shard=shard.index,
        shards=shard.shards,
        grouping=shard.grouping,
        common=shard.common,
        spectrals=shard.spectrals,
        input_shape=shard.input_shape,
        mean=shard.mean,
        std=shard.std,
        recipe=recipe,
    )
