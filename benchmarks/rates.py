"""Count what a search that climbs finds of what trying all five rates found, and in how many trials.

    python benchmarks/rates.py work/runs/*/seed-*

From runs with `rates.json` of all five rates, as `spectral-train --find-rate` wrote them when it tried all. Each search
is repeated from its record: what would have been tried, and how much higher (nats) the lowest held-out loss of that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from spectral_train.run.paths import NetworkPaths
from spectral_train.run.rates import read_tried
from spectral_train.training.rates import FACTORS, losses_of, next_factor


def climbed(losses: Mapping[float, float | None]) -> dict[float, float | None]:
    """Return what the search tries of these."""
    tried: dict[float, float | None] = {}
    while (factor := next_factor(tried)) is not None:
        tried[factor] = losses[factor]
    return tried


def lowest(losses: Mapping[float, float | None]) -> float:
    """Return the lowest loss of those that did not diverge."""
    return min(loss for loss in losses.values() if loss is not None)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(runs: tuple[Path, ...]) -> None:
    """Print what the searches of these runs come to."""
    records = [read_tried(NetworkPaths(file.parent)) for run in runs for file in sorted(run.glob("*/rates.json"))]
    found = [losses for record in records if record is not None and len(losses := losses_of(record)) == len(FACTORS)]
    searches = [(losses, climbed(losses)) for losses in found if any(loss is not None for loss in losses.values())]
    if not searches:
        raise click.ClickException("no search of all five rates in these runs")
    trials = [len(tried) for _, tried in searches]
    lost = sorted(lowest(tried) - lowest(losses) for losses, tried in searches)
    print(f"{len(searches)} searches: {sum(trials) / len(trials):.2f} trials, {max(trials)} at most, instead of 5")
    higher = ", ".join(f"{loss:.3f}" for loss in lost if loss)
    print(f"{lost.count(0)} come to the same rate; of the others the loss is {higher or 'not'} higher")


if __name__ == "__main__":
    main()
