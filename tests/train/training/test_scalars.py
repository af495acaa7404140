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

loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
writing = pytest.importorskip("tensorboard.summary.writer.record_writer")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FULL = OSError(28, "No space left on device")
HISTORY = [EpochMetrics(number, 1.0 / number, 1.0, 0.5, 0.1, 1.0) for number in (1, 2)]
WARNING = "TensorBoard's events cannot be written (No space left on device); training goes on without them: "


def losses(folder: Path) -> list[tuple[int, float]]:
    """Return what TensorBoard itself shows of a folder."""
    shown = loading.EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in shown.Scalars("train_loss")]


class Failing:
    """Stands for the writing of records: the n-th fails, and all that follow."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.write_record = writing.RecordWriter.write

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Failing:
        monkeypatch.setattr(writing.RecordWriter, "write", lambda record_writer, content: self(record_writer, content))
        return self

    def __call__(self, record_writer: object, content: bytes) -> None:
        self.left -= 1
        if self.left <= 0:
            raise FULL
        self.write_record(record_writer, content)


def test_tensorboard_shows_each_epoch_once_however_often_it_was_resumed(tmp_path: Path) -> None:
    for known in range(2):
        with scalars(tmp_path / "events", HISTORY[:known], pytest.fail) as write:
            write(HISTORY[known])
    assert losses(tmp_path / "events") == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize("at", [1, 2, 3, 9, 14])
def test_whatever_fails_is_said_once_and_nothing_more_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    failing = Failing(at).install(monkeypatch)
    monkeypatch.setattr(threading, "excepthook", lambda died: pytest.fail("a thread ended in a traceback"))
    told: list[str] = []
    with scalars(tmp_path / "events", HISTORY, told.append) as write:
        for epoch in HISTORY * 2:
            write(epoch)
    assert told == [f"{WARNING}{tmp_path / 'events'}"]
    assert failing.left == 0


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("a file")
    told: list[str] = []
    with scalars(tmp_path / "events", HISTORY, told.append) as write:
        write(HISTORY[0])
    assert len(told) == 1


def test_without_tensorboard_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with scalars(tmp_path / "events", HISTORY, pytest.fail) as write:
        write(HISTORY[0])
    assert not (tmp_path / "events").exists()


def test_a_training_whose_log_fails_gives_the_weights_of_one_whose_log_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, recipe = make_shards(tmp_path / "data"), replace(QUICK, epochs=2)
    told: list[str] = []
    train_branches(on_cpu(data, tmp_path / "whole", recipe), 1)
    Failing(4).install(monkeypatch)
    train_branches(on_cpu(data, tmp_path / "failing", recipe), 1, told.append)
    assert sum("TensorBoard's events cannot be written" in line for line in told) == 1
    assert equal_weights(*(RunPaths(tmp_path / name).branch(1) for name in ("whole", "failing")))
