"""What a training would take, before it: memory, parameters, operations and hours, from shapes alone.

Input: a request. Output: an `Estimate` a network. Of the data set only records are read, nothing is written, and the
networks lie on torch's meta device, without memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from spectral_prep.system.units import duration, size
from spectral_train.data.placement import split_bytes
from spectral_train.data.shard import NO_ROWS, Shard, find_data, open_shards
from spectral_train.models import parameter_count, size_in_bytes
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.record import NetworkPlan
from spectral_train.run.weights import shape_network
from spectral_train.training.baseline import all_of
from spectral_train.training.gpus import EFFICIENCY, Gpu
from spectral_train.training.plan import baseline_plan, branch_plan
from spectral_train.training.rates import search_epochs
from spectral_train.training.request import TrainingRequest
from spectral_train.training.widths import own_width

FEW = 2
"""Rows of the batch that is counted; operations and outputs grow with the rows."""


@dataclass(frozen=True)
class Estimate:
    """Of one network, bytes and operations (two a multiply-add, forward and backward).

    `rows_bytes` are the training rows as stored, `weights_bytes` weights, gradients, optimizer and averages,
    `outputs_bytes` what the layers give for a batch; the last two are estimates, as is `hours`, None without a GPU.
    `epochs` are all that are trained; `search_epochs` of them are the trials of the learning rate, at most.
    """

    name: str
    parameters: int
    rows: int
    rows_bytes: int
    weights_bytes: int
    outputs_bytes: int
    operations_an_epoch: int
    epochs: int
    search_epochs: int
    hours: float | None

    @property
    def memory(self) -> int:
        """All bytes together."""
        return self.rows_bytes + self.weights_bytes + self.outputs_bytes

    @property
    def operations(self) -> int:
        """Of all epochs."""
        return self.operations_an_epoch * self.epochs


def dry_run(
    request: TrainingRequest, shard: int | None = None, *, baseline: bool = False, gpu: Gpu | None = None
) -> tuple[Estimate, ...]:
    """Return what the networks of a request would take: one branch, all (`shard` None), or the conventional network.

    Raises
    ------
    InputError, PlanMismatchError, CorruptFileError
        As `find_data`, `open_shards`, `own_width` and `shape_network` do.
    """
    root, find_rate = find_data(request.data), request.find_rate
    if baseline:
        whole = all_of(root, request.choice)
        plan = baseline_plan(whole, request.recipe)
        images_bytes = _rows(whole) * math.prod(plan.input_shape)  # as uint8
        return (_estimate(plan, whole, images_bytes, find_rate=find_rate, gpu=gpu),)
    opened = open_shards(root, request.choice, shard)
    return tuple(
        _estimate(
            branch_plan(each, own_width(each, request.recipe, request.width_by)),
            each,
            split_bytes(each, "train"),
            find_rate=find_rate,
            gpu=gpu,
        )
        for each in opened
    )


def operations_of(plan: NetworkPlan) -> int:
    """Return the operations of one training row, forward and backward, counted by torch."""
    network = shape_network(plan).train()
    x, y = torch.empty(FEW, *plan.input_shape, device="meta"), torch.empty(FEW, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        functional.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // FEW


def _estimate(plan: NetworkPlan, shard: Shard, rows_bytes: int, *, find_rate: bool, gpu: Gpu | None) -> Estimate:
    network, recipe = shape_network(plan), plan.recipe
    split = shard.first.splits.get("train", NO_ROWS)
    images = (split.rows - split.bad_rows) // split.views  # an epoch trains on one view of each
    rows = images - max(1, round(images * recipe.holdout))
    an_epoch = operations_of(plan) * rows
    search = search_epochs(recipe.epochs) if find_rate else 0
    epochs = recipe.epochs + search
    return Estimate(
        name=plan.name,
        parameters=parameter_count(network),
        rows=rows,
        rows_bytes=rows_bytes,
        weights_bytes=size_in_bytes(network) * _copies(recipe),
        outputs_bytes=_outputs_bytes(network, plan) * min(recipe.batch_size, rows),
        operations_an_epoch=an_epoch,
        epochs=epochs,
        search_epochs=search,
        hours=None if gpu is None else an_epoch * epochs / gpu.operations(recipe.precision) / 3600,
    )


def _rows(shard: Shard) -> int:
    return shard.first.splits.get("train", NO_ROWS).rows


def _copies(recipe: Recipe) -> int:
    """Return how many times the weights are in memory: themselves, gradients, and what optimizer and average keep."""
    moments = {"adamw": 2, "adam": 2, "sgd": 1 if recipe.momentum else 0}[recipe.optimizer]
    return 2 + moments + bool(recipe.ema) + bool(recipe.patience)


def _outputs_bytes(network: nn.Module, plan: NetworkPlan) -> int:
    """Return the bytes that the layers of a network give for one row: what a backward pass keeps, about."""
    found: list[int] = []

    def count(layer: nn.Module, given: object, output: object) -> None:
        if isinstance(output, Tensor):
            found.append(output.numel() * output.element_size())

    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty(FEW, *plan.input_shape, device="meta"))
    return sum(found) // FEW


def to_dict(estimates: Sequence[Estimate], gpu: Gpu | None) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "networks": [asdict(each) for each in estimates],
        "gpu": None if gpu is None else {**asdict(gpu), "efficiency": EFFICIENCY},
    }


def text(estimates: Sequence[Estimate], gpu: Gpu | None) -> str:
    """Return a line a network and, of several, one of all, for a reader."""
    lines = [_line(each) for each in estimates]
    if len(estimates) > 1:
        parameters, an_epoch, operations = (
            sum(each.parameters for each in estimates),
            sum(each.operations_an_epoch for each in estimates),
            sum(each.operations for each in estimates),
        )
        hours = (
            "" if gpu is None else f", about {duration(3600 * sum(each.hours or 0 for each in estimates))} one by one"
        )
        counted = f"{an_epoch:.3g} operations an epoch, {operations:.3g} in all{hours}"
        lines.append(f"all: {parameters:,} parameters; {counted}")
    if gpu is None:
        lines.append("For hours: --gpu NAME or --gpu-tflops X.")
    else:
        lines.append(
            f"Hours are an estimate: {gpu.name} at {EFFICIENCY:.0%} of its peak ({gpu.single:g} tera-operations a "
            f"second in float32, {gpu.half:g} in half precision); small networks reach less.".replace("%", " %")
        )
    return "\n".join([*lines, "Nothing was read but records, and nothing is written."])


def _line(each: Estimate) -> str:
    memory = f"{size(each.memory)} of memory ({size(each.rows_bytes)} rows, {size(each.weights_bytes)} weights and "
    hours = "" if each.hours is None else f", about {duration(3600 * each.hours)}"
    search = f" (with {each.search_epochs} of the search of the rate)" if each.search_epochs else ""
    most = "at most " if each.search_epochs else ""
    epochs = f"{most}{each.epochs} epochs{search}, {each.operations:.3g} operations in all{hours}"
    return (
        f"{each.name}: {each.parameters:,} parameters; {memory}optimizer, {size(each.outputs_bytes)} a batch); "
        f"{each.operations_an_epoch:.3g} operations an epoch of {each.rows:,} rows; {epochs}"
    )
