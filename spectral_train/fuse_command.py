"""`spectral-ensemble fuse`: its options, and a call of the Python function of that name."""

from __future__ import annotations

import click

from spectral_prep.console.group import WatchedCommand
from spectral_prep.console.progress import PLACE, answer, conclude, insist, say
from spectral_prep.places import exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.system.limits import LARGEST_SEED
from spectral_train.commands import on_device
from spectral_train.ensemble_commands import allow_missing, without
from spectral_train.run.said import ON, On


@click.command("fuse", cls=WatchedCommand)
@click.argument("run", type=PLACE)
@click.option("--data", type=PLACE, help="The data set, for branches that were trained without --fuse-inputs.")
@click.option(
    "--on", type=click.Choice(ON), default="logits", show_default=True, help="What the head sees of a branch."
)
@click.option("--hidden", type=click.IntRange(1), default=256, show_default=True, help="Neurons of the hidden layer.")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="Of each head that is tried.")
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True, help="Of the heads.")
@without
@allow_missing
@on_device
def fuse_command(
    run: Place,
    data: Place | None,
    on: On,
    hidden: int,
    epochs: int,
    seed: int,
    without: tuple[int, ...],
    allow_missing: bool,
    device: str,
) -> None:
    """Fit a small head to what all branches say of the training rows; held-out rows choose it, or keep learned.

    Heads are linear or have one hidden layer. The result is the scheme `fused`. With --without a head is fitted to the
    other branches, which is what `--scheme fused --without` then takes.
    """
    from spectral_train.device import Resources
    from spectral_train.ensemble.fuse import folder_of, fuse, verdict
    from spectral_train.ensemble.fusion import Fitted
    from spectral_train.run.branches import missing, read_branches
    from spectral_train.run.paths import RunPaths, without_options
    from spectral_train.training.words import write_missing_words

    paths = RunPaths(run)
    records = read_branches(paths, without, allow_missing, data)
    try:
        if data is not None:
            write_missing_words(paths, records, data, on, Resources(device), say)
        if exists(folder_of(paths, records).fused_record):
            say("A head is there; the new one replaces it when it is fitted.")
        answer(verdict(fuse(paths, records, on, Fitted(hidden, epochs, seed), say)))
    except KeyboardInterrupt:
        insist("Stopped: what branches have written and an older head are kept. Run next: the same command.")
        raise
    conclude(f"Run next: spectral-ensemble evaluate {quoted(run)}{without_options(missing(records))}")
