"""Learning rates that were tried for a network before it was trained, and which was taken.

Input: what each came to on held-out rows. Output: `rates.json` in the folder of the network, written after each trial,
so that a sweep which was stopped goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spectral_prep.errors import PlanMismatchError
from spectral_prep.places import exists
from spectral_prep.store.fields import require
from spectral_prep.store.record_file import plain, read_record
from spectral_prep.system.differences import differences
from spectral_train.recipe.options import text_of
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.record import NetworkPlan


@dataclass(frozen=True)
class Rate:
    """A learning rate, and loss (nats) and accuracy on held-out rows at the end of its trial; None if it diverged."""

    lr: float
    held_out_loss: float | None
    held_out_accuracy: float | None


@dataclass(frozen=True)
class RatesRecord:
    """`rates.json`: `plan` is that of the trials, with the rate that all others are multiples of; `rates` as tried."""

    KIND: ClassVar[str] = "rates"

    plan: NetworkPlan
    rates: tuple[Rate, ...]

    def __post_init__(self) -> None:
        require(all(rate.lr > 0 for rate in self.rates), "no learning rates", "more than 0", self.rates)

    @property
    def best(self) -> float | None:
        """The rate of the lowest held-out loss, None where every one diverged."""
        finite = [(rate.held_out_loss, rate.lr) for rate in self.rates if rate.held_out_loss is not None]
        return min(finite)[1] if finite else None


def read_tried(paths: NetworkPaths, trained_at: object = None) -> RatesRecord | None:
    """Return the record of the trials of a network, None where there is none.

    `trained_at` is the rate of the network that is there, which can go on without the record.

    Raises
    ------
    CorruptFileError
        If the record is damaged.
    """
    if not exists(paths.rates_record):
        return None
    rest = "" if trained_at is None else f" with --lr {text_of(trained_at)} in the place of --find-rate"
    again = f"delete {paths.rates_record}, then the same command{rest}"
    return read_record(paths.rates_record, RatesRecord, damaged=again)


def read_rates(plan: NetworkPlan, paths: NetworkPaths, trained_at: object = None) -> RatesRecord:
    """Return the trials so far of the sweep with this plan, none where there is no record; otherwise as `read_tried`.

    Raises
    ------
    PlanMismatchError
        If the sweep in this folder is one of another plan.
    CorruptFileError
        If the record is damaged.
    """
    record = read_tried(paths, trained_at)
    if record is None:
        return RatesRecord(plan, ())
    if found := differences(plain(record.plan), plain(plan)):
        raise PlanMismatchError(
            f"learning rates of {plan.name} were tried here with another plan",
            where=paths.rates_record,
            got="; ".join(found),
            run="the same command with another --run, or with the options of those trials",
        )
    return record
