"""Steps as a user sees them: bars on a terminal, a line now and then elsewhere; on stderr either way.

Input: steps (`system.watch`), as they are told. Output: on a terminal a bar a step that is going on, and nothing of it
afterwards; in a file, such as the log of a scheduler, the first step at once, a further one after a second, and the
same one every 30 s. A step that took a second leaves a line.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spectral_prep.printable import one_line
from spectral_prep.system.units import duration
from spectral_prep.system.watch import Step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

NARROW = 100
"""Columns below which figures are brief and tables are stacked."""
LOG_SECONDS = 30.0
LOG_GAP_SECONDS = 1.0
RATE_SECONDS, SAMPLE_SECONDS = 60.0, 1.0
"""Over which a rate is measured, and how often what is done is looked at."""
ENOUGH_SHARE, ENOUGH_SECONDS = 0.02, 30.0
"""How much of what was to be done, or how long a step has to go on, before its rate says how long the rest takes: the
first images wait for processes that start."""
FRAMES_A_SECOND = 4


@dataclass
class Meter:
    """One step that is going on: `done` units of it, those of steps within it too, and how fast it has been lately."""

    step: Step
    started: float
    done: int = 0
    first: int = 0
    logged: float | None = None
    _parts: dict[str, Step] = field(default_factory=dict)
    _past: deque[tuple[float, int]] = field(default_factory=deque)

    def told(self, told: Step, now: float) -> None:
        """Take what is told of this step or of one within it; what is done never goes back."""
        if told.within is None:
            if told.done > self.step.done:  # it counts what ended within it from now on
                self._parts = {name: part for name, part in self._parts.items() if not part.ended}
            self.step = told
        else:
            self._parts[told.name] = told
        self.done = max(self.done, self.step.done + sum(part.done for part in self._parts.values()))
        if self.step.total is not None:
            self.done = min(self.done, self.step.total)
        if not self._past or now - self._past[-1][0] >= SAMPLE_SECONDS:
            self._past.append((now, self.done))
        while len(self._past) > 2 and now - self._past[1][0] > RATE_SECONDS:
            self._past.popleft()

    def rate(self, now: float) -> float:
        """Return units a second, 0 while nothing is known."""
        since, before = self._past[0]
        return (self.done - before) / (now - since) if now > since else 0.0

    def figures(self, now: float, *, brief: bool = False) -> str:
        """Return how far it is, how fast and how long it takes yet, in plain units.

        >>> meter = Meter(Step("converting", 0, 60_000, "images"), 0.0)
        >>> for second, done in ((0, 0), (10, 13_400)):
        ...     meter.told(Step("converting", done, 60_000, "images"), second)
        >>> meter.figures(10.0)
        '13,400 of 60,000 images, 22 %, 1,340 images/s, about 35 s left'
        >>> meter.figures(10.0, brief=True)
        '22 %, 1,340 images/s, about 35 s left'
        """
        total, unit, rate = self.step.total, self.step.unit, self.rate(now)
        note = self.step.note.partition(",")[0] if brief else self.step.note
        parts = [note] if note else []
        if total:
            parts += [] if brief or note else [f"{self.done:,} of {total:,} {unit}"]
            parts += [f"{100 * self.done // total} %"] if (not note if brief else self.done) else []
        elif unit:
            parts.append(f"{self.done:,} {unit}")
        if rate:
            parts.append(f"{spoken(rate)} {unit}/s")
        if rate and total and self._enough(total, now):
            parts.append(f"about {duration((total - self.done) / rate)} left")
        elif not total and now - self.started >= LOG_GAP_SECONDS:
            parts.append(duration(now - self.started))
        return ", ".join(parts)

    def _enough(self, total: int, now: float) -> bool:
        """Whether so much is done that the rate says how long the rest takes."""
        share = (self.done - self.first) / max(1, total - self.first)
        return share >= ENOUGH_SHARE or now - self.started >= ENOUGH_SECONDS

    def summary(self, now: float) -> str:
        """Return what the step came to."""
        seconds, unit = now - self.started, self.step.unit
        if not unit:
            return f"{self.step.name}: {duration(seconds)}"
        count = self.step.done - self.first
        rate = f", {spoken(count / seconds)} {unit}/s" if count and seconds else ""
        return f"{self.step.name}: {self.step.done:,} {unit} in {duration(seconds)}{rate}"


def spoken(rate: float) -> str:
    """Return a rate as people say it.

    >>> spoken(1340.4), spoken(0.83)
    ('1,340', '0.8')
    """
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


class Display:
    """A watch that shows the steps; `verbose` also leaves a line for each that has ended, however short.

    Raises nothing; `close` takes the bars away, whatever is still going on.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        console: Console | None,
        *,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show bars on a console, or without one lines by `say`."""
        self._say, self._console, self._verbose, self._clock = say, console, verbose, clock
        self._meters: dict[str, Meter] = {}
        self._bars: Bars | None = None
        self._logged: float | None = None

    def __call__(self, told: Step) -> None:
        """Show how far a step is."""
        now, name = self._clock(), told.within or told.name
        if name not in self._meters:
            if told.within is not None or (told.ended and not self._verbose):
                return
            self._meters[name] = Meter(told, now, told.done, told.done)
        meter = self._meters[name]
        meter.told(told, now)
        if told.ended and told.within is None:
            self._end(meter, now)
        elif self._console is not None:
            self._bars = self._bars or Bars(self._console, self._clock)
            self._bars.show(meter)
        else:
            self._log(meter, now)

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._bars is not None:
            self._bars.close()
        self._bars, self._meters = None, {}

    def _end(self, meter: Meter, now: float) -> None:
        del self._meters[meter.step.name]
        if self._bars is not None:
            self._bars.remove(meter)
        if not self._meters:  # so that what is printed next finds an empty line
            self.close()
        if self._verbose or now - meter.started >= LOG_GAP_SECONDS:
            self._say(one_line(meter.summary(now)))
            self._logged = now

    def _log(self, meter: Meter, now: float) -> None:
        since = self._logged if meter.logged is None else meter.logged
        gap = LOG_GAP_SECONDS if meter.logged is None else LOG_SECONDS
        if since is None or now - since >= gap:
            self._say(one_line(": ".join(filter(None, [meter.step.name, meter.figures(now)]))))
            self._logged = meter.logged = now


class Bars:
    """The bars of the steps that are going on, drawn by rich; what else goes to stderr meanwhile stands above them."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
        from rich.text import Text

        class Figures(ProgressColumn):
            max_refresh = None

            def render(self, task: Task) -> Text:
                meter: Meter = task.fields["meter"]
                brief = console.width < NARROW
                return Text(one_line(meter.figures(clock(), brief=brief)), overflow="ellipsis", no_wrap=True)

        self._progress = Progress(
            *([] if console.width < NARROW else [SpinnerColumn()]),
            TextColumn("{task.description}", markup=False),
            BarColumn(4 if console.width < NARROW else 24),
            Figures(),
            console=console,
            transient=True,
            refresh_per_second=FRAMES_A_SECOND,
            get_time=clock,
            redirect_stdout=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def show(self, meter: Meter) -> None:
        """Show a step, new or known."""
        name, done, total = meter.step.name, meter.done, meter.step.total
        if name in self._tasks:
            self._progress.update(self._tasks[name], completed=done, total=total, meter=meter)
        else:
            self._tasks[name] = self._progress.add_task(one_line(name), completed=done, total=total, meter=meter)

    def remove(self, meter: Meter) -> None:
        """Take away a step that has ended."""
        if (task := self._tasks.pop(meter.step.name, None)) is not None:
            self._progress.remove_task(task)

    def close(self) -> None:
        """Take away everything."""
        self._progress.stop()
