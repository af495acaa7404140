"""A small network on what all branches say of a row: the head of a fused network, as a combiner.

Input: the outputs of S branches, (n, classes) log-probabilities or (n, classes + F) with features behind them. Output:
probabilities. It is stacking (Wolpert 1992) with a head that is fitted to training rows (`fusion`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectral_prep.errors import CorruptFileError
from spectral_train.ensemble.combiners import Weights, normalised
from spectral_train.run.fused import Candidate, Fusion, read_head
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.said import On

LEAST = -16.0
"""Log-probabilities below it say no more: a branch that is certain and wrong must not decide alone."""

Layer = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Head:
    """A combiner: standardise, (z − mean) · scale, then one linear layer or two with a ReLU between them.

    `columns` is the number of inputs from each branch; layers are (weight, bias) pairs.
    """

    on: On
    columns: tuple[int, ...]
    mean: Tensor
    scale: Tensor
    layers: tuple[Layer, ...]
    settings: Mapping[str, float]

    @property
    def weights(self) -> Weights:
        """(S,) each branch's share of the absolute weights of the first layer."""
        per_column = self.layers[0][0].abs().sum(0).double().numpy()
        return normalised(np.add.reduceat(per_column, np.cumsum([0, *self.columns[:-1]])))

    def __call__(self, log_probabilities: Sequence[Tensor]) -> Tensor:
        """Return the probabilities; with `features` the outputs have these behind the log-probabilities."""
        inputs = [
            said_of(values[:, -columns:], self.on)
            for values, columns in zip(log_probabilities, self.columns, strict=True)
        ]
        return self.scores(torch.cat(inputs, 1)).double().softmax(1)

    def scores(self, inputs_ND: Tensor) -> Tensor:
        """Return the logits (n, classes) of inputs as `said_of` gives them."""
        values = (inputs_ND - self.mean) * self.scale
        for weight, bias in self.layers[:-1]:
            values = torch.relu(torch.nn.functional.linear(values, weight, bias))
        return torch.nn.functional.linear(values, *self.layers[-1])

    def tensors(self) -> dict[str, Tensor]:
        """Return what is written of it."""
        named = {"mean": self.mean, "scale": self.scale}
        for number, (weight, bias) in enumerate(self.layers):
            named |= {f"{number}.weight": weight, f"{number}.bias": bias}
        return named

    @classmethod
    def read(cls, fusion: Fusion, paths: NetworkPaths, classes: int) -> Head:
        """Return the head that `tensors` gave; raise `CorruptFileError` if it is not that of the record."""
        tensors, head, inputs = read_head(paths), fusion.head, sum(fusion.columns)
        sizes = [inputs, *([head.hidden] if head.hidden else []), classes]
        expected: dict[str, tuple[int, ...]] = {"mean": (inputs,), "scale": (inputs,)}
        for number, (width, out) in enumerate(itertools.pairwise(sizes)):
            expected |= {f"{number}.weight": (out, width), f"{number}.bias": (out,)}
        got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if got != expected or not all(t.dtype == torch.float32 and t.isfinite().all() for t in tensors.values()):
            raise CorruptFileError("this is not the head of the record", where=paths.model, expected=expected, got=got)
        layers = tuple((tensors[f"{n}.weight"], tensors[f"{n}.bias"]) for n in range(len(sizes) - 1))
        return cls(fusion.on, fusion.columns, tensors["mean"], tensors["scale"], layers, settings_of(fusion.head))


def settings_of(head: Candidate) -> dict[str, float]:
    """Return what was chosen on held-out rows, for a reader."""
    return {"hidden": head.hidden, "decay": head.weight_decay}


def said_of(values: Tensor, on: On) -> Tensor:
    """Return what a head is given of a branch, float32: features as they are, log-probabilities of at least `LEAST`.

    These are rounded to float16, as a branch writes them for the fit: a head may magnify what is rounded away.
    """
    return values.half().float().clamp(min=LEAST) if on == "logits" else values.float()
