"""How the head of a fused network is fitted and chosen.

1. Heads are fitted to training rows: linear and with one hidden layer, each at several weight decays, AdamW, a cosine
   schedule, the same number of epochs each.
2. The one of the highest accuracy on held-out rows is kept, of equal ones that of the lowest loss there. `learned`,
   which was fitted to those very rows, is among them: a head has to be better than it.

Branches are not dropped while a head is fitted: it made heads worse. A lost branch takes a head of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectral_train.ensemble.head import Head, said_of
from spectral_train.run.fused import Candidate
from spectral_train.run.fusion_inputs import FusionInputs
from spectral_train.run.outputs import accuracy, cross_entropy
from spectral_train.run.said import On
from spectral_train.seeds import derive_seed

DECAYS = (0.0, 0.01, 0.1, 1.0)
LARGEST_BATCH = 512
STEPS_AN_EPOCH = 32
"""At least, where there are so many rows."""

RATE = 2e-3
SAMPLE = 1 << 14
"""Rows that the inputs' mean and deviation are taken from."""

SCORED_AT_ONCE = 1 << 13
JOINED_BYTES = 1 << 30
"""Inputs of fewer bytes are joined in memory; others are gathered from each branch's file, batch by batch."""


@dataclass(frozen=True)
class Fitted:
    """How heads are fitted: neurons of the hidden layer, passes over the training rows, the seed of order and start."""

    hidden: int = 256
    epochs: int = 20
    seed: int = 0


class Words:
    """What S branches say of the rows of one kind: stored values that become inputs of a head batch by batch."""

    def __init__(self, branches: Sequence[FusionInputs], rows: str, on: On) -> None:
        parts = [branch.rows[rows].values for branch in branches]
        self.labels = branches[0].rows[rows].labels.long()
        self.columns = tuple(part.shape[1] for part in parts)
        self.on = on
        self._scale = torch.cat([branch.scale for branch in branches])
        small = sum(part.nbytes for part in parts) <= JOINED_BYTES
        self._parts = [torch.cat(parts, 1)] if small else parts

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, index: Tensor) -> Tensor:
        """Return the inputs of these rows, (n, D) float32."""
        stored = [part[index] for part in self._parts]
        return said_of(torch.cat(stored, 1).float() * self._scale, self.on)

    def batches(self) -> Iterator[Tensor]:
        """Yield the inputs of all rows in order."""
        for start in range(0, len(self), SCORED_AT_ONCE):
            yield self.at(torch.arange(start, min(start + SCORED_AT_ONCE, len(self))))


def candidates(
    training: Words, held_out: Words, classes: int, how: Fitted, log: Callable[[str], None]
) -> Iterator[tuple[Candidate, Head]]:
    """Yield every head that was fitted, and what it came to on held-out rows."""
    mean, scale = _standard(training)
    for hidden in (0, how.hidden):
        for decay in DECAYS:
            layers = _fit(training, (mean, scale), (hidden, classes), decay, how)
            head = Head(training.on, training.columns, mean, scale, layers, {"hidden": hidden, "decay": decay})
            said = log_probabilities(head, held_out)
            found = Candidate(
                f"hidden-{hidden}" if hidden else "linear",
                hidden,
                decay,
                cross_entropy(said, held_out.labels),
                accuracy(said, held_out.labels),
            )
            log(line(found))
            yield found, head


def log_probabilities(head: Head, words: Words) -> Tensor:
    """Return what a head makes of rows, (n, classes) float32; no rows are (0, 0)."""
    said = [head.scores(inputs).double().log_softmax(1).float() for inputs in words.batches()]
    return torch.cat(said) if said else torch.empty(0, 0)


def merit(candidate: Candidate) -> tuple[float, float]:
    """Return what candidates are compared by, the larger the better."""
    return candidate.held_out_accuracy, -candidate.held_out_loss


def line(candidate: Candidate) -> str:
    """Return a line of progress.

    >>> line(Candidate("linear", 0, 0.1, 0.25, 0.91))
    'linear, decay 0.1: held-out loss 0.2500, held-out accuracy 91.00 %'
    """
    decay = "" if candidate.name == "learned" else f", decay {candidate.weight_decay:g}"
    return (
        f"{candidate.name}{decay}: held-out loss {candidate.held_out_loss:.4f}, "
        f"held-out accuracy {100 * candidate.held_out_accuracy:.2f} %"
    )


def _standard(words: Words) -> tuple[Tensor, Tensor]:
    some = torch.linspace(0, len(words) - 1, min(SAMPLE, len(words))).long()
    inputs = words.at(some)
    deviation = inputs.std(0, correction=0)
    return inputs.mean(0), torch.where(deviation > 0, 1 / deviation, 1.0)


def _fit(
    words: Words, standard: tuple[Tensor, Tensor], sizes: tuple[int, int], decay: float, how: Fitted
) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the layers of one head; `sizes` are the hidden neurons (0: none) and the classes."""
    random = torch.Generator().manual_seed(derive_seed(how.seed, "fusion", *sizes, decay))
    mean, scale = standard
    layers = [
        (_start(out, width, random), torch.zeros(out, requires_grad=True)) for width, out in _widths(len(mean), *sizes)
    ]
    head = Head(words.on, words.columns, mean, scale, tuple(layers), {})
    optimizer = torch.optim.AdamW([each for layer in layers for each in layer], RATE, weight_decay=decay)
    batch = max(1, min(LARGEST_BATCH, len(words) // STEPS_AN_EPOCH))
    steps = how.epochs * math.ceil(len(words) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    for _ in range(how.epochs):
        for index in torch.split(torch.randperm(len(words), generator=random), batch):
            loss = functional.cross_entropy(head.scores(words.at(index)), words.labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return tuple((weight.detach(), bias.detach()) for weight, bias in layers)


def _widths(inputs: int, hidden: int, classes: int) -> list[tuple[int, int]]:
    return [(inputs, hidden), (hidden, classes)] if hidden else [(inputs, classes)]


def _start(outputs: int, inputs: int, random: torch.Generator) -> Tensor:
    weight = torch.empty(outputs, inputs)
    nn.init.normal_(weight, std=1 / math.sqrt(inputs), generator=random)
    return weight.requires_grad_(True)
