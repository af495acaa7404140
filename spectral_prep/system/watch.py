"""What is going on, told to whoever watches: how far each step of a call is.

Input: steps, told by whatever works (`tell`, `counted`, `step`). Output: each goes to the watch that the caller set
(`watched`), and nowhere by default. A watch belongs to a context, as the precision of `decimal` does: no function
takes it as a parameter. It changes no result.

>>> seen = []
>>> with watched(seen.append):
...     total = sum(counted([1, 2, 3], "adding", "numbers"))
>>> [(each.name, each.done, each.total, each.ended) for each in seen]  # doctest: +NORMALIZE_WHITESPACE
[('adding', 0, 3, False), ('adding', 1, 3, False), ('adding', 2, 3, False), ('adding', 3, 3, False),
 ('adding', 3, 3, True)]
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

REPORT_SECONDS = 0.5
"""How often a worker process tells of a step, at most."""


@dataclass(frozen=True)
class Step:
    """How far one step is: `done` of `total` units (None: nobody knows yet); `note` is for a reader.

    A step `within` another counts towards that one, beside what that has done itself: the rows of a block that is
    being converted, say.
    """

    name: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    note: str = ""
    within: str | None = None
    ended: bool = False


Watch = Callable[[Step], None]


def unwatched(told: Step) -> None:
    """Take a step and do nothing: a `Watch`."""


_watch: ContextVar[Watch] = ContextVar("watch", default=unwatched)


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Have every step told to `watch` for as long as this lasts."""
    before = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(before)


def tell(told: Step) -> None:
    """Tell the watch of this context how far a step is."""
    _watch.get()(told)


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Tell of a step whose end nobody can foresee: when it begins and when it ends."""
    tell(Step(name))
    try:
        yield
    finally:
        tell(Step(name, ended=True))


def counted(items: Iterable[Item], name: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items, telling before the first and after each; `total` is known for what has a length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    done = 0
    tell(Step(name, done, total, unit))
    try:
        for done, item in enumerate(items, 1):
            yield item
            tell(Step(name, done, total, unit))
    finally:
        tell(Step(name, done, total, unit, ended=True))


def seldom(watch: Watch, clock: Callable[[], float] = time.monotonic) -> Watch:
    """Return a watch that passes on the first of each step, its end, and what comes half a second after the last."""
    passed: dict[str, float] = {}

    def pass_on(told: Step) -> None:
        now = clock()
        if told.ended or told.name not in passed or now - passed[told.name] >= REPORT_SECONDS:
            passed[told.name] = now
            watch(told)
        if told.ended:
            del passed[told.name]

    return pass_on
