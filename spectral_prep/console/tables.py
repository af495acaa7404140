"""Tables and lists of facts as they fit what they are printed on.

Input: rows of cells, or lines, and the columns of the terminal, None for a file or a pipe. Output: text. What does not
fit a terminal is stacked, a cell a line, or wrapped below its own column; a file gets it whole.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

from spectral_prep.printable import printable

FACT = re.compile(r"\S(?:.{0,18}?\S)? {2,}(?=\S)")
"""A label and what separates it from its text."""


def output_width() -> int | None:
    """Return the columns of the terminal that stdout is, None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def aligned(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows of cells, the first one the heads, as a table, or stacked where that is wider than `width`.

    >>> print(aligned([["Scheme", "Test acc."], ["average", "97.21 %"]]))
    Scheme   Test acc.
    average  97.21 %
    >>> print(aligned([["Scheme", "Acc.", "ECE"], ["best", "92 %", "3 %"]], 16))
    Scheme: best
      Acc.  92 %
      ECE   3 %
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is None or sum(widths) + 2 * (len(widths) - 1) <= width:
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    heads, label = rows[0], max(map(len, rows[0][1:]), default=0)
    lines = []
    for row in rows[1:]:
        lines.append(f"{heads[0]}: {row[0]}" if heads[0] else row[0])
        lines += [f"  {head.ljust(label)}  {cell}" for head, cell in zip(heads[1:], row[1:], strict=True)]
    return fitted("\n".join(lines), width)


def facts(text: str) -> str:
    """Return lines of a label and a text as stdout has room for them, fit to be printed."""
    return fitted(printable(text), output_width())


def fitted(text: str, width: int | None) -> str:
    """Return lines, those that are too long wrapped; after a label, such as "rows       1,438 train", below their text.

    >>> print(fitted("rows  1,438 train, 359 test", 20))
    rows  1,438 train,
          359 test
    """
    return text if width is None else "\n".join(_wrapped(line, width) for line in text.split("\n"))


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    found = FACT.match(line.lstrip())
    indent = len(line) - len(line.lstrip()) + (found.end() if found else 0)
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
        drop_whitespace=True,
    )
