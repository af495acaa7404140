"""What the user asks of training: the options of `spectral-train`, in one place.

Input: the words of a command. Output: a `TrainingRequest`, which `branch.train_branches`, `devices.train_on_devices`
and `baseline.train_baseline` carry out. This module does not import torch: `--help` lists the choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spectral_prep.errors import InputError
from spectral_prep.places.url import Place
from spectral_train.data.grouping import DEFAULT_CHOICE, ShardChoice
from spectral_train.device import DEFAULT_RESOURCES, Resources
from spectral_train.recipe.recipe import Recipe

Joint = Literal["auto", "always"]
"""Whether all branches train as one stack a device: `auto` does on a CPU only what is faster there."""


WidthBy = Literal["uniform", "energy"] | tuple[float, ...]
"""How wide each branch is: as the recipe says, or by the energy of its shard, or by multipliers, one a shard."""

MOST_DIGITS = 9
"""Of a shard's number."""

SoupMethod = Literal["greedy", "uniform"]
"""The keys of `soup.METHODS`."""


@dataclass(frozen=True)
class TrainingRequest:
    """One run: which networks, on which rows, how, and with what.

    Parameters
    ----------
    data
        The data set, or one spectral folder of it; None: the only data set under `./spectral`.
    recipe
        How each network is trained; `auto` is resolved for the shape of its input.
    run
        The folder of the run; None: `./runs/` and a name that tells what is not the default (`paths.default_run`).
    choice
        How spectrals become shards.
    resources
        What the networks that train at the same time may take.
    find_rate
        Try a few learning rates round the recipe's first, for each network, and take the best (`rates`).
    width_by
        Widths of the branches, which are together as large as with the recipe's (`widths`).
    """

    data: Place | None
    recipe: Recipe
    run: Place | None = None
    choice: ShardChoice = DEFAULT_CHOICE
    resources: Resources = DEFAULT_RESOURCES
    find_rate: bool = False
    width_by: WidthBy = "uniform"


def shard_number(text: str | None) -> int | None:
    """Return the number that the user names, None for all.

    Raises
    ------
    InputError
        If it is none.

    >>> shard_number("3"), shard_number("all")
    (3, None)
    """
    if text is None or text == "all":
        return None
    if not (text.isdecimal() and len(text) <= MOST_DIGITS):
        raise InputError("no such shard", expected="a number or all", got=f"--shard {text[:MOST_DIGITS]}")
    return int(text)
