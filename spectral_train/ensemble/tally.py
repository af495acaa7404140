"""What is counted of labelled rows as they come, a few at a time: sums, never the rows.

Input: probabilities and labels. Output: accuracy, loss, calibration and confusion of all rows so far.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_train.ensemble.calibration import BINS, Quality, bins_of
from spectral_train.run.outputs import bounded

TOP = 5


@dataclass(frozen=True)
class Bin:
    """The rows of one part of the confidence 0 to 1: how many, their mean confidence, and their accuracy."""

    rows: int
    confidence: float
    accuracy: float


@dataclass
class Tally:
    """Sums over rows; `pairs` counts rows by (label, most likely class), only those that occur."""

    rows: int = 0
    right: int = 0
    right_of_top: int = 0
    loss: float = 0.0
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    per_bin: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, BINS)))

    def add(self, probabilities_NK: Tensor, labels: Tensor) -> None:
        """Count these rows too: probabilities (n, classes) and labels (n,)."""
        confidence, guess = probabilities_NK.double().max(1)
        right = guess == labels
        best = probabilities_NK.topk(min(TOP, probabilities_NK.shape[1])).indices
        self.rows += len(labels)
        self.right += int(right.sum())
        self.right_of_top += int((best == labels[:, None]).any(1).sum())
        self.loss -= bounded(probabilities_NK.gather(1, labels[:, None]).log()).sum().item()
        self.pairs.update(zip(labels.tolist(), guess.tolist(), strict=True))
        sums_N3 = torch.stack([torch.ones_like(confidence), confidence, right.double()])
        self.per_bin += torch.zeros(3, BINS, dtype=torch.float64).index_add(1, bins_of(confidence), sums_N3).numpy()

    @property
    def quality(self) -> Quality:
        """Accuracy, loss and calibration error of the rows so far, of which there is one at least."""
        _, confidence, right = self.per_bin
        return Quality(
            self.right / self.rows, self.loss / self.rows, float(np.abs(right - confidence).sum()) / self.rows
        )

    @property
    def top_accuracy(self) -> float:
        """Fraction of rows whose label is among the five most likely classes."""
        return self.right_of_top / self.rows

    @property
    def bins(self) -> tuple[Bin, ...]:
        """The reliability diagram: equal parts of the confidence, those without rows too."""
        return tuple(
            Bin(int(rows), confidence / max(rows, 1), right / max(rows, 1))
            for rows, confidence, right in self.per_bin.T.tolist()
        )
