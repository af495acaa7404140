"""What came of a training, for machines: where the run is, and the figures of each network.

Input: the request and the records. Output: plain values, which `spectral-train --json` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spectral_train.data.shard import find_data, open_shard
from spectral_train.run.metrics import read_lines
from spectral_train.run.paths import NetworkPaths, run_of
from spectral_train.run.record import NetworkRecord
from spectral_train.training.request import TrainingRequest


def result(request: TrainingRequest, records: Sequence[NetworkRecord]) -> dict[str, Any]:
    """Return the run, its data set and its networks that this training made or found finished."""
    shard = open_shard(find_data(request.data), records[0].plan.shard or 0, request.choice)
    run = run_of(shard, request.recipe, request.run)
    plan = records[0].plan
    return {
        "run": str(run.root),
        "dataset": plan.dataset,
        "q": plan.spec.q,
        "shards": plan.shards,
        "networks": [
            _network(record, run.baseline if record.plan.shard is None else run.branch(record.plan.shard))
            for record in records
        ],
    }


def _network(record: NetworkRecord, paths: NetworkPaths) -> dict[str, Any]:
    return {
        "name": record.plan.name,
        "shard": record.plan.shard,
        "folder": str(paths.root),
        "spectrals": list(record.plan.spectrals),
        "model": record.plan.recipe.model,
        "parameters": record.parameters,
        "size_bytes": record.size_bytes,
        "device": record.device,
        "lr": record.plan.recipe.lr,
        "epochs": len(read_lines(paths.metrics)),
        "seconds": record.seconds,
        "held_out_accuracy": record.held_out_accuracy,
        "held_out_loss": record.held_out_loss,
        "rows": dict(record.rows),
    }
