"""The ensemble of a run as one network: its branches, ready for use, and how their outputs are combined.

A branch gives log-probabilities, (n, classes), or where the combiner takes features these behind them.

Input: the folder of a run. Output: what `predict` and `export` apply to images. It needs nothing but the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spectral_prep.places.url import Place
from spectral_train.ensemble.calibration import calibrated
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, FUSED, Combination
from spectral_train.ensemble.combiners import Combiner
from spectral_train.ensemble.fused import require_fused
from spectral_train.ensemble.schemes import weigh
from spectral_train.models.speaking import LogProbabilities, WithFeatures
from spectral_train.recipe.augmentation import Views
from spectral_train.run.branches import outputs_of, read_branches, shard_of
from spectral_train.run.outputs import HELD_OUT
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkPlan, NetworkRecord
from spectral_train.run.weights import load_model


@dataclass(frozen=True)
class EnsembleNetwork:
    """S networks in evaluation mode with their plans, by shard, and the combiner of their outputs."""

    plans: tuple[NetworkPlan, ...]
    models: tuple[nn.Module, ...]
    combiner: Combiner
    views: Views | None = None

    def outputs(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return what each branch says of its inputs, (n, G·C, h, w) each, as the combiner takes it."""
        with torch.inference_mode():
            return [model(x) for model, x in zip(self.models, inputs, strict=True)]


def open_network(run: Place, combination: Combination = DEFAULT_COMBINATION) -> EnsembleNetwork:
    """Read the branches of a run, in the folders `branch-00/` …, and weigh them on their held-out rows.

    Raises
    ------
    InputError, PlanMismatchError, CorruptFileError
        As `run.branches.read_branches`, `schemes.weigh` and `fused.require_fused` do.
    """
    paths = RunPaths(run)
    records = read_branches(paths, combination.without, combination.allow_missing)
    combiner, takes_features = _combiner(paths, records, combination)
    loaded = [(record.plan, load_model(record.plan, paths.branch(shard_of(record)))) for record in records]
    return EnsembleNetwork(
        plans=tuple(plan for plan, _ in loaded),
        models=tuple(
            WithFeatures(model, plan.input_shape) if takes_features else LogProbabilities(model)
            for plan, model in loaded
        ),
        combiner=combiner,
        views=combination.views,
    )


def _combiner(paths: RunPaths, records: Sequence[NetworkRecord], combination: Combination) -> tuple[Combiner, bool]:
    """Return the combiner, and whether it takes features."""
    if combination.scheme == FUSED:
        fused = require_fused(paths, records)
        return fused.calibrated if combination.calibrate else fused.head, fused.takes_features
    held_out = outputs_of(paths, records, HELD_OUT)
    combiner = weigh(held_out, combination)
    return calibrated(combiner, held_out) if combination.calibrate else combiner, False
