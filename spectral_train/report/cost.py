"""What a run costs beside the conventional network: size, computation and training time (long paper, section 4.1).

Input: the records of the branches and of the baseline. Output: the ratios of the long paper's tables. Times are
those of the records: seconds of every epoch, on whatever device and beside whatever else each network trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from spectral_train.run.record import NetworkPlan, NetworkRecord
from spectral_train.run.weights import shape_network


@dataclass(frozen=True)
class Cost:
    """Of one network: `size` in bytes of weights and buffers, `flops` of one image forward, `seconds` of training."""

    size: int
    flops: int
    seconds: float

    @classmethod
    def of(cls, record: NetworkRecord) -> Cost:
        """Return that of a finished network."""
        return cls(record.size_bytes, flops(record.plan), record.seconds)


@dataclass(frozen=True)
class Costs:
    """Of the S branches, by shard, and of the conventional network, None where it was not trained.

    `best` is the place of the branch of lowest held-out loss, the one that select-the-best keeps.
    """

    branches: tuple[Cost, ...]
    baseline: Cost | None
    best: int

    @classmethod
    def of(cls, records: Sequence[NetworkRecord], baseline: NetworkRecord | None) -> Costs:
        """Return those of a run."""
        losses = [record.held_out_loss for record in records]
        return cls(
            tuple(map(Cost.of, records)), None if baseline is None else Cost.of(baseline), losses.index(min(losses))
        )

    @property
    def size(self) -> int:
        """Bytes of all branches."""
        return sum(cost.size for cost in self.branches)

    @property
    def flops(self) -> int:
        """Of one image through all branches."""
        return sum(cost.flops for cost in self.branches)

    @property
    def compression(self) -> tuple[float, float] | None:
        """Size of the conventional network over that of all branches, and over that of the best."""
        return None if self.baseline is None else _over(self.baseline.size, self.size, self.branches[self.best].size)

    @property
    def computation(self) -> tuple[float, float] | None:
        """The same of the computation."""
        return None if self.baseline is None else _over(self.baseline.flops, self.flops, self.branches[self.best].flops)

    @property
    def slowest(self) -> float:
        """Seconds of the branch that trained longest."""
        return max(cost.seconds for cost in self.branches)

    @property
    def speedup(self) -> float | None:
        """Parallel speed-up: training time of the conventional network over that of the slowest branch."""
        return None if self.baseline is None else self.baseline.seconds / self.slowest

    @property
    def total_speedup(self) -> float | None:
        """The same with the branches one after the other."""
        return None if self.baseline is None else self.baseline.seconds / sum(cost.seconds for cost in self.branches)


def flops(plan: NetworkPlan) -> int:
    """Return the floating-point operations of one image forward: two a multiply-add, matrix products and convolutions.

    Nothing is computed: the network lies on torch's meta device, without memory.
    """
    model = shape_network(plan)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, *plan.input_shape, device="meta"))
    return int(counter.get_total_flops())


def widest_layer(plan: NetworkPlan) -> int:
    """Return r of the long paper's Table 1: the largest number of neurons of a layer, the classes included."""
    biases = (each for name, each in shape_network(plan).named_parameters() if name.endswith("bias"))
    return max(bias.shape[-1] for bias in biases)


def _over(baseline: float, branches: float, best: float) -> tuple[float, float]:
    return baseline / branches, baseline / best
