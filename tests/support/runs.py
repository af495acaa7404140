"""A small run: recipes that learn the shapes of `make_shards` in a second, and changes to what a run recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spectral_prep.store.record_file import write_record
from spectral_prep.store.records import FileEntry
from spectral_train.data.grouping import DEFAULT_CHOICE, ShardChoice
from spectral_train.device import Resources
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.outputs import HELD_OUT, TEST, Outputs, read_outputs, to_bytes
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import NetworkRecord, read_network
from spectral_train.run.weights import read_weights
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest

QUICK = Recipe(
    model="fc",
    model_options={"depth": 2, "width": 16},
    lr=0.01,
    batch_size=32,
    epochs=4,
    schedule="constant",
    noise=0.1,
)

CPU = Resources("cpu", workers=1)
"""In this process: starting others takes longer than such a network."""


def on_cpu(data: Path, run: Path, recipe: Recipe = QUICK, choice: ShardChoice = DEFAULT_CHOICE) -> TrainingRequest:
    """Return what asks for a run on the CPU."""
    return TrainingRequest(data, recipe, run, choice, CPU)


def make_run(data: Path, run: Path, recipe: Recipe = QUICK) -> Path:
    """Train all branches of a data set and return the run."""
    train_branches(on_cpu(data, run, recipe))
    return run


def weights_of(paths: NetworkPaths) -> dict[str, Tensor]:
    return read_weights(read_network(paths).plan, paths)


def equal_weights(one: NetworkPaths, other: NetworkPaths) -> bool:
    """Whether two trained networks are the same bit for bit."""
    first, second = weights_of(one), weights_of(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rewrite_record(run: Path, shard: int, change: Callable[[NetworkRecord], NetworkRecord]) -> None:
    """Let a branch have recorded something else."""
    paths = RunPaths(run).branch(shard)
    write_record(paths.record, change(read_network(paths)))


def rewrite_outputs(run: Path, shard: int, rows: str, change: Callable[[Outputs], Outputs]) -> None:
    """Let a branch have given other outputs on `held_out` or `test` rows."""
    paths = RunPaths(run).branch(shard)
    outputs = {name: read_outputs(paths.outputs, name) for name in (HELD_OUT, TEST)}
    outputs[rows] = change(outputs[rows])
    record = read_network(paths)
    paths.outputs.write_bytes(to_bytes(outputs[HELD_OUT], outputs[TEST]))
    files = tuple(FileEntry.of(paths.root, paths.root / entry.path) for entry in record.files)
    write_record(paths.record, replace(record, files=files))


def without_test(run: Path) -> None:
    """Let the branches and the baseline of a run, as far as they are trained, have had no test rows."""
    every = map(NetworkPaths, sorted(run.iterdir()))
    for paths in (each for each in every if each.record.is_file()):
        record, nothing = read_network(paths), Outputs(torch.empty(0, 0), np.empty(0, np.int32), torch.empty(0).long())
        paths.outputs.write_bytes(to_bytes(read_outputs(paths.outputs, HELD_OUT), nothing))
        files = tuple(FileEntry.of(paths.root, paths.root / entry.path) for entry in record.files)
        write_record(paths.record, replace(record, rows={**record.rows, "test": 0}, files=files))
