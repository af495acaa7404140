"""Draw when it is worth using: what S nodes come to, one branch each, beside the conventional network on one node.

    python benchmarks/worth.py --work work docs/worth.svg cifar10-narrow tiny-alexnet

From finished runs of `train.py`, of systems with a budget. Four panels over S, the branches of lowest held-out loss
first: accuracy on test rows by `learned`, its weights fitted anew to each number of branches, less that of the
conventional network (means over the seeds that are done); bytes of the rows that a node stores, int8, and of its
weights; processor time of all nodes together; time until all are trained. Times are the measured epochs (`pace/`) times
the epochs of the training and of its search: what else ran on the machine does not count. Dashed: the conventional
network.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import matplotlib
from matplotlib.figure import Figure
from train_systems import systems
from train_tables import FIXED, Done
from train_work import Pace, Work, with_trials

from spectral_train.ensemble.evaluate import evaluate
from spectral_train.run.record import NetworkRecord


@dataclass(frozen=True)
class Worth:
    """Of one system, over 1 to S nodes, and of its conventional network: percent, MB, and minutes of one processor."""

    accuracy: tuple[float, ...]
    megabytes: float
    minutes: float
    conventional: tuple[float, float, float]

    def panels(self) -> Mapping[str, tuple[list[float], float]]:
        """Return the values over 1 to S nodes of each panel, and that of the conventional network."""
        nodes = range(1, len(self.accuracy) + 1)
        percent, megabytes, minutes = self.conventional
        return {
            "points over the conventional network": ([each - percent for each in self.accuracy], 0),
            "MB a node, rows and weights": ([self.megabytes for _ in nodes], megabytes),
            "processor minutes, all nodes": ([self.minutes * count for count in nodes], minutes),
            "minutes until all are trained": ([self.minutes for _ in nodes], minutes),
        }


def worth(done: Done) -> Worth:
    """Return that of a system whose branches and conventional network are done with one seed or more."""
    if not done.seeds or not done.baselines or not done.work.pace(done.name).is_file():
        raise click.ClickException(f"{done.name}: branches and conventional network are not done with a pace measured")
    pace = Pace.read(done.work.pace(done.name))
    grown = []
    for seed in done.seeds:
        ablation = evaluate(done.work.run(done.name, seed).root, (FIXED,), ablate=True).ablation
        assert ablation is not None
        grown.append([value for _, value in ablation.growing])
    branches, conventional = next(iter(done.branches.values())), next(iter(done.conventional.values()))
    return Worth(
        tuple(100 * statistics.mean(each) for each in zip(*grown, strict=True)),
        max(map(megabytes, branches)),
        pace.branch * _epochs(branches[0]) / 60,
        (
            100 * statistics.mean(done.conventional_accuracies.values()),
            megabytes(conventional),
            pace.conventional * _epochs(conventional) / 60,
        ),
    )


def megabytes(record: NetworkRecord) -> float:
    """Return what a node of this network stores: training rows and held-out ones, a byte a value, and the weights."""
    rows = record.rows["training"] + record.rows["held_out"]
    return (rows * math.prod(record.plan.input_shape) + record.size_bytes) / 1e6


def _epochs(record: NetworkRecord) -> int:
    return with_trials(record.plan.recipe.epochs)


def draw(found: Mapping[str, Worth]) -> Figure:
    """Return the figure: a line a system, the conventional network of each dashed in the same colour."""
    matplotlib.rcParams["svg.hashsalt"] = "worth"  # the same figures, the same file
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = list(figure.subplots(2, 2).flat)
    for number, (name, each) in enumerate(found.items()):
        for axes, (title, (values, conventional)) in zip(panels, each.panels().items(), strict=True):
            axes.plot(range(1, len(values) + 1), values, marker="o", ms=3, color=f"C{number}", label=name)
            axes.axhline(conventional, ls="--", lw=1, color=f"C{number}")
            axes.set(title=title, xlabel="nodes, a branch each")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
    panels[0].legend(fontsize=7)
    for axes in panels[1:]:
        axes.set_ylim(bottom=0)  # when all that is drawn is known
    return figure


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("names", nargs=-1, required=True, type=click.Choice([*systems()]))
@click.option("--work", "root", type=click.Path(path_type=Path, exists=True), required=True, help="That of train.py.")
def main(out: Path, names: tuple[str, ...], root: Path) -> None:
    """Draw the figure of finished systems."""
    work = Work(root)
    figure = draw({name: worth(Done(name, systems()[name], work)) for name in names})
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
