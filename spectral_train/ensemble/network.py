"""The whole network of a run: its branches, ready for use, and how their outputs are combined.

Input: the folder of a run. Output: what `predict` and `export` apply to images. It needs nothing but the run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from spectral_train.ensemble.calibration import calibrated
from spectral_train.ensemble.combiners import DEFAULT_SPACE, Combiner
from spectral_train.ensemble.schemes import DEFAULT_SCHEME, weigh
from spectral_train.run.branches import outputs_of, read_branches, shard_of
from spectral_train.run.outputs import HELD_OUT
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkPlan
from spectral_train.training.network import load_model


@dataclass(frozen=True)
class EnsembleNetwork:
    """S networks in evaluation mode with their plans, by shard, and the combiner of their outputs."""

    plans: tuple[NetworkPlan, ...]
    models: tuple[nn.Module, ...]
    combiner: Combiner


def open_network(
    run: Path,
    scheme: str = DEFAULT_SCHEME,
    space: str = DEFAULT_SPACE,
    *,
    p: float | None = None,
    k: int | None = None,
    calibrate: bool = False,
    without: Collection[int] = (),
    allow_missing: bool = False,
) -> EnsembleNetwork:
    """Read the branches of a run and weigh them on their held-out rows.

    Parameters
    ----------
    run
        The folder with `branch-00/` ….
    scheme, space, p, k
        As in `schemes.weigh`.
    calibrate
        Divide the ensemble's log-probabilities by the temperature that fits held-out rows best.
    without, allow_missing
        As in `run.branches.read_branches`.

    Raises
    ------
    InputError, PlanMismatchError, CorruptShardError
        As `run.branches.read_branches` and `schemes.weigh` do.
    """
    paths = RunPaths(run)
    records = read_branches(paths, without, allow_missing)
    held_out = outputs_of(paths, records, HELD_OUT)
    combiner = weigh(scheme, held_out, space, p=p, k=k)
    return EnsembleNetwork(
        plans=tuple(record.plan for record in records),
        models=tuple(load_model(record.plan, paths.branch(shard_of(record))) for record in records),
        combiner=calibrated(combiner, held_out) if calibrate else combiner,
    )
