"""Train one branch on one shard: it reads the folders of its shard and sends nothing to anyone.

Input: a shard and a recipe. Output: the folder of a finished branch (`run.paths` says what is in it).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spectral_prep.engines.interface import Needs
from spectral_prep.errors import InputError
from spectral_prep.places.url import absolute
from spectral_prep.printable import quoted
from spectral_prep.system.files import explained, make_folder
from spectral_train.data.nearby import nearby
from spectral_train.data.placement import check_shard, memory_each, placement, split_bytes
from spectral_train.data.reader import RowReader, row_reader
from spectral_train.data.shard import Shard, find_data, open_shards
from spectral_train.device import DEFAULT_RESOURCES, Resources, choose_device
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.metrics import Log, silent
from spectral_train.run.paths import WRITING, NetworkPaths, RunPaths, run_of
from spectral_train.run.record import NetworkPlan, NetworkRecord
from spectral_train.run.widths import WidthRule
from spectral_train.training.beside import require_beside
from spectral_train.training.fit import Training
from spectral_train.training.network import alone, train_network
from spectral_train.training.plan import branch_plan
from spectral_train.training.processes import needs_of, processes_for, threads_for
from spectral_train.training.rates import with_found_rate
from spectral_train.training.request import TrainingRequest
from spectral_train.training.widths import in_width, width_rule


def train_branches(request: TrainingRequest, shard: int | None = None, log: Log = silent) -> tuple[NetworkRecord, ...]:
    """Train one branch, or all of them (`shard` None), and return their records.

    All of them: networks that train on one CPU thread each at the recipe's width (`processes.threads_for`) go into as
    many processes as `Resources.workers` says; others, and all on a GPU, train one after the other. With an engine for
    other machines each is a task of its own, and what the widest takes is asked of the engine. The weights are the same
    either way.

    Raises
    ------
    InputError, PlanMismatchError, CorruptFileError
        As `find_data`, `open_shards`, `require_beside` and `train_branch` do, or as the engine does.
    """
    if request.resources.engine.elsewhere:
        return _train_elsewhere(request, shard, log)
    root, recipe, resources = find_data(request.data), request.recipe, request.resources
    opened = open_shards(root, request.choice, shard)
    paths = run_of(opened[0], recipe, request.run)
    processes = processes_for(branch_plan(opened[0], recipe), resources, len(opened))
    own = replace(resources, memory=memory_each(resources.memory, processes))
    tasks = _tasks(opened, request, paths, own)
    if processes == 1:
        trained = tuple(run_task(each, log) for each in tasks)
        log(what_next(paths))
        return trained
    return _told(resources.engine.run(run_task, tasks, processes, Needs()), request, paths, log)


def _train_elsewhere(request: TrainingRequest, shard: int | None, log: Log) -> tuple[NetworkRecord, ...]:
    """Train branches on an engine's machines, which see data and run under the paths that they have here."""
    root, recipe, resources = absolute(find_data(request.data)), request.recipe, request.resources
    opened = open_shards(root, request.choice, shard)
    paths = RunPaths(absolute(run_of(opened[0], recipe, request.run).root))
    tasks = _tasks(opened, request, paths, resources)
    if isinstance(paths.root, Path):
        with explained(paths.root, WRITING):
            make_folder(paths.root)  # by which a task knows that it sees the same file system
    rows = max(split_bytes(each, "train") for each in opened)
    with resources.engine.started():
        needs = needs_of(max((task.plan for task in tasks), key=threads_for), resources, rows)
        workers = min(resources.workers or len(opened), resources.engine.at_once(needs), len(opened))
        device = "cuda" if needs.gpus else "cpu"
        own = replace(resources, device=device, memory=rows if resources.memory is None else resources.memory)
        tasks = [replace(task, resources=own) for task in tasks]
        return _told(resources.engine.run(run_task, tasks, workers, needs), request, paths, log)


def _told(
    trained: Iterator[NetworkRecord], request: TrainingRequest, paths: RunPaths, log: Log
) -> tuple[NetworkRecord, ...]:
    """Return the records in order, after saying of each that it is there, and the learning rate that it found."""
    records = []
    for record in trained:
        records.append(record)
        rate = f" at learning rate {record.plan.recipe.lr:g}" if request.find_rate else ""
        log(f"{record.plan.name}: done{rate}, held-out accuracy {100 * record.held_out_accuracy:.2f} %")
    log(what_next(paths))
    return tuple(sorted(records, key=lambda record: record.plan.shard or 0))


def what_next(run: RunPaths) -> str:
    """Return the line that says where a run is and what to do with it."""
    evaluate = f"spectral-ensemble evaluate {quoted(run.root)}"
    return f"The run is {run.root}. Run next, when all its branches are there: {evaluate}"


@dataclass(frozen=True)
class BranchTask:
    """All that a worker process, here or on another machine, needs to train one branch."""

    shard: Shard
    recipe: Recipe
    paths: NetworkPaths
    resources: Resources
    find_rate: bool = False
    width_rule: WidthRule | None = None

    def __str__(self) -> str:
        return self.paths.root.name

    @property
    def plan(self) -> NetworkPlan:
        """What decides the weights of the branch, but for a learning rate that is yet to be found."""
        return branch_plan(self.shard, self.recipe)


def _tasks(shards: Sequence[Shard], request: TrainingRequest, run: RunPaths, resources: Resources) -> list[BranchTask]:
    """Return a task a shard; raise `PlanMismatchError` if one does not belong to the finished branches of the run."""
    tasks = []
    for shard in shards:
        rule = width_rule(shard, request.recipe, request.width_by)
        recipe = in_width(request.recipe, rule, shard)
        tasks.append(BranchTask(shard, recipe, run.branch(shard.index), resources, request.find_rate, rule))
    require_beside(tasks, run, request.data)
    return tasks


def run_task(task: BranchTask, log: Log = silent) -> NetworkRecord:
    """Train one branch, in a process of its own or in this one; raise `InputError` if that does not see the run."""
    run = task.paths.root.parent
    if task.resources.engine.elsewhere and isinstance(run, Path) and not run.is_dir():
        raise InputError(
            "the folder of the run is not seen by a worker",
            where=run,
            expected="a folder that all nodes share under the same path, or a bucket",
            got=f"none there on {socket.gethostname()}",
            run="the same command with --data and --run on a file system that all nodes share",
        )
    recipe = task.recipe
    if task.find_rate:
        recipe = found_rate(task, log)
    return train_branch(task.shard, recipe, task.paths, task.resources, log, task.width_rule)


def found_rate(task: BranchTask, log: Log = silent) -> Recipe:
    """Return the recipe of a branch with its own best learning rate; raises as `rates.with_found_rate` does."""
    resources = task.resources
    training = Training(task.plan, task.paths, choose_device(resources.device), log, resources.compiled)
    return with_found_rate(task.recipe, training, lambda: _rows(task.shard, training, resources))


def train_branch(
    shard: Shard,
    recipe: Recipe,
    paths: NetworkPaths,
    resources: Resources = DEFAULT_RESOURCES,
    log: Log = silent,
    width_rule: WidthRule | None = None,
) -> NetworkRecord:
    """Train the branch of a shard to the end of its recipe; a finished one is returned, a begun one resumed.

    The same seed on the same machine gives the same weights bit for bit, if the rows are streamed with the same memory.
    Memory peaks at the training rows as stored, or at `Resources.memory`, and little else: the network's outputs are 4
    bytes a held-out or test row and class.

    Parameters
    ----------
    shard
        From `open_shard`; its files are checked before the first step.
    recipe
        `auto` is resolved for the shape of the shard.
    paths
        The branch's folder, for example `RunPaths(Path("runs/mine")).branch(shard.index)`.
    resources
        Device, memory and compilation.
    log
        Takes a line of progress an epoch.
    width_rule
        What the width in the recipe follows from, for the record.

    Raises
    ------
    PlanMismatchError
        If another branch or recipe was begun or finished in this folder.
    CorruptFileError
        Naming the file of the shard that is missing or damaged.
    InputError
        If the loss stops being finite, too few rows are good, or another process trains this branch.
    """
    plan = branch_plan(shard, recipe)
    device = choose_device(resources.device)
    training = Training(plan, paths, device, log, resources.compiled, resources.logs, width_rule=width_rule)
    with alone(plan, paths) as record:
        if record is not None:
            log(f"{plan.name}: finished already in {paths.root}")
            return record
        return train_network(training, _rows(shard, training, resources))


def _rows(shard: Shard, training: Training, resources: Resources) -> RowReader:
    """Return where the rows of a shard come from, after proving its files whole."""
    shard = nearby(shard, resources.cache)
    chosen = placement(shard, "train", resources.memory, training.device)
    training.log(f"{training.plan.name}: {chosen.text}")
    check_shard(shard, chosen)
    return row_reader(shard, training.device, chosen)
