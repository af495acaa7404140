"""Images that cannot be converted, for a reader: grouped by reason, the first twenty; all of them in a file.

Input: bad rows and their splits. Output: text, and `bad-images.txt` in a data set that could not be completed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from itertools import islice

from spectral_prep.conversion.execution import Task
from spectral_prep.errors import CorruptSourceError, InputError, StorageError
from spectral_prep.places import at, atomic_write
from spectral_prep.places.url import Place
from spectral_prep.printable import one_line, shown
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.records import BadRow, bad_row_text

MOST_SHOWN = 20
LABEL = re.compile(r"\. (?=(?:Where|Expected|Got|Run next): )")
"""Before the first part of an error's paragraph that is of one image; reasons are grouped by what stands before it."""
NAME = "bad-images"

Bad = Sequence[tuple[str, BadRow]]
"""(split, row)"""


def grouped_text(bad: Bad) -> str:
    r"""Return the first twenty by reason, the most frequent reason first, each group with its number.

    >>> print(grouped_text([("train", BadRow(7, "cat/a\n.png", "truncated")), ("test", BadRow(0, "b.png", "empty"))]))
      empty (1):
        test: b.png
      truncated (1):
        train: cat/a\x0a.png
    """
    groups: dict[str, list[str]] = {}
    for split, row in bad:
        reason, _, more = LABEL.sub("\n", one_line(row.reason), count=1).partition("\n")
        groups.setdefault(reason, []).append(f"{split}: {shown(row.name)}{f' ({more})' if more else ''}")
    lines, left = [], MOST_SHOWN
    for reason, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        if left:
            lines.append(f"  {reason} ({len(names):,}):")
        lines += [f"    {name}" for name in islice(sorted(names), left)]
        left = max(0, left - len(names))
    hidden = len(bad) - min(len(bad), MOST_SHOWN)
    return "\n".join([*lines, *([f"  and {hidden:,} more"] if hidden else [])])


def refusal(bad: Bad, paths: DatasetPaths, task: Task) -> CorruptSourceError:
    """Write the list of all and return the error that shows its beginning; without room for it there is no list."""
    path = list_file(paths, task)
    told = grouped_text(bad)
    with contextlib.suppress(StorageError, InputError):
        lines = sorted(f"{split}: {bad_row_text(row)}\n" for split, row in bad)
        atomic_write(path, "".join(lines).encode(errors="backslashreplace"), WRITING)
        told += f"\n  All of them: {path} (a line each)"
    return CorruptSourceError(
        f"{len(bad):,} image{'s' if len(bad) > 1 else ''} cannot be converted, so the data set is not complete; "
        "all other blocks are kept",
        where=paths.root,
        got=f"\n{told}",
        run="replace them under the same names, then the same command; or add --on-error skip",
    )


def list_file(paths: DatasetPaths, task: Task) -> Place:
    """Return where the list of a task is, such as `bad-images.txt`, or `bad-images-3.txt` of task 3 of several."""
    return paths.root / (f"{NAME}.txt" if task.count == 1 else f"{NAME}-{task.number}.txt")


def remove_lists(paths: DatasetPaths) -> None:
    """Remove the lists of all tasks, before a data set is completed."""
    for name in at(paths.root).names():
        if name.startswith(NAME) and name.endswith(".txt"):
            at(paths.root / name).remove()
