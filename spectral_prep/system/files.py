"""The atomic write: a reader sees the old file, the new file or none, never a part of one.

1. Create the folder, with an fsync of every folder above it; write to a temporary name in it.
2. fsync the file, so that its content is on the disk before its name is.
3. Rename over the final name, which POSIX makes atomic.
4. fsync the folder, so that the name survives a power cut.

`AtomicFile` is this as a stream, for content larger than memory should hold; `atomic_write` is it at once. A kill at
any point leaves at most a temporary file, whose name `is_temporary` knows and the next run removes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spectral_prep.errors import InputError, SpectralError, StorageError

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
"""Errors of the system that another path helps against: the user's input, not the disk, is at fault."""

TEMPORARY_SUFFIX = ".partial"
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS)
"""What fsync of a folder answers where it means nothing: CIFS, some FUSE, read-only mounts."""
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What a file system without hard links answers."""
WRITEBACK_BYTES = 1 << 19
"""How much is written before the system is asked to begin putting it on the disk."""


@dataclass(frozen=True)
class Advice:
    """What a user should run next where the disk is full, and where a folder refuses to be written to."""

    full: str
    refused: str


ANYWHERE = Advice("free space, then the same command", "the same command with a folder that you may write to")
TO_OUT = Advice("free space, then the same command", "the same command with --out in such a folder")


class AtomicFile:
    """A file that is written as its content comes and gets its name at the end, or never.

    Call `append` any number of times, then `finish`; always end with `abandon`, which does nothing to a finished file.
    `advice` is for the user whose file cannot be written.

    Raises
    ------
    InputError
        From any call, if the folder may not be written.
    StorageError
        If the disk is full or fails; `path` then holds either what it held before or the whole new content.
    """

    def __init__(self, path: Path, advice: Advice = ANYWHERE) -> None:
        self.place = path
        self._advice = advice
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._given = 0  # bytes that the system was asked to put on the disk
        self._temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
        with explained(path, advice):
            make_folder(path.parent)
            self._file = open(self._temporary, "wb")  # noqa: SIM115 finish and abandon close it

    @property
    def sha256(self) -> str:
        """The sha256 of what was appended so far, in hexadecimal digits."""
        return self._sha256.hexdigest()

    def append(self, content: bytes) -> None:
        """Write further bytes."""
        with explained(self.place, self._advice):
            self._file.write(content)
        self._sha256.update(content)
        self.size += len(content)
        if self.size - self._given >= WRITEBACK_BYTES:
            self._begin_writeback()

    def _begin_writeback(self) -> None:
        """Let the disk work while the next bytes are made: `finish` would wait for all of it.

        On Linux to say that pages are no longer needed begins to write them and does not wait; they stay readable.
        """
        with explained(self.place, self._advice):
            self._file.flush()
        if hasattr(os, "posix_fadvise"):  # not on macOS
            with contextlib.suppress(OSError):  # it is a hint
                os.posix_fadvise(self._file.fileno(), self._given, self.size - self._given, os.POSIX_FADV_DONTNEED)
        self._given = self.size

    def settle(self) -> None:
        """Put what was appended on the disk, as yet under no name."""
        with explained(self.place, self._advice):
            self._file.flush()
            os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Put the file under its name, on the disk for good."""
        self.settle()
        with explained(self.place, self._advice):
            self._file.close()
            os.replace(self._temporary, self.place)
            sync_folder(self.place.parent)

    def finish_new(self) -> bool:
        """Do as `finish` does unless there is a file of that name; return whether the name is this file's now."""
        self.settle()
        with explained(self.place, self._advice):
            self._file.close()
            try:
                os.link(self._temporary, self.place)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                if self.place.exists():
                    return False
                os.replace(self._temporary, self.place)
            self._temporary.unlink(missing_ok=True)
            sync_folder(self.place.parent)
        return True

    def abandon(self) -> None:
        """Remove what was written, unless it is finished."""
        with contextlib.suppress(OSError):  # a full disk refuses what is still buffered: it is not wanted
            self._file.close()
        with explained(self.place, self._advice):
            self._temporary.unlink(missing_ok=True)


def require_writable(path: Path, advice: Advice = ANYWHERE) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold; leaves nothing behind.

    Raises
    ------
    InputError
        If the folder may not be written, or is no folder; if a folder has the file's name.
    StorageError
        If the disk is full or fails.
    """
    with explained(path, advice):
        if path.is_dir():
            raise InputError("a folder has this name already", where=path, expected="the name of a file")
        above = next(folder for folder in path.absolute().parents if folder.exists())
        tempfile.TemporaryFile(dir=above, suffix=TEMPORARY_SUFFIX).close()


class Unfinished(Protocol):
    """A file that is written as its content comes and gets its name at the end, or never."""

    def append(self, content: bytes) -> None:
        """Write further bytes."""
        ...

    def settle(self) -> None:
        """Put what was appended where it waits for its name."""
        ...

    def finish(self) -> None:
        """Put the file under its name, for good."""
        ...

    def abandon(self) -> None:
        """Remove what was written, unless it is finished."""
        ...


def atomic_write(path: Path, content: bytes | Iterable[bytes], advice: Advice = ANYWHERE) -> None:
    """Write a file, given whole or in pieces, as a whole or not at all; raises what `AtomicFile` raises."""
    write_whole(AtomicFile(path, advice), content)


def write_whole(file: Unfinished, content: bytes | Iterable[bytes]) -> None:
    """Write the content, given whole or in pieces, and finish the file; abandon it if that fails."""
    try:
        for piece in (content,) if isinstance(content, bytes) else content:
            file.append(piece)
        file.finish()
    finally:
        file.abandon()


def create(path: Path, content: bytes, advice: Advice = ANYWHERE) -> bool:
    """Write a file unless there is one, and return whether it was written; raises what `AtomicFile` raises."""
    file = AtomicFile(path, advice)
    try:
        file.append(content)
        return file.finish_new()
    finally:
        file.abandon()


@contextlib.contextmanager
def explained(path: object, advice: Advice = ANYWHERE) -> Iterator[None]:
    """Turn what the system refuses while a file or folder is written into the paragraph that the user reads."""
    try:
        yield
    except OSError as error:
        raise explain(error, path, advice) from error


def make_folder(folder: Path) -> None:
    """Create a folder and those above it; their names are on the disk then, whoever made them."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    sync_name(folder)


def sync_name(folder: Path) -> None:
    """Put the name of a folder on the disk, and those above it up to the mount point.

    One that is there already may be a killed process's, which had no time to do so.
    """
    for above in folder.absolute().parents:
        with contextlib.suppress(PermissionError):  # what may not be listed was not made by us
            sync_folder(above)
        if os.path.ismount(above):
            return


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, as far as its file system knows how to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, if it is there, for good: its name does not come back after a power cut."""
    if path.exists():
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def remove_empty(folder: Path) -> None:
    """Remove every folder below this one that holds nothing but such folders."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside comes first
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()


def is_temporary(name: str) -> bool:
    """Whether a file of this name is what a killed `AtomicFile` leaves behind."""
    return name.endswith(TEMPORARY_SUFFIX)


def explain(error: OSError, path: object, advice: Advice = ANYWHERE) -> SpectralError:
    """Return the paragraph that the user reads for an error of the system in writing."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            "the disk is full",
            where=path,
            got=os.strerror(error.errno),
            run=advice.full,
        )
    if error.errno in REFUSED:
        return InputError(
            "cannot write here",
            where=path,
            expected="a folder that you may write to",
            got=os.strerror(error.errno),
            run=advice.refused,
        )
    return StorageError("writing failed", where=path, got=error)
