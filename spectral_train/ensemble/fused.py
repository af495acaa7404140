"""The fused network of a run, as `fuse` left it: its head, and what it says of held-out and test rows.

Input: the folder of a run and the branches that take part. Output: a `FusedNetwork`, the scheme `fused`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from spectral_prep.errors import InputError
from spectral_prep.printable import quoted
from spectral_train.ensemble.calibration import calibrated
from spectral_train.ensemble.combiners import Combiner, Tempered, Weights
from spectral_train.ensemble.fitted import learned
from spectral_train.ensemble.head import Head
from spectral_train.run.branches import missing, outputs_of
from spectral_train.run.fused import LEARNED, Fusion, fused_outputs, read_fused
from spectral_train.run.outputs import HELD_OUT, BranchOutputs
from spectral_train.run.paths import NetworkPaths, RunPaths, without_options
from spectral_train.run.record import NetworkRecord


@dataclass(frozen=True)
class Spoken:
    """A combiner of one network that has spoken already: what it says is what is given; weights are the branches'."""

    weights: Weights
    settings: Mapping[str, float]

    def __call__(self, log_probabilities: Sequence[Tensor]) -> Tensor:
        """Return the probabilities."""
        return log_probabilities[0].double().softmax(1)


@dataclass(frozen=True)
class FusedNetwork:
    """What `fuse` kept: a head on all branches, or `learned`."""

    fusion: Fusion
    head: Combiner
    paths: NetworkPaths
    classes: int

    @property
    def takes_features(self) -> bool:
        """Whether the head takes features behind the log-probabilities."""
        return isinstance(self.head, Head) and self.head.on == "features"

    @property
    def spoken(self) -> Spoken:
        """What turns `outputs` into probabilities."""
        return Spoken(self.head.weights, self.head.settings)

    @property
    def calibrated(self) -> Tempered:
        """The head with the temperature that fits held-out rows best."""
        return Tempered(self.head, calibrated(self.spoken, self.outputs(HELD_OUT)).temperature)

    def outputs(self, rows: str) -> BranchOutputs:
        """Return what the whole network says of `held_out` or `test` rows, as the outputs of one branch."""
        outputs = fused_outputs(self.fusion, self.paths, rows, self.classes)
        return BranchOutputs([outputs.log_probabilities], outputs.labels)


def find_fused(run: RunPaths, records: Sequence[NetworkRecord]) -> FusedNetwork | None:
    """Return the fused network of exactly these branches, None where there is none.

    Raises
    ------
    PlanMismatchError, CorruptFileError
        As `run.fused.read_fused` and `Head.read` do.
    """
    plan = records[0].plan
    paths = run.fused(missing(records))
    fusion = read_fused(paths, records, _command(run, records))
    if fusion is None:
        return None
    classes = len(plan.classes)
    kept_learned = fusion.head.name == LEARNED
    head: Combiner = learned(outputs_of(run, records, HELD_OUT)) if kept_learned else Head.read(fusion, paths, classes)
    return FusedNetwork(fusion, head, paths, classes)


def require_fused(run: RunPaths, records: Sequence[NetworkRecord]) -> FusedNetwork:
    """Return the fused network of exactly these branches; raise `InputError` where there is none, and as above."""
    if (found := find_fused(run, records)) is None:
        raise InputError(
            "no fused network of these branches: a head is fitted to the branches that take part",
            where=run.fused(missing(records)).root,
            run=_command(run, records),
        )
    return found


def _command(run: RunPaths, records: Sequence[NetworkRecord]) -> str:
    return f"spectral-ensemble fuse {quoted(run.root)}{without_options(missing(records))}"
