"""Where the metrics of each epoch go beside `metrics.jsonl`: TensorBoard, and MLflow or Weights & Biases if asked for.

Input: a training and its history so far. Output: what takes a further epoch. They are logs that nothing depends on: one
that fails, at whatever, is named once, and training goes on without it.

Where they write is said in the environment, by their own names: `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`;
`WANDB_MODE`, `WANDB_PROJECT`, `WANDB_DIR`. A network is one run there, which goes on where training was resumed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from spectral_prep.places.url import absolute
from spectral_prep.sources.opening import optional
from spectral_prep.store.record_file import plain
from spectral_prep.system.differences import leaves
from spectral_train.run.metrics import EpochMetrics, Log
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.record import NetworkPlan
from spectral_train.training.scalars import scalars

PROJECT = "spectral-shards"
LONGEST_SETTING = 500
"""Characters: more is refused by MLflow."""

Writer = Callable[[EpochMetrics], None]


class EpochLog(Protocol):
    """A log of one network."""

    def write(self, epoch: EpochMetrics) -> None:
        """Take a finished epoch."""
        ...

    def close(self, finished: bool) -> None:
        """End; `finished` says whether the training came to its end."""
        ...


class MlflowLog:
    """A run of MLflow."""

    def __init__(self, plan: NetworkPlan, paths: NetworkPaths, resumed: bool) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        name, tag = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT), _identity(plan, paths)
        known = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if known is None else known.experiment_id
        former = self._client.search_runs([experiment], f"tags.spectral = '{tag}'", max_results=1) if resumed else []
        if former:
            self._run = former[0].info.run_id
            self._last = max(
                (each.step for each in self._client.get_metric_history(self._run, "train_loss")), default=0
            )
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(experiment, run_name=_name(paths), tags={"spectral": tag}).info.run_id
        self._last = 0
        settings = [Param(key, str(value)[:LONGEST_SETTING]) for key, value in _settings(plan).items()]
        self._client.log_batch(self._run, params=settings)

    def write(self, epoch: EpochMetrics) -> None:
        """Log the epoch as a step, once."""
        from mlflow.entities import Metric

        if epoch.epoch > self._last:
            now = int(time.time() * 1000)
            self._client.log_batch(self._run, [Metric(key, value, now, epoch.epoch) for key, value in _values(epoch)])

    def close(self, finished: bool) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


class WandbLog:
    """A run of Weights & Biases; the runs of one ensemble are its group."""

    def __init__(self, plan: NetworkPlan, paths: NetworkPaths, resumed: bool) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=_identity(plan, paths),
            name=_name(paths),
            group=paths.root.parent.name,
            config=_settings(plan),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def write(self, epoch: EpochMetrics) -> None:
        """Log the epoch as a step; one that is known already is let go by W&B itself."""
        self._run.log(dict(_values(epoch)), step=epoch.epoch)

    def close(self, finished: bool) -> None:
        """Upload what is left, or leave it for `wandb sync`."""
        self._run.finish(exit_code=0 if finished else 1)


LOGS: Mapping[str, Callable[[NetworkPlan, NetworkPaths, bool], EpochLog]] = {"mlflow": MlflowLog, "wandb": WandbLog}
"""The keys of `device.LOG_NAMES`."""


def require_logs(names: Sequence[str]) -> None:
    """Raise `InputError` if the package of a log is not installed, naming the extra that brings it."""
    for name in names:
        optional(name, name)


@contextlib.contextmanager
def epoch_logs(
    plan: NetworkPlan, paths: NetworkPaths, names: Sequence[str], history: Sequence[EpochMetrics], log: Log
) -> Iterator[Writer]:
    """Yield what writes an epoch to every log; the epochs of the history are written first."""
    with contextlib.ExitStack() as held:
        writers = [held.enter_context(scalars(paths.tensorboard, history, log))]
        writers += [held.enter_context(_told_once(name, plan, paths, (history, log))) for name in names]

        def write(epoch: EpochMetrics) -> None:
            for each in writers:
                each(epoch)

        yield write


@contextlib.contextmanager
def _told_once(
    name: str, plan: NetworkPlan, paths: NetworkPaths, known: tuple[Sequence[EpochMetrics], Log]
) -> Iterator[Writer]:
    """Yield what writes an epoch to one log, of whose failures the first is said and none is raised."""
    history, log = known
    failed: list[Exception] = []
    opened: list[EpochLog] = []

    def tried(step: Callable[[], None]) -> None:
        if failed:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 whatever a log does, the training is not its business
            failed.append(error)
            reason = str(error).partition("\n")[0] or type(error).__name__
            log(f"{plan.name}: {name} failed ({reason}); training goes on without it")

    def begin() -> None:
        opened.append(LOGS[name](plan, paths, bool(history)))
        for epoch in history:
            opened[0].write(epoch)

    tried(begin)
    finished = False
    try:
        yield lambda epoch: tried(lambda: opened[0].write(epoch))
        finished = True
    finally:
        tried(lambda: opened[0].close(finished))


def _values(epoch: EpochMetrics) -> list[tuple[str, float]]:
    return [(key, float(value)) for key, value in asdict(epoch).items() if key != "epoch"]


def _settings(plan: NetworkPlan) -> dict[str, Any]:
    recipe = {f"recipe.{key}": value for key, value in leaves(plain(plan.recipe))}
    own = {"dataset": plan.dataset, "q": plan.spec.q, "shards": plan.shards, "network": plan.name}
    return {**own, "spectrals": "+".join(map(str, plan.spectrals)), **recipe}


def _name(paths: NetworkPaths) -> str:
    return f"{paths.root.parent.name}/{paths.root.name}"


def _identity(plan: NetworkPlan, paths: NetworkPaths) -> str:
    """Return what a network of this plan in this folder is known by."""
    return hashlib.sha256(f"{absolute(paths.root)} {json.dumps(plain(plan))}".encode()).hexdigest()[:32]
