"""How good the ensemble of a run is, on the test rows, beside its branches and the conventional network.

Goes in: the folder of a run. Comes out: an `Evaluation`, and its table in the form of the poster's Table 1. Weights
come from held-out rows; test rows are looked at once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spectral_prep.errors import InputError
from spectral_train.collect import read_baseline, read_branches, stack
from spectral_train.ensemble import (
    DEFAULT_SCHEME,
    DEFAULT_SPACE,
    SCHEMES,
    HeldOut,
    accuracy,
    combine,
    parse_space,
    weigh,
)
from spectral_train.outputs import HELD_OUT, TEST, read_outputs
from spectral_train.runs import RunPaths


@dataclass(frozen=True)
class BranchResult:
    """One branch: accuracy on test rows (0 to 1), and the loss on held-out rows (nats) that its weight depends on."""

    shard: int
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Evaluation:
    """All that `spectral-ensemble evaluate` says. Accuracies are fractions of the test rows.

    `best_accuracy` is the highest test accuracy of any branch, the poster's "Highest Acc."; the scheme `best` instead
    picks by held-out loss, since which branch is highest on the test set cannot be known when a network is built.
    `settings` holds the p and k that were chosen on held-out rows.
    """

    dataset: str
    q: int
    branches: tuple[BranchResult, ...]
    ensemble: Mapping[str, float]
    baseline: float | None
    weights: Mapping[str, tuple[float, ...]]
    settings: Mapping[str, Mapping[str, float]]
    space: str
    rows: int

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
            "settings": {scheme: dict(settings) for scheme, settings in self.settings.items()},
            "space": self.space,
            "rows": self.rows,
        }


def evaluate(
    run: Path,
    schemes: Sequence[str] = (),
    space: str = DEFAULT_SPACE,
    *,
    p: float | None = None,
    k: int | None = None,
) -> Evaluation:
    """Evaluate the ensemble of a run; it needs nothing but the run.

    Parameters
    ----------
    run
        The folder with `branch-00/` ….
    schemes
        Names of `ensemble.SCHEMES`; none means all.
    space
        `probabilities` (long paper, eq. (2)) or `log-probabilities`.
    p, k
        Of `geometric` and `top-k`; None chooses them on held-out rows.

    Raises
    ------
    InputError, PlanMismatchError, CorruptShardError
        As `collect.read_branches` and `ensemble.weigh` do; `InputError` also if the data set has no test rows.
    """
    paths, named_space = RunPaths(run), parse_space(space)
    records = read_branches(paths)
    plan = records[0].plan
    if not records[0].rows["test"]:
        raise InputError(
            "the data set has no test rows to evaluate on",
            where=run,
            run="spectral-prep convert into another --out, with test/ or val/ beside train/ in the source",
        )
    held_out_rows = stack(paths, records, HELD_OUT)
    held_out = HeldOut(held_out_rows.log_probabilities, held_out_rows.labels)
    choices = {scheme: weigh(scheme, held_out, named_space, p=p, k=k) for scheme in schemes or SCHEMES}
    test = stack(paths, records, TEST)
    baseline = read_baseline(paths, records[0])
    return Evaluation(
        dataset=plan.dataset,
        q=plan.spec.q,
        branches=tuple(
            BranchResult(shard, accuracy(values, test.labels), loss)
            for shard, (values, loss) in enumerate(zip(test.log_probabilities, held_out.losses.tolist(), strict=True))
        ),
        ensemble={
            scheme: accuracy(combine(test.log_probabilities, choice.weights, named_space), test.labels)
            for scheme, choice in choices.items()
        },
        baseline=None if baseline is None else read_outputs(paths.baseline.outputs, TEST).accuracy,
        weights={scheme: tuple(choice.weights.tolist()) for scheme, choice in choices.items()},
        settings={scheme: choice.settings for scheme, choice in choices.items()},
        space=space,
        rows=len(test.labels),
    )


def table(evaluation: Evaluation) -> str:
    """Return the poster's Table 1 for this run, then a line a branch and a line a scheme.

    "Ens. Acc." is that of `geometric`, the long paper's best scheme, or of the first scheme that was asked for.
    """
    main = DEFAULT_SCHEME if DEFAULT_SCHEME in evaluation.ensemble else next(iter(evaluation.ensemble))
    name = f"{evaluation.dataset} (Q = {evaluation.q})"
    heads = ["Data set", "Mean Acc.", "Highest Acc.", "Ens. Acc.", "Baseline"]
    cells = [
        name,
        _percent(evaluation.mean_accuracy),
        _percent(evaluation.best_accuracy),
        _percent(evaluation.ensemble[main]),
        "–" if evaluation.baseline is None else _percent(evaluation.baseline),
    ]
    branches = [[str(branch.shard), _percent(branch.accuracy), f"{branch.loss:.4f}"] for branch in evaluation.branches]
    schemes = [
        [scheme + _settings(evaluation.settings[scheme]), _percent(value), _weights(evaluation.weights[scheme])]
        for scheme, value in evaluation.ensemble.items()
    ]
    return "\n\n".join(
        [
            _aligned([heads, cells]),
            _aligned([["Branch", "Test acc.", "Held-out loss"], *branches]),
            _aligned([[f"Ensemble of {evaluation.space}", "Test acc.", "Weights of the branches"], *schemes]),
        ]
    )


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def _settings(settings: Mapping[str, float]) -> str:
    return f" ({', '.join(f'{name} = {value:g}' for name, value in settings.items())})" if settings else ""


def _weights(weights: Sequence[float]) -> str:
    return " ".join(f"{weight:.3f}" for weight in weights)
