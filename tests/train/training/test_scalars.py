"""TensorBoard is a log: where it cannot be written that is said once, and the training is the one without it."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_train.run.metrics import EpochMetrics
from spectral_train.run.paths import RunPaths
from spectral_train.training.branch import train_branches
from spectral_train.training.scalars import scalars
from tests.support.runs import QUICK, equal_weights, on_cpu
from tests.support.shards import make_shards

tensorboard = pytest.importorskip("torch.utils.tensorboard")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FULL = OSError(28, "No space left on device")
HISTORY = [EpochMetrics(number, 1.0, 1.0, 0.5, 0.1, 1.0) for number in (1, 2)]
WARNING = "TensorBoard's events cannot be written ([Errno 28] No space left on device); training goes on without them. "


class Failing:
    """A `SummaryWriter` whose n-th call of a method fails."""

    def __init__(self, method: str, at: int) -> None:
        self.method, self.left, self.calls = method, at, 0

    def happens(self, method: str) -> None:
        self.calls += 1
        if method == self.method:
            self.left -= 1
            if not self.left:
                raise FULL

    def __call__(self, folder: str, purge_step: int) -> Failing:
        self.happens("construct")
        return self

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.happens("add_scalar")

    def flush(self) -> None:
        self.happens("flush")

    def close(self) -> None:
        self.happens("close")


@pytest.mark.parametrize(
    ("method", "at", "calls"),
    [
        ("construct", 1, 1),
        ("add_scalar", 1, 2),
        ("add_scalar", 8, 10),
        ("flush", 1, 7),
        ("flush", 3, 19),
        ("close", 1, 26),
    ],
)
def test_whatever_fails_is_said_once_and_nothing_more_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, at: int, calls: int
) -> None:
    failing = Failing(method, at)
    told: list[str] = []
    monkeypatch.setattr(tensorboard, "SummaryWriter", failing)
    with scalars(tmp_path, HISTORY, told.append) as write:
        for epoch in HISTORY:
            write(epoch)
    assert told == [f"{WARNING}Where: {tmp_path}"]
    assert failing.calls == calls


def test_what_the_writers_own_thread_cannot_write_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

    told: list[str] = []
    with scalars(tmp_path / "events", (), told.append) as write:
        write(HISTORY[0])
        assert told == []

        def refuse(self: object, content: bytes) -> None:
            raise FULL

        monkeypatch.setattr(RecordWriter, "write", refuse)
        monkeypatch.setattr(threading, "excepthook", lambda died: None)  # the writer's own thread ends so
        for epoch in HISTORY * 2:
            write(epoch)
    assert told == [f"{WARNING}Where: {tmp_path / 'events'}"]


def test_without_tensorboard_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with scalars(tmp_path / "events", HISTORY, pytest.fail) as write:
        write(HISTORY[0])
    assert not (tmp_path / "events").exists()


def test_a_training_whose_log_fails_gives_the_weights_of_one_whose_log_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, recipe = make_shards(tmp_path / "data"), replace(QUICK, epochs=2)
    told: list[str] = []
    train_branches(on_cpu(data, tmp_path / "whole", recipe), 1)
    monkeypatch.setattr(tensorboard, "SummaryWriter", Failing("add_scalar", 2))
    train_branches(on_cpu(data, tmp_path / "failing", recipe), 1, told.append)
    assert sum("TensorBoard's events cannot be written" in line for line in told) == 1
    assert equal_weights(*(RunPaths(tmp_path / name).branch(1) for name in ("whole", "failing")))
