"""What a trained network says about held-out and test rows: all that the ensemble needs of it.

Input: log-probabilities with the ids and labels of their rows. Output: `outputs.safetensors`, rows ascending by
id, so that the rows of any two branches match one to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from spectral_prep.places.url import Place
from spectral_train.run.tensor_file import readable

HELD_OUT = "held_out"
TEST = "test"
LEAST_LOG_PROBABILITY = -100.0
MOST_LOG_PROBABILITY = 1e-3
"""Above 0 by what float32 rounds."""

LABELS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""Whole numbers that torch computes with."""


@dataclass(frozen=True)
class Outputs:
    """`log_probabilities` (n, classes) float32, `ids` (n,) int32 ascending, `labels` (n,) integer."""

    log_probabilities: Tensor
    ids: npt.NDArray[np.int32]
    labels: Tensor

    def fault(self, rows: int, classes: int) -> str | None:
        """Return why these cannot be the outputs on so many rows of so many classes, None if they can."""
        values, labels = self.log_probabilities, self.labels
        shape = (rows, classes if rows else 0)
        if values.shape != shape or values.dtype != torch.float32:
            return f"log-probabilities are {values.dtype} {tuple(values.shape)}, expected float32 {shape}"
        if self.ids.shape != (rows,) or (np.diff(self.ids) < 0).any():
            return f"row ids are not {rows} ascending numbers"
        if labels.shape != (rows,):
            return f"labels are not {rows} numbers"
        if rows and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            return f"labels {int(labels.min())} to {int(labels.max())}, expected 0 to {classes - 1}"
        if not (values <= MOST_LOG_PROBABILITY).all():  # which is false for what is no number, too
            return "a log-probability is above 0 or not a number"
        if rows and not values.amax(1).isfinite().all():
            return "a row of which no class is possible"
        return None

    @property
    def accuracy(self) -> float:
        """Fraction of rows whose most likely class is the label."""
        return accuracy(self.log_probabilities, self.labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats: L_q of the long paper, eq. (1)."""
        return cross_entropy(self.log_probabilities, self.labels)


@dataclass(frozen=True)
class BranchOutputs:
    """Outputs of S branches on the same rows: `log_probabilities`, S tensors (n, classes), and `labels` (n,).

    Weights may depend on those of held-out rows, never on those of test rows.
    """

    log_probabilities: Sequence[Tensor]
    labels: Tensor

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """(S,) mean cross-entropy L_q of each branch in nats, eq. (1)."""
        return np.array([cross_entropy(values, self.labels) for values in self.log_probabilities])

    def of_branches(self, places: Sequence[int]) -> BranchOutputs:
        """Return those of some branches, without a copy."""
        return BranchOutputs([self.log_probabilities[place] for place in places], self.labels)

    def every_second(self, first: int) -> BranchOutputs:
        """Return rows `first`, `first` + 2, …, without a copy: of both halves no row is in the other."""
        return BranchOutputs([values[first::2] for values in self.log_probabilities], self.labels[first::2])


def to_bytes(held_out: Outputs, test: Outputs) -> bytes:
    """Return the content of `outputs.safetensors`."""
    tensors: dict[str, Tensor] = {}
    for name, rows in ((HELD_OUT, held_out), (TEST, test)):
        tensors[f"{name}.log_probabilities"] = rows.log_probabilities.contiguous()
        tensors[f"{name}.ids"] = torch.from_numpy(rows.ids)
        tensors[f"{name}.labels"] = rows.labels.contiguous()
    return safetensors.torch.save(tensors)


def read_outputs(path: Place, rows: str) -> Outputs:
    """Return the outputs on `held_out` or `test` rows; raise `CorruptFileError` if it cannot be read.

    The tensors are maps of the file: what is read of them can leave memory again.
    """
    what, run = "the outputs of a branch cannot be read", f"delete {path.parent} and train it again"
    with readable(path, what, run) as here, safetensors.safe_open(here, "pt") as file:
        return Outputs(file.get_tensor(f"{rows}.log_probabilities"), *ids_and_labels(file, rows))


def ids_and_labels(file: safetensors.safe_open, rows: str) -> tuple[npt.NDArray[np.int32], Tensor]:
    """Return ids and labels of rows, as maps of the file; raise `SafetensorError` if they are of other types."""
    ids, labels = (file.get_tensor(f"{rows}.{name}") for name in ("ids", "labels"))  # type: ignore[no-untyped-call]
    if ids.dtype != torch.int32:
        raise safetensors.SafetensorError(f"ids of {rows} rows are {ids.dtype}, expected int32")
    if labels.dtype not in LABELS:
        raise safetensors.SafetensorError(f"labels of {rows} rows are {labels.dtype}, expected whole numbers")
    return ids.numpy(), labels


def bounded(log_probabilities: Tensor) -> Tensor:
    """Return them in float64 and finite: a branch that is certain and wrong must not decide alone."""
    return log_probabilities.double().clamp(min=LEAST_LOG_PROBABILITY)


def accuracy(scores_NK: Tensor, labels: Tensor) -> float:
    """Return the fraction of rows whose highest score is at the label."""
    return (scores_NK.argmax(1) == labels).double().mean().item()


def cross_entropy(log_probabilities_NK: Tensor, labels: Tensor) -> float:
    """Return the mean over rows of −log P(label), in nats; a row counts at most 100, as in torch's `BCELoss`."""
    return -bounded(log_probabilities_NK.gather(1, labels.to(torch.int64)[:, None])).mean().item()
