"""Write the long paper's Table 3 (ImageNet-1K) or 4 (ImageNet-21K) from runs, beside the paper's figures.

    python deploy/imagenet/tables.py runs/imagenet      # writes runs/imagenet/tables.md, and prints it

The folder holds a run a network; those whose branches are not all trained are named and left out. Accuracy, size
and training time by scheme as in the paper, whose "weighted sum" is `loss` and "select-the-best" `best`, and `learned`;
then compression, computation and speed-up. Without the conventional network its line and the ratios are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from spectral_prep.errors import SpectralError
from spectral_train.ensemble.combination import SchemeName
from spectral_train.ensemble.evaluate import evaluate, percent
from spectral_train.report.cost import Costs
from spectral_train.report.papers import Published, published
from spectral_train.report.sections import NONE, markdown_table
from spectral_train.run.branches import read_baseline, read_branches
from spectral_train.run.paths import RunPaths

SCHEMES: tuple[SchemeName, ...] = ("average", "loss", "geometric", "best", "learned")
NUMBERS = {"imagenet": 3, "imagenet21k": 4}
Rows = list[list[str]]


def of_run(run: Path) -> tuple[str, Rows, list[str]]:
    """Return the data set of a run, its lines of the first table, and its line of the second."""
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
            *_of_paper(paper, None),
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
    return plan.dataset, rows, [plan.recipe.model, *(_or_none(value, "{:.2f} ×".format) for value in ratios)]


def tables(runs: Sequence[Path]) -> str:
    """Return both tables of finished runs as Markdown; what is not finished is said."""
    lines: Rows = []
    ratios: Rows = []
    missing, dataset = [], "imagenet"
    for run in runs:
        try:
            dataset, found, ratio = of_run(run)
        except SpectralError as error:
            missing.append(f"- {run.name} is left out: {error}")
            continue
        lines += found
        ratios.append(ratio)
    number = NUMBERS.get(dataset)
    title = (
        f"# Table {number} of the long paper, on {dataset}" if number else f"# The long paper's networks, on {dataset}"
    )
    heads = ["Method", "Accuracy", "Size", "Training time", "Paper: accuracy", "size", "time"]
    costs = ["Network", "Compression", "of the best", "Computation", "of the best", "Speed-up", "with one device"]
    costs += ["Paper: compression", "of the best", "speed-up"]
    notes = (
        "Training time is that of the slowest branch: all train at the same time. Accuracy is top-1 on the test split."
    )
    filled = [markdown_table([heads, *lines]), notes, markdown_table([costs, *ratios])] if lines else []
    return "\n\n".join([title, *filled, *(["\n".join(missing)] if missing else [])]) + "\n"


def _of_paper(paper: Sequence[Published], scheme: str | None) -> list[str]:
    """Return accuracy, size and time that the paper has for a scheme, or for the conventional network."""
    if not paper or (scheme is not None and scheme not in paper[0].schemes):
        return [NONE, NONE, NONE]
    (found,) = paper
    if scheme is None:
        return [percent(found.baseline), f"{found.baseline_mb:g} MB", f"{found.baseline_hours:g} h"]
    size = found.best_mb if scheme == "best" else found.ensemble_mb
    return [percent(found.schemes[scheme]), f"{size:g} MB", f"{found.ensemble_hours:g} h"]


def _or_none(value: float | None, show: Callable[[float], str]) -> str:
    return NONE if value is None else show(value)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Write the tables of all runs in a folder."""
    runs = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    text = tables(runs)
    (folder / "tables.md").write_text(text)
    click.echo(text, nl=False)


if __name__ == "__main__":
    main()
