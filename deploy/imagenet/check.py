"""Refuse what run.sh cannot train with, before anything is converted: a conversion of ImageNet takes hours.

    python deploy/imagenet/check.py --shards 4 --at-once 2 --model alexnet --model vgg16 --device cuda:0

Says nothing where all can be used; ends with 2 and one paragraph where something cannot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from spectral_prep.errors import InputError
from spectral_train.device import choose_device
from spectral_train.recipe.recipes import RECIPES

Q = 16
"""Spectrals of the data set that run.sh converts."""
PREFIX = "imagenet-"
MODELS = tuple(name.removeprefix(PREFIX) for name in RECIPES if name.startswith(PREFIX))


def check(models: Sequence[str], shards: str, at_once: str, devices: Sequence[str]) -> None:
    """Raise `InputError` for a network without a recipe, shards that do not divide Q, or a device that is not here."""
    if unknown := [name for name in models if name not in MODELS]:
        raise _refused("no such network", "MODELS", f"some of {' '.join(MODELS)}", " ".join(unknown))
    fitting = [str(count) for count in range(1, Q + 1) if Q % count == 0]
    if shards not in fitting:
        raise _refused(f"shards that do not divide {Q} spectrals", "SHARDS", f"one of {', '.join(fitting)}", shards)
    if not re.fullmatch("[1-9][0-9]*", at_once):  # which bash takes for octal with a 0 before it
        raise _refused("no number of networks", "AT_ONCE", "1 or more", at_once)
    for name in devices:
        try:
            choose_device(name)
        except InputError as error:
            here = "'cpu', or GPUs of this machine such as 'cuda:0 cuda:1'"
            raise _refused("a device that cannot be used here", "DEVICES", here, f"{name}: {error.what}") from error


def _refused(what: str, variable: str, expected: str, got: str) -> InputError:
    return InputError(what, where=variable, expected=expected, got=got, run=f"the same line with another {variable}")


@click.command(help=__doc__)
@click.option("--model", "models", multiple=True, required=True)
@click.option("--shards", required=True)
@click.option("--at-once", required=True)
@click.option("--device", "devices", multiple=True, required=True)
def main(models: tuple[str, ...], shards: str, at_once: str, devices: tuple[str, ...]) -> None:
    """Check the variables of run.sh."""
    try:
        check(models, shards, at_once, devices)
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(error.exit_code) from error


if __name__ == "__main__":
    main()
