"""The ensemble of a run as one network: its branches, ready for use, and how their outputs are combined.

Input: the folder of a run. Output: what `predict` and `export` apply to images. It needs nothing but the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from spectral_prep.places.url import Place
from spectral_train.ensemble.calibration import calibrated
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, Combination
from spectral_train.ensemble.combiners import Combiner
from spectral_train.ensemble.schemes import weigh
from spectral_train.run.branches import outputs_of, read_branches, shard_of
from spectral_train.run.outputs import HELD_OUT
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkPlan
from spectral_train.run.weights import load_model


@dataclass(frozen=True)
class EnsembleNetwork:
    """S networks in evaluation mode with their plans, by shard, and the combiner of their outputs."""

    plans: tuple[NetworkPlan, ...]
    models: tuple[nn.Module, ...]
    combiner: Combiner


def open_network(run: Place, combination: Combination = DEFAULT_COMBINATION) -> EnsembleNetwork:
    """Read the branches of a run, in the folders `branch-00/` …, and weigh them on their held-out rows.

    Raises
    ------
    InputError, PlanMismatchError, CorruptFileError
        As `run.branches.read_branches` and `schemes.weigh` do.
    """
    paths = RunPaths(run)
    records = read_branches(paths, combination.without, combination.allow_missing)
    held_out = outputs_of(paths, records, HELD_OUT)
    combiner = weigh(held_out, combination)
    return EnsembleNetwork(
        plans=tuple(record.plan for record in records),
        models=tuple(load_model(record.plan, paths.branch(shard_of(record))) for record in records),
        combiner=calibrated(combiner, held_out) if combination.calibrate else combiner,
    )
