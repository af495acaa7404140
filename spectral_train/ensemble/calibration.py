"""Whether probabilities mean what they say, and the temperature that makes them.

Input: probabilities of rows and their labels. Output: the expected calibration error, the loss, and a combiner
with a temperature that was fitted to held-out rows (Guo et al. 2017, "On Calibration of Modern Neural Networks").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from spectral_train.ensemble.combiners import Combiner, Tempered
from spectral_train.run.outputs import BranchOutputs, accuracy, cross_entropy

BINS = 15
COLDEST, HOTTEST = 0.02, 50.0


@dataclass(frozen=True)
class Quality:
    """On some rows: `accuracy` 0 to 1, `loss` (mean −log P(label), nats) and `ece` (0 to 1, 15 bins)."""

    accuracy: float
    loss: float
    ece: float

    @classmethod
    def of(cls, probabilities_NK: Tensor, labels: Tensor) -> Quality:
        """Measure."""
        return cls(
            accuracy(probabilities_NK, labels),
            cross_entropy(probabilities_NK.log(), labels),
            calibration_error(probabilities_NK, labels),
        )


def bins_of(confidence: Tensor, bins: int = BINS) -> Tensor:
    """Return the bin of each confidence (n,): equal parts of 0 to 1, each with its upper end.

    >>> bins_of(torch.tensor([0.0, 0.5, 0.51, 1.0]), 2).tolist()
    [0, 0, 1, 1]
    """
    return (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)


def calibration_error(probabilities_NK: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error: the mean over rows of |accuracy − confidence| of the row's bin.

    Bins are equal parts of the confidence 0 to 1, the highest probability of a row (Guo et al. 2017, eq. (3)).

    >>> certain = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> calibration_error(certain, torch.tensor([0, 0])), calibration_error(certain, torch.tensor([0, 1]))
    (0.0, 0.5)
    """
    confidence, guess = probabilities_NK.double().max(1)
    surplus = (guess == labels).double() - confidence
    per_bin = torch.zeros(bins, dtype=torch.float64).index_add(0, bins_of(confidence, bins), surplus)
    return (per_bin.abs().sum() / len(labels)).item()


def calibrated(combiner: Combiner, held_out: BranchOutputs) -> Tempered:
    """Return the combiner with the likeliest temperature on held-out rows; its most likely classes stay.

    The prior of its logarithm is normal, around 0 and as wide as 1: few rows, or such as are all right, say little of
    it, the more so as they chose the weights of some schemes. Among thousands it changes nothing.
    """
    log_probabilities_NK = combiner(held_out.log_probabilities).log()

    def loss(log_temperature: float) -> float:
        said = cross_entropy((log_probabilities_NK / np.exp(log_temperature)).log_softmax(1), held_out.labels)
        return said + log_temperature**2 / (2 * len(held_out.labels))

    found = scipy.optimize.minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return Tempered(combiner, float(np.exp(found.x)))
