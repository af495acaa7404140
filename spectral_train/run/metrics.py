"""What is measured each epoch, and the lines that say so.

Input: the history of a network. Output: `metrics.jsonl`, one line an epoch and no epoch twice however often
training was resumed, and a line of progress for whoever listens.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from spectral_prep.errors import CorruptFileError
from spectral_prep.places import at, atomic_write, exists
from spectral_prep.places.url import Place
from spectral_prep.store.record_file import decoded
from spectral_prep.system.json_text import json_value
from spectral_train.run.paths import WRITING

LARGEST = 1 << 24
"""Bytes: 100,000 epochs."""

MOST_VALUES = 1 << 8
"""Of a line, counted as `json_value` does."""

Log = Callable[[str], None]
"""Takes one line of progress."""


def silent(line: str) -> None:
    """Take a line of progress and say nothing: a `Log`."""


@dataclass(frozen=True)
class EpochMetrics:
    """One finished epoch, counted from 1: mean losses in nats a row, accuracy 0 to 1, lr of its last step, seconds."""

    epoch: int
    train_loss: float
    held_out_loss: float
    held_out_accuracy: float
    lr: float
    seconds: float

    def line(self, epochs: int) -> str:
        """Return the line of progress.

        >>> EpochMetrics(3, 0.5, 0.6, 0.81, 0.001, 1.0).line(30)
        'epoch 3/30: train loss 0.5000, held-out loss 0.6000, held-out accuracy 81.00 %, 1.0 s'
        """
        return (
            f"epoch {self.epoch}/{epochs}: train loss {self.train_loss:.4f}, held-out loss {self.held_out_loss:.4f}, "
            f"held-out accuracy {self.held_out_accuracy:.2%}, {self.seconds:.1f} s".replace("%", " %")
        )


def write_lines(path: Place, history: Sequence[EpochMetrics]) -> None:
    """Write the whole history, one JSON object a line."""
    atomic_write(path, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history).encode(), WRITING)


def read_lines(path: Place) -> tuple[EpochMetrics, ...]:
    """Return the history that `write_lines` wrote, empty where there is none; raise `CorruptFileError` for others."""
    if not exists(path):
        return ()
    what, run = "the metrics of a network", f"delete {path}: curves alone need it"
    try:
        with io.BytesIO(at(path).read(LARGEST)) as lines:
            return tuple(decoded(EpochMetrics, json_value(line, MOST_VALUES), path, what, run) for line in lines)
    except (ValueError, OSError, RecursionError) as error:
        raise CorruptFileError(f"{what} are damaged", where=path, got=error, run=run) from error
