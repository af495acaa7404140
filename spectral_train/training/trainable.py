"""Whether the network of a plan can be built and trained at all, tried without memory and before any row is read.

Input: a plan, and how many rows it trains on where that is known. Output: nothing, or an error that says what to
change.
"""

from __future__ import annotations

import torch

from spectral_prep.errors import InputError
from spectral_train.device import seeded
from spectral_train.run.record import NetworkPlan
from spectral_train.run.weights import shape_network


def require_trainable(plan: NetworkPlan, rows: int | None = None) -> None:
    """Refuse a network that cannot be built for its inputs, or has to normalise a batch of one row.

    Raises
    ------
    InputError
        As `models.build` does; and if batches have one row and batch normalisation would see one value a channel.
    """
    with seeded(0):  # what is initialised here is thrown away
        model = shape_network(plan).train()
        if 1 not in (plan.recipe.batch_size, rows):
            return
        try:
            model(torch.empty(1, *plan.input_shape, device="meta"))
        except ValueError as error:  # torch's batch norm says so; nothing else here does
            raise InputError(
                f"{plan.recipe.model} cannot train on one row at a time: batch normalisation needs several",
                expected="batches of 2 rows or more",
                got="a batch size of 1" if rows is None else f"{rows} row to train on",
                run="the same command with --batch-size 2 or more"
                if rows is None
                else "spectral-prep convert with more training images, or the same command with --model fc",
            ) from error
