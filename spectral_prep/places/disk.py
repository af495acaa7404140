"""A place of the file system: what `system` does, as `places.interface` names it.

Input: a path. Output: a `Here`. Files are written under a temporary name, synced and renamed (`system.files`), read
only if they are regular (`system.regular`), and folders are locked while they are written to (`system.locks`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from spectral_prep.places.interface import Entry, NewFile, State
from spectral_prep.system import locks
from spectral_prep.system.files import (
    Advice,
    AtomicFile,
    create,
    explained,
    remove,
    remove_empty,
    sync_folder,
    sync_name,
)
from spectral_prep.system.regular import (
    RegularFile,
    irregular,
    open_regular,
    read_regular,
    regular_below,
    stream_regular,
)
from spectral_prep.system.staging import remove_leftovers


@dataclass(frozen=True)
class DiskPlace:
    """A file or folder of the file system; a `Here`."""

    path: Path

    def open(self) -> RegularFile:
        """Open the file here."""
        return open_regular(self.path)

    def stream(self, buffering: int = -1) -> BinaryIO:
        """Open the file here as Python does."""
        return stream_regular(self.path, buffering)

    def read(self, at_most: int) -> bytes:
        """Return the whole file."""
        return read_regular(self.path, at_most)

    def size(self) -> int | None:
        """Return the bytes of the file here, or of what a link leads to."""
        try:
            return self.path.stat().st_size if self.path.is_file() else None
        except OSError:
            return None

    def new(self, advice: Advice) -> AtomicFile:
        """Begin to write the file here."""
        return AtomicFile(self.path, advice)

    def finish(self, files: Sequence[NewFile]) -> None:
        """Finish one file after the other."""
        for file in files:
            file.finish()

    def create(self, content: bytes, advice: Advice) -> bool:
        """Write the file here unless there is one."""
        return create(self.path, content, advice)

    def remove(self) -> None:
        """Remove the file here, and sync its folder."""
        remove(self.path)

    def state(self) -> State:
        """Return size and time of change; `ValueError` if this is no regular file."""
        found = self.path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{self.path.name} is not a regular file")
        return State(found.st_size, found.st_mtime_ns)

    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return self.path.is_dir()

    def folders(self) -> list[str]:
        """Return the names of the folders in this one, links to folders among them."""
        with os.scandir(self.path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def names(self) -> list[str]:
        """Return the names of all but folders in this folder."""
        with os.scandir(self.path) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir())

    def children(self) -> list[str]:
        """Return the names of all in this folder."""
        return sorted(os.listdir(self.path))

    def files(self) -> Iterator[Entry]:
        """Yield every regular file below this folder; links are not followed."""
        root = os.fspath(self.path)
        for folder, _, names in os.walk(root):
            below = folder[len(root) :].lstrip("/")
            prefix = f"{below}/" if below else ""
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # removed in the meantime
                    found = os.lstat(os.path.join(folder, name))
                    if stat.S_ISREG(found.st_mode):
                        yield Entry(prefix + name, found.st_size)

    def paths(self) -> Iterator[str]:
        """Yield the path of all that is no folder; links to folders are followed.

        One that leads back up is yielded as a link, and so is a second one to the same folder: no ring of links is
        walked for ever.
        """
        pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", (_identity(self.path),))]
        followed = set[tuple[int, int]]()
        while pending:
            above, open_folders = pending.pop()
            with os.scandir(self.path / above) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                if not entry.is_dir():
                    yield above + entry.name
                    continue
                this = _identity(entry)
                if entry.is_symlink():
                    if this in open_folders or this in followed:
                        yield above + entry.name
                        continue
                    followed.add(this)
                pending.append((f"{above}{entry.name}/", (*open_folders, this)))

    def holds(self, path: str) -> bool:
        """Whether a regular file has this path below this folder."""
        return regular_below(self.path, path)

    def oddities(self) -> Iterator[tuple[Path, str]]:
        """Yield links, pipes, devices and empty folders."""
        yield from irregular(self.path)

    def sync(self, advice: Advice) -> None:
        """Put the names in this folder, and its own, on the disk."""
        with explained(self.path, advice):
            sync_folder(self.path)
            sync_name(self.path)

    def shared_use(self, advice: Advice) -> AbstractContextManager[None]:
        """Hold the shared lock of this folder."""
        return locks.shared_use(self.path, advice)

    def tidy(self, advice: Advice) -> None:
        """Remove temporary files and staging folders."""
        if self.path.is_dir():
            locks.if_unused(self.path, lambda folder: remove_leftovers(folder, advice))

    def prune(self) -> None:
        """Remove empty folders."""
        locks.if_unused(self.path, remove_empty)


def _identity(folder: Path | os.DirEntry[str]) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
