"""The conventional network of the comparison: the same depth on the same rows, all spectrals merged back into images.

Input: a whole converted data set. Output: the folder `baseline/` of a run, with the same files as a branch's. The
poster's baseline "has the same layers as the component subnetworks but more parameters because it deals with input of
larger size": each network of `models` says how much wider its full form is than its branch's.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spectral_prep.kernel import fused_merge
from spectral_prep.spectrum import basis
from spectral_train.data.pieces import PieceReader
from spectral_train.data.rows import Examples
from spectral_train.data.shard import NO_ROWS, Shard, check_files, find_data, open_shard, read_labels
from spectral_train.data.standardise import Standardisation
from spectral_train.device import choose_device
from spectral_train.models import full_options
from spectral_train.recipe.recipe import Recipe, override, resolve
from spectral_train.run.metrics import Report
from spectral_train.run.record import NetworkPlan, NetworkRecord
from spectral_train.training.branch import plan_of, run_of, silent
from spectral_train.training.fit import Training
from spectral_train.training.network import RowReader, finished, train_network


def train_baseline(
    data: Path | None,
    recipe: Recipe,
    run: Path | None = None,
    *,
    shards: int | None = None,
    grouping: str = "contiguous",
    common: Sequence[int] = (),
    device: str = "auto",
    compiled: bool = False,
    report: Report = silent,
) -> NetworkRecord:
    """Train the conventional network; it is finished, resumed and refused as a branch is.

    It needs all Q spectral folders, and memory for the images as uint8. `shards`, `grouping` and `common` only say to
    which default run it belongs.

    Raises
    ------
    InputError
        If spectral folders are missing, naming them; otherwise as `train_branch` does.
    """
    whole = open_shard(find_data(data), 0, shards=1)
    own = resolve(recipe, whole.input_shape)
    branches = dataclasses.replace(
        whole, shards=whole.spec.q if shards is None else shards, grouping=grouping, common=tuple(common)
    )
    paths = run_of(branches, own, run).baseline
    plan = baseline_plan(whole, own)
    if (record := finished(plan, paths)) is not None:
        report(f"{plan.name}: finished already in {paths.root}")
        return record
    for folder in whole.folders:
        check_files(folder)
    training = Training(plan, paths, choose_device(device), report, compiled)
    standardise = Standardisation.of(plan.mean, plan.std)
    rows = RowReader(
        functools.partial(read_labels, whole.folders),
        lambda split, y: Examples(read_images(whole, split), y, standardise, f"{whole.identity}/images/{split}"),
    )
    return train_network(training, rows)


def baseline_plan(whole: Shard, recipe: Recipe) -> NetworkPlan:
    """Return everything that decides the conventional network's weights; `whole` holds all Q spectrals."""
    mean, std = pixel_statistics(whole)
    first = whole.first
    return dataclasses.replace(
        plan_of(whole, widened(recipe, whole.spec.q)),
        shard=None,
        input_shape=(first.channels, first.height, first.width),
        mean=mean,
        std=std,
    )


def widened(recipe: Recipe, q: int) -> Recipe:
    """Return the recipe of the conventional network beside branches with this one.

    >>> widened(Recipe(model="fc"), 16).model_options["width"]
    784
    """
    return override(recipe, model_options=full_options(recipe.model, recipe.model_options, q))


def pixel_statistics(whole: Shard) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the (mean, std) of the training pixels, (C,) each, from those of the Q spectrals.

    The transform is linear, so it takes means to means; it is orthonormal, so it keeps the sum of squares.
    """
    mean_QC = np.array([folder.record.mean for folder in whole.folders])
    std_QC = np.array([folder.record.std for folder in whole.folders])
    mean_C = (basis(whole.spec).T @ mean_QC).mean(0)
    power_C = (std_QC**2 + mean_QC**2).mean(0)
    std_C = np.sqrt(np.maximum(power_C - mean_C**2, 0))
    return tuple(map(float, mean_C)), tuple(map(float, std_C))


def read_images(whole: Shard, split: str) -> Tensor:
    """Return the images of a split, (N, C, H, W) uint8, merged piece by piece from all Q spectrals."""
    first, reader = whole.first, PieceReader(whole, split)
    rows = first.splits.get(split, NO_ROWS).rows
    images = torch.empty((rows, first.channels, first.height, first.width), dtype=torch.uint8)
    for piece in reader.pieces:
        stored_NQChw = reader.read(piece).view(-1, whole.spec.q, first.channels, *whole.input_shape[1:])
        stored_QNChw = stored_NQChw.transpose(0, 1)
        images[piece] = fused_merge(stored_QNChw, whole.spec, encoding=whole.encoding).permute(0, 3, 1, 2)
    return images
