"""How good the ensemble of a run is, on the test rows, beside its branches and the conventional network.

Input: the folder of a run. Output: an `Evaluation`, and its table in the form of the poster's Table 1. Weights
come from held-out rows; test rows are looked at once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from spectral_prep.console.tables import aligned
from spectral_prep.places.url import Place
from spectral_train.ensemble.calibration import Quality
from spectral_train.ensemble.combination import (
    DEFAULT_COMBINATION,
    DEFAULT_SCHEME,
    DEFAULT_SPACE,
    FUSED,
    Combination,
    SchemeName,
    schemes_in,
)
from spectral_train.ensemble.evaluated import Evaluated, Viewed
from spectral_train.ensemble.schemes import weigh
from spectral_train.run.branches import has_test, missing, read_branches, shard_of
from spectral_train.run.metrics import Log, silent
from spectral_train.run.outputs import BranchOutputs, accuracy
from spectral_train.run.paths import RunPaths
from spectral_train.run.said import On

NO_TEST = (
    "No test split: measured on {rows:,} training rows that were held out, every second one; weights are fitted to the "
    "others."
)


@dataclass(frozen=True)
class BranchResult:
    """One branch: accuracy on test rows (0 to 1), and the loss on held-out rows (nats) that its weight depends on."""

    shard: int
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Calibration:
    """What a temperature fitted to held-out rows does on test rows: before, after, and the temperature.

    `learned` and `stacked` were fitted to the same rows before, so that theirs is about 1.
    """

    temperature: float
    before: Quality
    after: Quality


@dataclass(frozen=True)
class Ablation:
    """Accuracy on test rows of the ensemble by `scheme` with fewer branches, its weights fitted anew to held-out rows.

    `growing`: with the 1, 2 … S branches of lowest held-out loss, each as (the shard that was added, accuracy).
    `lost`: without each single shard: what a lost node costs; empty where there is one branch alone.
    """

    scheme: str
    growing: tuple[tuple[int, float], ...]
    lost: Mapping[int, float]


@dataclass(frozen=True)
class Evaluation:
    """All that `spectral-ensemble evaluate` says. Accuracies are fractions of the test rows.

    `best_accuracy` is the highest test accuracy of any branch, the poster's "Highest Acc."; the scheme `best` instead
    picks by held-out loss, since which branch is highest on the test set cannot be known when a network is built.
    `settings` holds what was chosen on held-out rows; `missing` the shards that take no part; `fused_on` what the head
    of the scheme `fused` sees of a branch, None without one. Where the data set has no
    test split, `measured_on` is "held_out": then the half of the held-out rows that no weight was fitted to stands for
    the test rows in all that is said here.
    """

    dataset: str
    q: int
    branches: tuple[BranchResult, ...]
    ensemble: Mapping[SchemeName, float]
    baseline: float | None
    weights: Mapping[SchemeName, tuple[float, ...]]
    settings: Mapping[SchemeName, Mapping[str, float]]
    measured_on: Literal["test", "held_out"]
    space: str
    rows: int
    missing: tuple[int, ...]
    calibration: Mapping[SchemeName, Calibration]
    fused_on: On | None = None
    ablation: Ablation | None = None

    @property
    def main(self) -> SchemeName:
        """The scheme to quote: `geometric`, the long paper's best, or the first that was asked for."""
        return DEFAULT_SCHEME if DEFAULT_SCHEME in self.ensemble else next(iter(self.ensemble))

    @property
    def mean_accuracy(self) -> float:
        """The poster's "Mean Acc."."""
        return sum(branch.accuracy for branch in self.branches) / len(self.branches)

    @property
    def best_accuracy(self) -> float:
        """The poster's "Highest Acc."."""
        return max(branch.accuracy for branch in self.branches)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "branches": [asdict(branch) for branch in self.branches],
            "mean_accuracy": self.mean_accuracy,
            "best_accuracy": self.best_accuracy,
            "ensemble": dict(self.ensemble),
            "baseline": self.baseline,
            "weights": {scheme: list(weights) for scheme, weights in self.weights.items()},
            "measured_on": self.measured_on,
            "settings": {scheme: dict(settings) for scheme, settings in self.settings.items()},
            "space": self.space,
            "rows": self.rows,
            "missing": list(self.missing),
            "fused_on": self.fused_on,
            "calibration": {scheme: asdict(values) for scheme, values in self.calibration.items()},
            "ablation": None if self.ablation is None else asdict(self.ablation),
        }


def evaluate(
    run: Place,
    schemes: Sequence[SchemeName] = (),
    combination: Combination = DEFAULT_COMBINATION,
    *,
    ablate: bool = False,
    viewed: Viewed | None = None,
    log: Log = silent,
) -> Evaluation:
    """Evaluate the ensemble of a run; it needs nothing but the run.

    The branches' outputs are maps of their files; whatever S, memory is taken for three or four (n, classes) float64
    tensors and what `learned` fits (0.8 GiB at most).

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from spectral_prep.conversion.convert import convert
    >>> from spectral_prep.conversion.request import Request
    >>> from spectral_train.device import Resources
    >>> from spectral_train.recipe.recipes import named
    >>> from spectral_train.training.branch import train_branches
    >>> from spectral_train.training.request import TrainingRequest
    >>> folder = TemporaryDirectory()
    >>> data = convert(Request("digits", "4"), Path(), Path(folder.name) / "digits-q4").root
    >>> run = Path(folder.name) / "run"
    >>> asked = TrainingRequest(data, named("default", epochs=1), run, resources=Resources("cpu", workers=1))
    >>> len(train_branches(asked))
    4

    Every scheme, and the one to quote:

    >>> evaluation = evaluate(run)
    >>> len(evaluation.branches), len(evaluation.ensemble), evaluation.main
    (4, 7, 'geometric')

    One scheme by the long paper's eq. (2) with a weight of one's own; and without a node that was lost:

    >>> evaluate(run, ["geometric"], Combination(space="probabilities", p=0.5)).settings
    {'geometric': {'p': 0.5}}
    >>> evaluation = evaluate(run, ["average", "loss"], Combination(without=(3,)), ablate=True)
    >>> evaluation.missing, len(evaluation.ablation.lost)
    ((3,), 3)
    >>> folder.cleanup()

    Parameters
    ----------
    run
        The folder with `branch-00/` ….
    schemes
        Names of `combination.SchemeName`; none means all that work in the space, `fused` where the run holds a head of
        these branches.
    combination
        Of which branches, and how: all but its scheme and its temperature, since every one of `schemes` is evaluated
        with and without one.
    ablate
        Measure the `Ablation` too, of `Evaluation.main`; it fits weights 2·S times.
    viewed
        Outputs to measure instead of those that the run holds: of views of each image.
    log
        Takes a line where a fused network cannot be used and was not asked for.

    Raises
    ------
    InputError, PlanMismatchError, CorruptFileError
        As `run.branches.read_branches`, `run.branches.fitted_and_measured`, `schemes.weigh` and `Evaluated` do.
    """
    paths = RunPaths(run)
    space = combination.space
    records = read_branches(paths, combination.without, combination.allow_missing)
    evaluated = Evaluated(paths, records, schemes, viewed, log)
    usual: list[SchemeName] = [*schemes_in(space), *([FUSED] if evaluated.fused and space == DEFAULT_SPACE else [])]
    ways = {scheme: replace(combination, scheme=scheme) for scheme in schemes or usual}
    plan, shards = records[0].plan, tuple(map(shard_of, records))
    held_out, test = evaluated.fitted, evaluated.measured
    decided = {scheme: evaluated.decided(way) for scheme, way in ways.items()}
    calibration = {}
    for scheme, (combiner, tempered) in decided.items():
        said = evaluated.given(scheme).log_probabilities
        calibration[scheme] = Calibration(
            tempered.temperature,
            Quality.of(combiner(said), test.labels),
            Quality.of(tempered(said), test.labels),
        )
    evaluation = Evaluation(
        dataset=plan.dataset,
        q=plan.spec.q,
        branches=tuple(
            BranchResult(shard, accuracy(values, test.labels), loss)
            for shard, values, loss in zip(shards, test.log_probabilities, held_out.losses.tolist(), strict=True)
        ),
        ensemble={scheme: values.before.accuracy for scheme, values in calibration.items()},
        baseline=evaluated.baseline_accuracy,
        weights={scheme: tuple(combiner.weights.tolist()) for scheme, (combiner, _) in decided.items()},
        settings={scheme: combiner.settings for scheme, (combiner, _) in decided.items()},
        measured_on="test" if has_test(records[0]) else "held_out",
        space=space,
        rows=len(test.labels),
        missing=tuple(missing(records)),
        fused_on=evaluated.fused.fusion.on if evaluated.fused else None,
        calibration=calibration,
    )
    if not ablate:
        return evaluation
    fewer = replace(ways[evaluation.main], k=None)  # k counts branches: with fewer of them it is chosen again
    return replace(evaluation, ablation=_ablation(fewer, shards, held_out, test))


def _ablation(
    combination: Combination, shards: Sequence[int], held_out: BranchOutputs, test: BranchOutputs
) -> Ablation:
    def accuracy_of(places: Sequence[int]) -> float:
        combiner = weigh(held_out.of_branches(places), combination)
        return accuracy(combiner(test.of_branches(places).log_probabilities), test.labels)

    by_loss: list[int] = np.argsort(held_out.losses, kind="stable").tolist()
    everyone = range(len(shards))
    return Ablation(
        combination.scheme,
        tuple((shards[place], accuracy_of(by_loss[: count + 1])) for count, place in enumerate(by_loss)),
        {shards[lost]: accuracy_of([place for place in everyone if place != lost]) for lost in everyone}
        if len(shards) > 1
        else {},
    )


def table(evaluation: Evaluation, width: int | None = None) -> str:
    """Return the poster's Table 1 for this run, then a line a branch and a line a scheme, then the ablation.

    "Ens. Acc." is that of `geometric`, the long paper's best scheme, or of the first scheme that was asked for. Tables
    that are wider than `width` are stacked.
    """
    name = f"{evaluation.dataset} (Q = {evaluation.q})"
    heads = ["Data set", "Mean Acc.", "Highest Acc.", "Ens. Acc.", "Baseline"]
    cells = [
        name,
        percent(evaluation.mean_accuracy),
        percent(evaluation.best_accuracy),
        percent(evaluation.ensemble[evaluation.main]),
        "–" if evaluation.baseline is None else percent(evaluation.baseline),
    ]
    branches = [[str(branch.shard), percent(branch.accuracy), f"{branch.loss:.4f}"] for branch in evaluation.branches]
    measured = _measured(evaluation)
    tables = [[heads, cells], [["Branch", measured, "Held-out loss"], *branches], _scheme_rows(evaluation)]
    marked = [NO_TEST.format(rows=evaluation.rows)] if evaluation.measured_on == "held_out" else []
    lost = [f"Without: {', '.join(map(str, evaluation.missing))}"] if evaluation.missing else []
    tables += _ablation_rows(evaluation)
    return "\n\n".join([*marked, *lost, *(aligned(rows, width) for rows in tables)])


def settings_text(settings: Mapping[str, float]) -> str:
    """Return what a scheme chose, for a reader.

    >>> settings_text({"p": 0.6})
    ' (p = 0.6)'
    """
    return f" ({', '.join(f'{name} = {value:.3g}' for name, value in settings.items())})" if settings else ""


def percent(fraction: float) -> str:
    """Return a fraction as the papers print it.

    >>> percent(0.98364)
    '98.36 %'
    """
    return f"{100 * fraction:.2f} %"


def _scheme_rows(evaluation: Evaluation) -> list[list[str]]:
    heads = [f"Ensemble of {evaluation.space}", _measured(evaluation), "Loss", "ECE", "at T", "Loss", "ECE", "Weights"]
    return [
        heads,
        *(
            [
                _named(evaluation, scheme) + settings_text(evaluation.settings[scheme]),
                percent(values.before.accuracy),
                f"{values.before.loss:.4f}",
                percent(values.before.ece),
                f"{values.temperature:.2f}",
                f"{values.after.loss:.4f}",
                percent(values.after.ece),
                " ".join(f"{weight:.3f}" for weight in evaluation.weights[scheme]),
            ]
            for scheme, values in evaluation.calibration.items()
        ),
    ]


def _named(evaluation: Evaluation, scheme: SchemeName) -> str:
    return f"{scheme} on {evaluation.fused_on}" if scheme == FUSED else scheme


def _measured(evaluation: Evaluation) -> str:
    return "Test acc." if evaluation.measured_on == "test" else "Held-out acc."


def _ablation_rows(evaluation: Evaluation) -> list[list[list[str]]]:
    ablation, measured = evaluation.ablation, _measured(evaluation)
    if ablation is None:
        return []
    growing = [[str(count), str(shard), percent(value)] for count, (shard, value) in enumerate(ablation.growing, 1)]
    lost = [[str(shard), percent(value)] for shard, value in ablation.lost.items()]
    return [
        [["Branches", "Added", f"{measured} ({ablation.scheme})"], *growing],
        *([[["Lost", f"{measured} ({ablation.scheme})"], *lost]] if lost else []),
    ]
