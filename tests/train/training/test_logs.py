"""MLflow and Weights & Biases get every epoch once, and a log that fails is named once and stops nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectral_train.data.shard import open_shard
from spectral_train.device import LOG_NAMES
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.training.baseline import train_baseline
from spectral_train.training.branch import train_branch, train_branches
from spectral_train.training.logs import LOGS
from spectral_train.training.request import TrainingRequest
from tests.support.commands import run as command
from tests.support.runs import CPU, QUICK, equal_weights
from tests.support.shards import make_shards

pytestmark = pytest.mark.filterwarnings("ignore")  # what these packages say about themselves is not ours


class StoppedError(Exception):
    """Raised out of a run by a test."""


def train(data: Path, run: Path, *logs: str, told: Any = lambda line: None) -> None:
    train_branch(open_shard(data, 1), QUICK, RunPaths(run).branch(1), replace(CPU, logs=logs), told)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_shards(tmp_path / "data")


def test_the_names_that_can_be_asked_for_are_those_that_there_are() -> None:
    assert tuple(LOGS) == LOG_NAMES


def test_mlflow_shows_each_epoch_once_though_training_was_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")

    def stop(line: str) -> None:
        assert "failed" not in line
        if "epoch 3/" in line:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(data, tmp_path / "run", "mlflow", told=stop)
    train(data, tmp_path / "run", "mlflow")
    client = MlflowClient()
    (found,) = client.search_runs([each.experiment_id for each in client.search_experiments() if each.name == "mine"])
    assert (found.info.run_name, found.info.status) == ("run/branch-01", "FINISHED")
    assert found.data.params["recipe.lr"] == "0.01"
    history = client.get_metric_history(found.info.run_id, "held_out_accuracy")
    assert sorted(each.step for each in history) == [1, 2, 3, 4]


def test_wandb_offline_writes_a_run_that_can_be_synchronised(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    told: list[str] = []
    train(data, tmp_path / "run", "wandb", told=told.append)
    assert not any("failed" in line for line in told), told
    (written,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    content = written.read_bytes()
    assert b"held_out_accuracy" in content
    assert b"run/branch-01" in content


class Named:
    """A log that keeps the places it was opened for."""

    def __init__(self) -> None:
        self.roots = list[Path]()

    def __call__(self, _: object, paths: NetworkPaths[Path], resumed: bool) -> Named:
        self.roots.append(paths.root)
        return self

    def write(self, *_: object) -> None: ...

    def close(self, *_: object) -> None: ...


def test_networks_are_logged_and_the_trials_of_their_rates_are_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Named()
    monkeypatch.setitem(LOGS, "mlflow", opened)
    run = tmp_path / "run"
    request = TrainingRequest(data, QUICK, run, resources=replace(CPU, logs=("mlflow",)), find_rate=True)
    train_branches(request, 1)
    train_baseline(request)
    assert opened.roots == [run / "branch-01", run / "baseline"]


class Failing:
    """A log that fails when it is opened, written or closed."""

    def __init__(self, at: str) -> None:
        self.at, self.calls = at, list[str]()

    def __call__(self, *_: object) -> Failing:
        return self.do("open")

    def write(self, *_: object) -> None:
        self.do("write")

    def close(self, *_: object) -> None:
        self.do("close")

    def do(self, what: str) -> Failing:
        self.calls.append(what)
        if what == self.at:
            raise RuntimeError("the server\nis gone")
        return self


@pytest.mark.parametrize(
    ("at", "calls"),
    [
        ("open", ["open"]),
        ("write", ["open", "write"]),
        ("close", ["open", *["write"] * 4, "close"]),
    ],
)
def test_a_log_that_fails_is_named_once_and_the_weights_are_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, calls: list[str]
) -> None:
    failing, told = Failing(at), list[str]()
    monkeypatch.setitem(LOGS, "mlflow", failing)
    train(data, tmp_path / "failing", "mlflow", told=told.append)
    train(data, tmp_path / "whole")
    assert [line for line in told if "failed" in line] == [
        "branch 1: mlflow failed (the server); training goes on without it"
    ]
    assert failing.calls == calls
    assert equal_weights(*(RunPaths(tmp_path / name).branch(1) for name in ("failing", "whole")))


def test_a_log_that_is_not_installed_is_refused_with_its_extra(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    told = command(f"spectral-train --shard 1 --data {data} --run {tmp_path / 'run'} --log wandb")
    assert (told.code, "spectral-shards[wandb]" in told.err) == (2, True)
