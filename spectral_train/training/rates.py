"""Find the learning rate of a network: a short training at each of a few, scored on held-out rows.

1. The rates are fixed multiples of the recipe's. Each trial is the recipe with a tenth of its epochs, its schedule over
   those, and the seed, rows and order of the training itself.
2. The recipe's rate is tried first, then what stands beside the best so far, until nothing beside it is left. The rate
   of the lowest held-out loss is taken; one that diverges is out.
3. After each trial `rates.json` is written; within a trial its checkpoint counts. So a sweep goes on where it stopped.
   Trials are told to no other place (`--log`).
4. Before any trial the folder is looked at: a network of other options, or one of a rate that no sweep found, is left
   as it is and said, since it would be refused after all trials.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from spectral_prep.errors import InputError, PlanMismatchError
from spectral_prep.places import at, exists, sole_use
from spectral_prep.places.url import inside
from spectral_prep.store.record_file import plain, write_record
from spectral_prep.system.differences import differences, leaves
from spectral_prep.system.threads import torch_threads
from spectral_prep.system.watch import Step, tell
from spectral_train.data.reader import RowReader
from spectral_train.recipe.options import text_of
from spectral_train.recipe.recipe import Recipe, override
from spectral_train.run.paths import WRITING, NetworkPaths
from spectral_train.run.rates import Rate, RatesRecord, read_rates
from spectral_train.run.record import RATE, NetworkPlan, describe
from spectral_train.training import checkpoint
from spectral_train.training.fit import DivergedError, Training, fit
from spectral_train.training.network import TrainingRows, new_network
from spectral_train.training.processes import threads_for
from spectral_train.training.trainable import require_trainable

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
SHARE = 10
"""Of the recipe's epochs a trial has one in so many, at least one."""

USABLE = 0.01
"""No rate above it is advised where larger ones diverge."""

MOST_TRIALS = 4
"""Of a search: a rate, a larger one that is worse, and two smaller ones."""


def trial_epochs(epochs: int) -> int:
    """Return how many epochs each trial has of a training of so many."""
    return max(1, epochs // SHARE)


def search_epochs(epochs: int) -> int:
    """Return how many epochs all trials have together, at most, before a training of so many.

    >>> search_epochs(40), search_epochs(2)
    (16, 4)
    """
    return MOST_TRIALS * trial_epochs(epochs)


def losses_of(record: RatesRecord) -> dict[float, float | None]:
    """Return the held-out loss of each of `FACTORS` that was tried, None if it diverged."""
    rates = {record.plan.recipe.lr * factor: factor for factor in FACTORS}
    return {rates[rate.lr]: rate.held_out_loss for rate in record.rates if rate.lr in rates}


def next_factor(losses: Mapping[float, float | None]) -> float | None:
    """Return which of `FACTORS` is tried next, None where the search is at its end.

    Parameters
    ----------
    losses
        Held-out loss of each that was tried, None if it diverged.

    Examples
    --------
    >>> next_factor({}), next_factor({1.0: 2.5}), next_factor({1.0: 2.5, 2.0: 2.4})
    (1.0, 2.0, 4.0)
    >>> next_factor({1.0: 2.5, 2.0: None}), next_factor({1.0: 2.5, 2.0: None, 0.5: 2.6}), next_factor({1.0: None})
    (0.5, None, 0.5)
    """
    if 1.0 not in losses:
        return 1.0
    found = {factor: math.inf if loss is None else loss for factor, loss in losses.items()}
    best = min(found, key=lambda factor: (found[factor], factor))
    larger = [factor for factor in FACTORS if factor > best][:1] if math.isfinite(found[best]) else []
    smaller = [factor for factor in FACTORS if factor < best][-1:]
    return next((factor for factor in (*larger, *smaller) if factor not in found), None)


def with_found_rate(recipe: Recipe, training: Training, rows: Callable[[], RowReader]) -> Recipe:
    """Return the recipe with the rate that is best for this network; `training` is that of the recipe as it is.

    Raises
    ------
    InputError
        If the loss diverges at every rate, another process tries rates of this network, or as `require_trainable` does.
    PlanMismatchError
        If a network of other options, or of a rate that the trials do not give, was begun or finished in this folder;
        otherwise as `read_rates` and `fit` do.
    CorruptFileError
        As `read_rates` and `fit` do, or if the network in this folder is damaged.
    """
    plan, paths = training.plan, training.paths
    short = override(plan.recipe, epochs=trial_epochs(plan.recipe.epochs))
    there = _trained(paths)
    if there is not None:
        _require_same(there, plan, paths)
    record = read_rates(dataclasses.replace(plan, recipe=short), paths, trained_at=_rate_of(there))
    wanted = _next_rate(record)
    if there is not None and (wanted is not None or _rate_of(there) != record.best):
        raise _no_rate_of(there, plan, paths)
    if wanted is not None:
        require_trainable(plan)
        with sole_use(paths.lock, f"rates of {plan.name} are tried already", WRITING):
            record = _tried(read_rates(record.plan, paths), training, rows())
    if record.best is None:
        raise InputError(
            f"{plan.name} diverges at every learning rate that was tried",
            where=paths.rates_record,
            got=", ".join(f"{rate.lr:g}" for rate in record.rates),
            run=f"the same command with --lr {min(recipe.lr * FACTORS[0] / 10, USABLE):g} and another --run",
        )
    training.log(f"{plan.name}: learning rate {record.best:g}, the lowest held-out loss of {len(record.rates)}")
    return override(recipe, lr=record.best)


def _trained(paths: NetworkPaths) -> Mapping[str, Any] | None:
    """Return the plain plan of the network that was begun or finished in a folder, None where there is none."""
    if exists(paths.record):
        return plain(describe(paths).plan)
    begun = checkpoint.read_content(paths)
    return None if begun is None else begun.plan


def _require_same(there: Mapping[str, Any], plan: NetworkPlan, paths: NetworkPaths) -> None:
    """Raise `PlanMismatchError` if a network differs in more than its rate."""
    found = [text for text in differences(there, plain(plan)) if not text.startswith(f"{RATE}:")]
    if found:
        raise PlanMismatchError(
            f"{plan.name} was begun here with other options",
            where=paths.root,
            got="; ".join(found),
            run="the same command with another --run, or with the options that are there",
        )


def _rate_of(there: Mapping[str, Any] | None) -> Any:
    """Return the rate of a plain plan, None where there is none."""
    return None if there is None else dict(leaves(there)).get(RATE)


def _no_rate_of(there: Mapping[str, Any], plan: NetworkPlan, paths: NetworkPaths) -> PlanMismatchError:
    lr = text_of(_rate_of(there))
    return PlanMismatchError(
        f"{plan.name} was begun here at a learning rate that no search found",
        where=paths.root,
        expected="a folder without a network, or one of this search",
        got=f"a network of --lr {lr}",
        run=f"the same command with another --run, or with --lr {lr} in the place of --find-rate",
    )


def _tried(record: RatesRecord, training: Training, reader: RowReader) -> RatesRecord:
    """Try what has not been tried; the rows are read once for all."""
    plan, paths = record.plan, training.paths
    read = TrainingRows.read(reader, plan.recipe)
    while (lr := _next_rate(record)) is not None:
        trial_paths = NetworkPaths(inside(paths.rates, f"{lr:g}"))
        trial_plan = dataclasses.replace(plan, recipe=override(plan.recipe, lr=lr))
        trial = dataclasses.replace(training, plan=trial_plan, paths=trial_paths, logs=(), trial=True)
        with torch_threads(threads_for(plan)):
            rate = _trial(trial, read)
        record = dataclasses.replace(record, rates=(*record.rates, rate))
        write_record(paths.rates_record, record, WRITING)
        at(trial_paths.checkpoint).remove()
    return record


def _next_rate(record: RatesRecord) -> float | None:
    factor = next_factor(losses_of(record))
    return None if factor is None else record.plan.recipe.lr * factor


def _trial(trial: Training, read: TrainingRows) -> Rate:
    lr = trial.recipe.lr
    try:
        last = fit(new_network(trial), read.examples, read.partition, trial)[-1]
    except DivergedError:
        tell(Step(trial.title, ended=True))
        trial.log(f"{trial.title}: the loss is not finite; this rate is out")
        return Rate(lr, None, None)
    return Rate(lr, last.held_out_loss, last.held_out_accuracy)
