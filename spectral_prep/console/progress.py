"""What the commands share with a terminal: options that several have, a line to the user, a conversion's progress."""

from __future__ import annotations

import io
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, cast

import click
from tqdm import tqdm

from spectral_prep.places.url import Place, place_of
from spectral_prep.printable import printable

if TYPE_CHECKING:
    from spectral_prep.conversion.convert import Progress

LOG_SECONDS = 5
LONGEST_NOTICE = 300


class _PlaceType(click.ParamType):  # type: ignore[type-arg]  # older releases have none
    """A path, or the URL of a bucket and what is in it."""

    name = "path"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """Return the place that a text means."""
        return place_of(value) if isinstance(value, str) else cast(Place, value)


PLACE = _PlaceType()

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, for machines.")


def say(text: str) -> None:
    """Tell the user something that is no result: on stderr."""
    click.echo(printable(text), err=True)


def answer(text: str) -> None:
    """Print a result for a reader, on stdout; for machines `json.dumps` leaves nothing to escape."""
    click.echo(printable(text))


class Spoken(logging.Handler):
    """Tells the user what this package logs: what is read from a source, and what in it is passed over."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one message."""
        say(record.getMessage())


def speak() -> None:
    """Show what this package logs on stderr, once a process."""
    log = logging.getLogger("spectral_prep")
    if not any(isinstance(handler, Spoken) for handler in log.handlers):
        log.addHandler(Spoken(logging.INFO))
        log.setLevel(logging.INFO)


class Notices(io.TextIOBase):
    """Stands for stdout, where results alone go, while an engine works: what Ray prints there, a page at times.

    The first line of each text goes to stderr.
    """

    def write(self, text: str) -> int:
        """Tell the user the first line of a text."""
        line = click.unstyle(text).strip().partition("\n")[0]
        if line:
            tqdm.write(printable(line if len(line) <= LONGEST_NOTICE else f"{line[:LONGEST_NOTICE]}…"), file=sys.stderr)
        return len(text)


class ConversionProgress:
    """A bar a split on a terminal, a line every few seconds elsewhere; on stderr either way."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._bars: dict[str, tqdm[Any]] = {}
        self._started = self._logged = time.monotonic()
        self._at_start = 0

    def __call__(self, progress: Progress) -> None:
        """Show how far a conversion is."""
        if progress.block is None:
            self._begin(progress)
            return
        from spectral_prep.store.records import bad_row_text

        for bad in progress.block.bad:
            tqdm.write(f"bad image: {progress.block.split}: {bad_row_text(bad)}", file=sys.stderr)
        if self._terminal:
            for name, bar in self._bars.items():
                bar.update(progress.done[name] - bar.n)
        elif time.monotonic() - self._logged >= LOG_SECONDS or progress.finished:
            self._logged = time.monotonic()
            self._log(progress)

    def close(self) -> None:
        """Leave the terminal in order."""
        for bar in self._bars.values():
            bar.close()
        self._bars = {}

    def _begin(self, progress: Progress) -> None:
        from spectral_prep.console.text import conversion_text, outlook_text, warning_text

        plan, self._at_start, self._started = progress.plan, sum(progress.done.values()), time.monotonic()
        say(conversion_text(plan) + (", resuming" if self._at_start else ""))
        if not progress.finished and (warning := warning_text(plan)):
            say(warning)
        if progress.estimate is not None:
            say(outlook_text(progress.estimate))
        if self._terminal:
            self._bars = {
                name: tqdm(total=rows, initial=progress.done[name], desc=name, unit="img", unit_scale=True)
                for name, rows in progress.wanted.items()
            }

    def _log(self, progress: Progress) -> None:
        from spectral_prep.console.text import progress_text

        say(progress_text(progress, self._at_start, time.monotonic() - self._started))
