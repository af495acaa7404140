"""What lies among images and is none: passed over, counted by kind, and said once.

Input: names of files. Output: whether an operating system or a tool left them there, and one line such as "3 files
ignored: .heic 1, .db 1, .txt 1", which goes to this package's log; the command line shows it before it converts.
"""

from __future__ import annotations

import logging
import posixpath
from collections import Counter
from collections.abc import Iterable

from spectral_prep.printable import shown
from spectral_prep.sources.opening import OPTIONAL, listed, reads

JUNK = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin", "system volume information"}
"""Names, in lower case, of what macOS, Windows, Synology's disks and Linux leave in folders."""

MOST_KINDS = 10

LOG = logging.getLogger(__name__)


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left there by an operating system.

    >>> is_junk("._cat.jpg"), is_junk("__MACOSX"), is_junk("Thumbs.db"), is_junk("cat.jpg")
    (True, True, True, False)
    """
    return name.startswith(".") or name.lower() in JUNK


class Ignored:
    """Files that are passed over, by kind."""

    def __init__(self) -> None:
        self._kinds = Counter[str]()

    def add(self, path: str) -> None:
        """Count a file: one that is hidden, or in a hidden folder, as such, any other by the end of its name."""
        hidden = any(part.startswith(".") for part in path.split("/"))
        self._kinds["hidden" if hidden else posixpath.splitext(path)[1].lower() or "without an ending"] += 1

    def tell(self, where: object) -> None:
        """Say how many files of which kind were passed over below a place, if any were."""
        if not (count := self._kinds.total()):
            return
        kinds = [f"{shown(kind)} {number}" for kind, number in self._kinds.most_common()]
        more = f" and {len(kinds) - MOST_KINDS} other kinds" if len(kinds) > MOST_KINDS else ""
        lacking = sorted({OPTIONAL[kind] for kind in self._kinds if kind in OPTIONAL and not reads(kind)})
        advice = "".join(f"; pip install 'spectral-shards[{extra}]' to read them" for extra in lacking)
        text = f"{count} file{'s' if count > 1 else ''} ignored: {', '.join(kinds[:MOST_KINDS])}{more}{advice}"
        LOG.warning("%s (in %s)", text, shown(where))


def tell_untaken(what: str, where: object, names: Iterable[str]) -> None:
    """Say which files or folders are seen and not taken, if there are any."""
    if found := list(names):
        LOG.warning("%s: %s (in %s)", what, listed(found), shown(where))
