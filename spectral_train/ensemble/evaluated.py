"""The outputs that an evaluation is of: those that a run holds, or those of views of its rows, and of a fused network.

Input: a run, its branches, and what was said of views if it was. Output: `Evaluated`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spectral_prep.errors import InputError
from spectral_train.ensemble.calibration import calibrated
from spectral_train.ensemble.combination import FUSED, Combination, SchemeName
from spectral_train.ensemble.combiners import Combiner, Tempered
from spectral_train.ensemble.fused import FusedNetwork, find_fused, require_fused
from spectral_train.ensemble.schemes import weigh
from spectral_train.run.branches import fitted_and_measured, has_test, measured_accuracy, read_baseline
from spectral_train.run.outputs import HELD_OUT, TEST, BranchOutputs, Outputs, accuracy
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkRecord


@dataclass(frozen=True)
class Viewed:
    """What the branches and the baseline of a run say of views of `held_out` and `test` rows."""

    branches: Mapping[str, BranchOutputs]
    baseline: Mapping[str, Outputs] | None


class Evaluated:
    """The outputs of a run's branches that weights are fitted to, and those that the ensemble is measured on.

    They are as `run.branches.fitted_and_measured` has them, of views where these were said. `fused` is the fused
    network, None where there is none. Without a test split its head was chosen on the rows that it is measured on, too.

    Raises
    ------
    InputError
        If `fused` is asked for by name and there is none, or its head takes features, which views do not have.
    PlanMismatchError, CorruptFileError
        As `fused.find_fused` and `run.branches.fitted_and_measured` do.
    """

    def __init__(
        self, paths: RunPaths, records: Sequence[NetworkRecord], schemes: Sequence[SchemeName], viewed: Viewed | None
    ) -> None:
        self._paths, self._records, self._viewed = paths, records, viewed
        self._has_test = has_test(records[0])
        asked = FUSED in schemes
        self.fused = require_fused(paths, records) if asked else find_fused(paths, records)
        if viewed and self.fused and self.fused.takes_features:
            if asked:
                raise InputError(
                    "a head on features is not evaluated on views of stored rows: they have log-probabilities alone",
                    expected="a head on logits",
                    run="spectral-ensemble fuse --on logits, or the same command with --source",
                )
            self.fused = None
        self.fitted, self.measured = self._both(viewed.branches) if viewed else fitted_and_measured(paths, records)

    def decided(self, way: Combination) -> tuple[Combiner, Tempered]:
        """Return what a scheme makes of the rows that it is fitted to, and the same with its temperature."""
        if (fused := self._speaking(way.scheme)) is not None:
            return fused.spoken, calibrated(fused.spoken, self._of_fused(fused)[0])
        combiner = self.fused.head if way.scheme == FUSED and self.fused else weigh(self.fitted, way)
        return combiner, calibrated(combiner, self.fitted)

    def given(self, scheme: SchemeName) -> BranchOutputs:
        """Return what the combiner of a scheme is given of measured rows: of a fused network what is written of it."""
        fused = self._speaking(scheme)
        return self.measured if fused is None else self._of_fused(fused)[1]

    @property
    def baseline_accuracy(self) -> float | None:
        """Of the conventional network on the measured rows, None where there is none; raises as `read_baseline`."""
        if self._viewed is None:
            record = read_baseline(self._paths, self._records[0])
            return None if record is None else measured_accuracy(record, self._paths.baseline)
        if self._viewed.baseline is None:
            return None
        said = {
            name: BranchOutputs([rows.log_probabilities], rows.labels) for name, rows in self._viewed.baseline.items()
        }
        measured = self._both(said)[1]
        return accuracy(measured.log_probabilities[0], measured.labels)

    def _of_fused(self, fused: FusedNetwork) -> tuple[BranchOutputs, BranchOutputs]:
        return self._both({name: fused.outputs(name) for name in (HELD_OUT, TEST)})

    def _both(self, said: Mapping[str, BranchOutputs]) -> tuple[BranchOutputs, BranchOutputs]:
        """Return the rows to fit to and to measure on, as `fitted_and_measured` does."""
        if self._has_test:
            return said[HELD_OUT], said[TEST]
        return said[HELD_OUT].every_second(0), said[HELD_OUT].every_second(1)

    def _speaking(self, scheme: SchemeName) -> FusedNetwork | None:
        """Return the fused network where its own outputs are what is evaluated."""
        return self.fused if scheme == FUSED and not self._viewed else None
