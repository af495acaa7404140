"""Draw when it is worth using: what S nodes come to, one branch each, beside the conventional network on one node.

    python benchmarks/worth.py --work work docs/worth.svg cifar10-narrow tiny-alexnet

From finished runs of `train.py`. Four panels over S, the branches of lowest held-out loss
first: accuracy on test rows by `learned`, its weights fitted anew to each number of branches, less that of the
conventional network (means over the seeds that both have); bytes of the rows that a node stores, int8, and of its
weights, of the node that stores most; processor time of all nodes together; time until all are trained. Times are the
measured epochs (`pace/`; measured now if they are not yet) times the epochs of the training and of its search: what
else ran on the machine does not count. Dashed: the conventional network.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import click
import matplotlib
from matplotlib.figure import Figure
from train_systems import systems
from train_tables import FIXED, Done
from train_work import Pace, Work, pace

from spectral_train.ensemble.evaluate import evaluate
from spectral_train.run.branches import shard_of
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.rates import read_tried
from spectral_train.run.record import NetworkRecord


@dataclass(frozen=True)
class Worth:
    """Of one system with 1 to S nodes, and of its conventional network: percent, MB, and minutes of one processor.

    MB and time are those of the node that has most of it, processor time that of all together.
    """

    accuracy: Sequence[float]
    megabytes: Sequence[float]
    processor: Sequence[float]
    minutes: Sequence[float]
    conventional: tuple[float, float, float]

    def panels(self) -> Mapping[str, tuple[Sequence[float], float]]:
        """Return the values over 1 to S nodes of each panel, and that of the conventional network."""
        percent, megabytes, minutes = self.conventional
        return {
            "points over the conventional network": ([each - percent for each in self.accuracy], 0),
            "MB a node, rows and weights": (self.megabytes, megabytes),
            "processor minutes, all nodes": (self.processor, minutes),
            "minutes until all are trained": (self.minutes, minutes),
        }


def worth(done: Done) -> Worth:
    """Return that of a system whose branches and conventional network are done with one seed or more."""
    both = [seed for seed in done.seeds if seed in done.baselines]
    if not both:
        raise click.ClickException(f"{done.name}: branches and conventional network are not done with the same seed")
    epochs = pace(done.name, done.system, done.work)
    each_seed = [_growing(done, seed, epochs) for seed in both]
    paths, conventional = done.baselines[both[0]], done.conventional[both[0]]
    accuracy, stored, processor, minutes = (
        [statistics.mean(values) for values in zip(*seeds, strict=True)] for seeds in zip(*each_seed, strict=True)
    )
    accuracy_alone = 100 * statistics.mean(done.conventional_accuracies[seed] for seed in both)
    alone = (accuracy_alone, megabytes(conventional), _minutes(epochs.conventional, conventional, paths))
    return Worth(accuracy, stored, processor, minutes, alone)


def _growing(done: Done, seed: int, epochs: Pace) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return accuracy, MB, processor minutes and minutes with 1 to S branches of one seed."""
    run = done.work.run(done.name, seed)
    ablation = evaluate(run.root, (FIXED,), ablate=True).ablation
    assert ablation is not None
    added = [done.branches[seed][shard] for shard, _ in ablation.growing]
    minutes = [_minutes(epochs.branches[shard_of(each)], each, run.branch(shard_of(each))) for each in added]
    return (
        [100 * accuracy for _, accuracy in ablation.growing],
        [*accumulate(map(megabytes, added), max)],
        [*accumulate(minutes)],
        [*accumulate(minutes, max)],
    )


def megabytes(record: NetworkRecord) -> float:
    """Return what a node of this network stores: training rows and held-out ones, a byte a value, and the weights."""
    rows = record.rows["training"] + record.rows["held_out"]
    return (rows * math.prod(record.plan.input_shape) + record.size_bytes) / 1e6


def _minutes(an_epoch: float, record: NetworkRecord, paths: NetworkPaths) -> float:
    """Return the minutes of a network's epochs and of those of the rates that it tried."""
    tried = read_tried(paths)
    trials = 0 if tried is None else len(tried.rates) * tried.plan.recipe.epochs
    return an_epoch * (record.plan.recipe.epochs + trials) / 60


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
    panels[1].legend(fontsize=7, loc="center")  # between the nodes and the conventional networks
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
