"""The outputs that an evaluation is of: those that a run holds, or those of views of its rows, and of a fused network.

Input: a run, its branches, and what was said of views if it was. Output: `Evaluated`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spectral_prep.errors import InputError, SpectralError
from spectral_prep.printable import quoted
from spectral_train.ensemble.calibration import calibrated
from spectral_train.ensemble.combination import FUSED, Combination, SchemeName
from spectral_train.ensemble.combiners import Combiner, Tempered
from spectral_train.ensemble.fused import FusedNetwork, find_fused, require_fused
from spectral_train.ensemble.schemes import weigh
from spectral_train.run.branches import (
    accuracy_on_measured,
    fitted_and_measured,
    fitted_part,
    measured_accuracy,
    measured_part,
    measured_rows,
    read_baseline,
)
from spectral_train.run.metrics import Log
from spectral_train.run.outputs import HELD_OUT, BranchOutputs, Outputs
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkRecord


@dataclass(frozen=True)
class Viewed:
    """What the branches and the baseline of a run say of views of the rows that the ensemble is measured on."""

    branches: BranchOutputs
    baseline: Outputs | None


class Evaluated:
    """The outputs of a run's branches that weights are fitted to, and those that the ensemble is measured on.

    They are as `run.branches.fitted_and_measured` has them; where views were said, the measured ones are of these, and
    weights are fitted to rows as they are: that is the network that `predict` and `export` have. `fused` is the fused
    network, None where there is none. Without a test split its head was chosen on the rows that it is measured on, too.

    Raises
    ------
    InputError
        If `fused` is asked for by name and there is none, or its head takes features, which views do not have.
    PlanMismatchError, CorruptFileError
        As `fused.require_fused` and `run.branches.fitted_and_measured` do. A head that cannot be used and was not asked
        for is left out; `log` takes the reason.
    """

    def __init__(
        self,
        paths: RunPaths,
        records: Sequence[NetworkRecord],
        schemes: Sequence[SchemeName],
        viewed: Viewed | None,
        log: Log,
    ) -> None:
        self._paths, self._records, self._viewed = paths, records, viewed
        self.fitted, self.measured = fitted_and_measured(paths, records)
        if viewed:
            self.measured = measured_part(records[0], viewed.branches)
        self.fused: FusedNetwork | None = None
        if FUSED in schemes:
            self.fused = self._usable(require_fused(paths, records))
        elif not schemes:
            try:
                self.fused = self._usable(find_fused(paths, records))
            except SpectralError as error:
                log(f"the fused network is left out: {error}")

    def decided(self, way: Combination) -> tuple[Combiner, Tempered]:
        """Return what a scheme makes of the rows that it is fitted to, and the same with its temperature."""
        if way.scheme != FUSED or self.fused is None:
            combiner = weigh(self.fitted, way)
            return combiner, calibrated(combiner, self.fitted)
        spoken = self.fused.spoken
        tempered = calibrated(spoken, fitted_part(self._records[0], self.fused.outputs(HELD_OUT)))
        if self._viewed is None:
            return spoken, tempered
        return self.fused.head, Tempered(self.fused.head, tempered.temperature)

    def given(self, scheme: SchemeName) -> BranchOutputs:
        """Return what the combiner of a scheme is given of measured rows: of a fused network what is written of it."""
        if scheme != FUSED or self.fused is None or self._viewed:
            return self.measured
        return measured_part(self._records[0], self.fused.outputs(measured_rows(self._records[0])))

    @property
    def baseline_accuracy(self) -> float | None:
        """Of the conventional network on the measured rows, None where there is none; raises as `read_baseline`."""
        if self._viewed:
            said = self._viewed.baseline
            return None if said is None else accuracy_on_measured(self._records[0], said)
        record = read_baseline(self._paths, self._records[0])
        return None if record is None else measured_accuracy(record, self._paths.baseline)

    def _usable(self, fused: FusedNetwork | None) -> FusedNetwork | None:
        """Return it unless it would need features of views."""
        if self._viewed and fused and fused.takes_features:
            fuse = f"spectral-ensemble fuse {quoted(self._paths.root)} --on logits"
            raise InputError(
                "a head on features is not evaluated on views of stored rows: they have log-probabilities alone",
                expected="a head on logits",
                run=f"{fuse}, or the same command with --source in the place of --data",
            )
        return fused
