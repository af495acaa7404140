"""What decides the weights of a network, fixed before its first step: the plan of a branch and of the baseline.

Input: a shard and a recipe. Output: a `NetworkPlan`. The poster's baseline "has the same layers as the component
subnetworks but more parameters because it deals with input of larger size": each network of `models` says how much
wider its full form is than its branch's.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from spectral_prep.spectrum import basis
from spectral_train.data.shard import Shard
from spectral_train.models import full_options
from spectral_train.recipe.recipe import Recipe, override, resolve
from spectral_train.run.record import NetworkPlan


def branch_plan(shard: Shard, recipe: Recipe) -> NetworkPlan:
    """Return everything that decides the weights of a shard's branch; `auto` is resolved for the shape of the shard."""
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
        grouping=shard.choice.grouping,
        common=shard.choice.common,
        spectrals=shard.spectrals,
        input_shape=shard.input_shape,
        mean=shard.mean,
        std=shard.std,
        recipe=resolve(recipe, shard.input_shape),
        max_pixels=record.max_pixels,
    )


def baseline_plan(all_spectrals: Shard, recipe: Recipe) -> NetworkPlan:
    """Return everything that decides the conventional network's weights; the shard holds all Q spectrals."""
    mean, std = pixel_statistics(all_spectrals)
    first = all_spectrals.first
    own = resolve(recipe, all_spectrals.input_shape)
    return dataclasses.replace(
        branch_plan(all_spectrals, widened(own, all_spectrals.spec.q)),
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


def pixel_statistics(all_spectrals: Shard) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the (mean, std) of the training pixels, (C,) each, from those of the Q spectrals.

    The transform is linear, so it takes means to means; it is orthonormal, so it keeps the sum of squares.
    """
    mean_QC = np.array([folder.record.mean for folder in all_spectrals.folders])
    std_QC = np.array([folder.record.std for folder in all_spectrals.folders])
    mean_C = (basis(all_spectrals.spec).T @ mean_QC).mean(0)
    power_C = (std_QC**2 + mean_QC**2).mean(0)
    std_C = np.sqrt(np.maximum(power_C - mean_C**2, 0))
    return tuple(map(float, mean_C)), tuple(map(float, std_C))
