"""Write the long paper's Table 3 (ImageNet-1K) or 4 (ImageNet-21K) from runs, beside the paper's figures.

    python deploy/imagenet/tables.py runs/imagenet      # writes runs/imagenet/tables.md, and prints it

The folder holds a run a network; those whose branches are not all trained are named and left out. Without a
run of which all branches are trained there is no table, and a file that is there stays as it is. Accuracy, size
and training time by scheme as in the paper, whose "weighted sum" is `loss` and "select-the-best" `best`, and `learned`;
then compression, computation and speed-up. Without the conventional network its line and the ratios are empty, and it
is named. Runs of two data sets are two tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from spectral_prep.errors import InputError, SpectralError
from spectral_train.ensemble.combination import SchemeName
from spectral_train.ensemble.evaluate import evaluate, percent
from spectral_train.report.cost import Costs
from spectral_train.report.papers import Published, published
from spectral_train.report.sections import NONE, markdown_table, paper_cells
from spectral_train.run.branches import read_baseline, read_branches
from spectral_train.run.paths import RunPaths

SCHEMES: tuple[SchemeName, ...] = ("average", "loss", "geometric", "best", "learned")
NUMBERS = {"imagenet": 3, "imagenet21k": 4}
MEASURED_ON = {"test": "the test split", "held_out": "half of the held-out rows, as the data set has no test split"}
Rows = list[list[str]]


@dataclass(frozen=True)
class Lines:
    """Of a run: its data set, what accuracies are of, its lines of the first table, and its line of the second."""

    dataset: str
    measured_on: str
    schemes: Rows
    ratios: list[str]
    conventional: bool


def of_run(run: Path) -> Lines:
    """Return the lines of a run whose branches are all trained."""
    paths = RunPaths(run)
    records = read_branches(paths)
    plan, evaluation = records[0].plan, evaluate(run, SCHEMES)
    baseline = read_baseline(paths, records[0])
    costs, paper = Costs.of(records, baseline), published(plan.recipe.name, plan.dataset)[:1]
    time = f"{costs.slowest / 3600:.2f} h"
    rows = [
        [
            plan.recipe.model,
            _or_none(evaluation.baseline, percent),
            NONE if baseline is None else f"{baseline.size_bytes / 1e6:.3g} MB",
            NONE if baseline is None else f"{baseline.seconds / 3600:.2f} h",
            *_of_paper(paper, "baseline"),
        ]
    ]
    for scheme in SCHEMES:
        size = costs.branches[costs.best].size if scheme == "best" else costs.size
        name = f"{plan.recipe.model}-spectral ({scheme})"
        accuracy = percent(evaluation.ensemble[scheme])
        rows.append([name, accuracy, f"{size / 1e6:.3g} MB", time, *_of_paper(paper, scheme)])
    compression, computation = costs.compression or (None, None), costs.computation or (None, None)
    theirs = [(each.compression, each.compression_best, each.speedup) for each in paper] or [(None, None, None)]
    ratios = (*compression, *computation, costs.speedup, costs.total_speedup, *theirs[0])
    filled = [plan.recipe.model, *(_or_none(value, "{:.2f} ×".format) for value in ratios)]
    return Lines(plan.dataset, MEASURED_ON[evaluation.measured_on], rows, filled, baseline is not None)


def tables(runs: Sequence[Path]) -> str:
    """Return both tables of finished runs as Markdown, of each data set; what is not finished is said.

    Raises
    ------
    InputError
        If none is finished.
    """
    found: dict[str, list[Lines]] = {}
    missing = []
    for run in runs:
        try:
            lines = of_run(run)
        except SpectralError as error:
            missing.append(f"- {run.name} is left out: {error}")
            continue
        found.setdefault(lines.dataset, []).append(lines)
        if not lines.conventional:
            missing.append(f"- {run.name}: the conventional network is not trained")
    if not found:
        raise InputError(
            "no run here has all its branches",
            expected="a folder with a run a network, as deploy/imagenet/train.sh writes them: --run FOLDER/MODEL",
            got="\n".join(missing) or "no folder in it",
            run="the trainings that are missing, or this with the folder of the runs",
        )
    parts = [_of_dataset(dataset, each) for dataset, each in found.items()]
    return "\n\n".join([*parts, *(["\n".join(missing)] if missing else [])]) + "\n"


def _of_dataset(dataset: str, found: Sequence[Lines]) -> str:
    number = NUMBERS.get(dataset)
    title = f"Table {number} of the long paper" if number else "The long paper's networks"
    heads = ["Method", "Accuracy", "Size", "Training time", "Paper: accuracy", "size", "time"]
    costs = ["Network", "Compression", "of the best", "Computation", "of the best", "Speed-up", "with one device"]
    costs += ["Paper: compression", "of the best", "speed-up"]
    measured = " and ".join(dict.fromkeys(each.measured_on for each in found))
    notes = f"Training time is that of the slowest branch: all train at the same time. Accuracy is top-1 on {measured}."
    schemes = markdown_table([heads, *(line for each in found for line in each.schemes)])
    return "\n\n".join(
        [f"# {title}, on {dataset}", schemes, notes, markdown_table([costs, *(each.ratios for each in found)])]
    )


def _of_paper(paper: Sequence[Published], method: str) -> list[str]:
    return paper_cells(paper[0], method) if paper else [NONE, NONE, NONE]


def _or_none(value: float | None, show: Callable[[float], str]) -> str:
    return NONE if value is None else show(value)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Write the tables of all runs in a folder."""
    runs = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    try:
        text = tables(runs)
    except InputError as error:
        raise click.ClickException(f"{folder}: {error}") from error
    (folder / "tables.md").write_text(text)
    click.echo(text, nl=False)


if __name__ == "__main__":
    main()
