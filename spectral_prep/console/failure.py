"""An error as the user reads it: what happened, and below it a line each of where, what was expected, got, what to run.

Input: an error. Output: on stderr, wrapped to the width of a terminal and coloured there; elsewhere as it is, so that
the lines of a log can be searched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from spectral_prep.console.progress import insist, terminal
from spectral_prep.errors import SpectralError
from spectral_prep.printable import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

ERROR = "Error"
COLOURS = {ERROR: "bold red", "Run next": "bold green"}

Labelled = Sequence[tuple[str, str]]
"""(label, text) a line; the text may have several of its own."""


def complain(error: SpectralError | click.ClickException | OSError) -> None:
    """Tell the user about an error."""
    if isinstance(error, click.ClickException):
        show_labelled(_of_click(error))
    elif isinstance(error, SpectralError):
        show_labelled(labelled(error))
    else:
        where = [] if error.filename is None else [("Where", one_line(error.filename))]
        show_labelled([(ERROR, error.strerror or str(error)), *where])


def show_labelled(lines: Labelled) -> None:
    """Print lines that begin with a label, aligned where there is a terminal; an empty label is none."""
    console = terminal()
    if console is None:
        insist("\n".join(f"{label}: {text}" if label else text for label, text in lines))
    else:
        draw_labelled(lines, console)


def labelled(error: SpectralError) -> Labelled:
    """Return the lines of an error."""
    return [(ERROR, error.what), *error.parts]


def draw_labelled(lines: Labelled, console: Console) -> None:
    """Print such lines on a terminal, labels in a column and text wrapped beside them."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in lines:
        if label:
            grid.add_row(Text(f"{label}:", style=COLOURS.get(label, "bold")), Text(printable(text).strip("\n")))
        else:
            console.print(Text(printable(text)))
    console.print(grid)


def _of_click(error: click.ClickException) -> Labelled:
    """Return what click says about a command line, which may hold anything."""
    told = io.StringIO()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        error.ctx.color = True  # or click would take what looks like a colour out of the argument
    error.show(told)
    usage, _, what = told.getvalue().rstrip("\n").rpartition("Error: ")
    return [("", re.sub(r"\n+$", "", usage)), (ERROR, what)] if usage.strip() else [(ERROR, what)]
