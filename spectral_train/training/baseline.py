"""The conventional network of the comparison: the same depth on the same rows, all spectrals merged back into images.

Input: a converted data set, all Q spectrals of it. Output: the folder `baseline/` of a run, with the same files as a
branch's.
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from spectral_prep.errors import InputError
from spectral_prep.kernel import fused_merge
from spectral_prep.places.url import Place
from spectral_train.data.grouping import DEFAULT_CHOICE, ShardChoice
from spectral_train.data.nearby import nearby
from spectral_train.data.pieces import PieceReader
from spectral_train.data.reader import RowReader
from spectral_train.data.rows import Examples
from spectral_train.data.shard import NO_ROWS, Shard, check_files, find_data, open_shard, read_labels
from spectral_train.data.standardise import Standardisation
from spectral_train.device import choose_device
from spectral_train.run.metrics import Log, silent
from spectral_train.run.paths import RunPaths, run_of
from spectral_train.run.record import NetworkRecord, describe
from spectral_train.training.beside import require_baseline_beside
from spectral_train.training.fit import Training
from spectral_train.training.network import alone, train_network
from spectral_train.training.plan import baseline_plan
from spectral_train.training.rates import with_found_rate
from spectral_train.training.request import TrainingRequest


def train_baseline(request: TrainingRequest, log: Log = silent) -> NetworkRecord:
    """Train the conventional network; it is finished, resumed and refused as a branch is.

    It needs all Q spectral folders, and memory for the images as uint8. Of the request, `choice` only says to which run
    it belongs, and of `resources` the device, the compilation, the cache and the logs count.

    Raises
    ------
    InputError
        If spectral folders are missing, naming them, or `choice` is none of this data set or not that of the run's
        branches; otherwise as `train_branch` does.
    """
    all_spectrals = all_of(find_data(request.data), request.choice)
    branches = dataclasses.replace(all_spectrals, choice=request.choice.resolved(all_spectrals.spec.q))
    run = run_of(branches, request.recipe, request.run)
    if request.choice != DEFAULT_CHOICE:
        _require_beside(run, branches.choice)
    paths = run.baseline
    resources, recipe = request.resources, request.recipe
    device, plan = choose_device(resources.device), baseline_plan(all_spectrals, recipe)
    require_baseline_beside(plan, run)
    training = Training(plan, paths, device, log, resources.compiled, resources.logs)

    def rows() -> RowReader:
        here, plan = nearby(all_spectrals, resources.cache), training.plan
        for folder in here.folders:
            check_files(folder)
        return image_reader(here, Standardisation.of(plan.mean, plan.std))

    if request.find_rate:
        recipe = with_found_rate(recipe, training, rows)
        training = dataclasses.replace(training, plan=baseline_plan(all_spectrals, recipe))
    with alone(training.plan, paths) as record:
        if record is not None:
            log(f"{training.plan.name}: finished already in {paths.root}")
            return record
        return train_network(training, rows())


def all_of(data: Place, choice: ShardChoice) -> Shard:
    """Return all Q spectrals as one shard; raise `InputError` if they could not be cut into those of a choice."""
    found = open_shard(data, 0, ShardChoice(shards=1))
    choice.members(0, found.spec.q, found.first.energy)
    return found


def _require_beside(run: RunPaths, choice: ShardChoice) -> None:
    """Refuse a choice of shards that is not the one of the branches in a run: it would change nothing here."""
    for shard in run.finished()[:1]:
        there = describe(run.branch(shard)).plan.choice
        if there != choice:
            raise InputError(
                "the branches of this run have other shards, and the baseline has none",
                where=run.root,
                expected=there.options,
                got=choice.options,
                run="the same command without --shards, --grouping and --common",
            )


def image_reader(all_spectrals: Shard, standardise: Standardisation) -> RowReader:
    """Return where the images of a data set come from: they are put back together in memory."""

    def examples(split: str, y: Tensor) -> Examples:
        identity = f"{all_spectrals.identity}/images/{split}"
        return Examples(read_images(all_spectrals, split), y, standardise, identity)

    return RowReader(functools.partial(read_labels, all_spectrals.folders), examples)


def read_images(all_spectrals: Shard, split: str) -> Tensor:
    """Return the images of a split, (N, C, H, W) uint8, merged piece by piece from all Q spectrals."""
    first, spec, encoding = all_spectrals.first, all_spectrals.spec, all_spectrals.encoding
    reader, rows = PieceReader(all_spectrals, split), first.splits.get(split, NO_ROWS).rows
    images = torch.empty((rows, first.channels, first.height, first.width), dtype=torch.uint8)
    buffer = reader.buffer(reader.largest)
    for piece in reader.pieces:
        stored_NQChw = reader.read(piece, buffer).view(-1, spec.q, first.channels, *all_spectrals.input_shape[1:])
        images[piece] = fused_merge(stored_NQChw.transpose(0, 1), spec, encoding=encoding).permute(0, 3, 1, 2)
    return images
