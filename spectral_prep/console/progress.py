"""What the commands share with a terminal: options that several have, a line to the user, a conversion's progress."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, cast

import click

from spectral_prep.console.display import Display
from spectral_prep.places.url import Place, place_of
from spectral_prep.printable import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

    from spectral_prep.conversion.convert import Progress
    from spectral_prep.store.records import BadRow

LONGEST_NOTICE = 300
LOUDNESS = "spectral_prep.loudness"
"""Where a command keeps "quiet" or "verbose", in the `meta` of click's context."""


class _PlaceType(click.ParamType):  # type: ignore[type-arg]  # older releases have none
    """A path, or the URL of a bucket and what is in it."""

    name = "path"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """Return the place that a text means."""
        return place_of(value) if isinstance(value, str) else cast(Place, value)


PLACE = _PlaceType()

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, for machines.")


def say(text: str) -> None:
    """Tell the user something that is no result: on stderr, unless the command is to be quiet."""
    if _loudness() != "quiet":
        insist(text)


def insist(text: str) -> None:
    """Tell the user what a quiet command has to say, too: on stderr."""
    sys.stderr.write(f"{printable(text)}\n")  # not by click, which would write past rich, into its bars
    sys.stderr.flush()


def conclude(text: str) -> None:
    """Say on stdout what a command wrote, and what to run next, unless it is to be quiet: nobody asked for it."""
    if _loudness() != "quiet":
        answer(text)


def answer(text: str) -> None:
    """Print a result for a reader, on stdout; for machines `json.dumps` leaves nothing to escape."""
    click.echo(printable(text))


class Spoken(logging.Handler):
    """Tells the user what this package logs: what is read from a source, and what in it is passed over."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one message; of a quiet command a warning alone."""
        (insist if record.levelno >= logging.WARNING else say)(record.getMessage())


def speak() -> None:
    """Show what this package logs on stderr, once a process."""
    log = logging.getLogger("spectral_prep")
    if not any(isinstance(handler, Spoken) for handler in log.handlers):
        log.addHandler(Spoken(logging.INFO))
        log.setLevel(logging.INFO)


def caused(error: BaseException) -> None:
    """Say what caused an error, if the command is to be verbose."""
    cause = error.__cause__
    while cause is not None and _loudness() == "verbose":
        say(f"Caused by {type(cause).__name__}: {one_line(cause)}")
        cause = cause.__cause__


def terminal() -> Console | None:
    """Return stderr as rich draws on it; None where it is no terminal, or one that cannot move its cursor."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    return None if console.is_dumb_terminal else console


def display() -> Display:
    """Return what shows the steps of the command that runs, as loud as it is to be."""
    if _loudness() == "quiet":
        return Display(lambda text: None, None)
    return Display(say, terminal(), verbose=_loudness() == "verbose")


def _loudness() -> str:
    context = click.get_current_context(silent=True)
    return "" if context is None else str(context.meta.get(LOUDNESS, ""))


class Notices(io.TextIOBase):
    """Stands for stdout, where results alone go, while an engine works: what Ray prints there, a page at times.

    The first line of each text goes to stderr.
    """

    def write(self, text: str) -> int:
        """Tell the user the first line of a text."""
        line = click.unstyle(text).strip().partition("\n")[0]
        if line:
            say(line if len(line) <= LONGEST_NOTICE else f"{line[:LONGEST_NOTICE]}…")
        return len(text)


class ConversionProgress:
    """Says what a conversion is about to do, and keeps the bad images that it meets."""

    def __init__(self) -> None:
        self.bad: list[tuple[str, BadRow]] = []

    def __call__(self, progress: Progress) -> None:
        """Take how far a conversion is."""
        from spectral_prep.console.text import conversion_text, outlook_text, warning_text

        if progress.block is not None:
            self.bad += [(progress.block.split, row) for row in progress.block.bad]
            return
        say(conversion_text(progress.plan) + (", resuming" if any(progress.done.values()) else ""))
        if not progress.finished and (warning := warning_text(progress.plan)):
            insist(warning)
        if progress.estimate is not None:
            say(outlook_text(progress.estimate))
