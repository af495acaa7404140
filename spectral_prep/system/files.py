"""The atomic write: a reader sees the old file, the new file or none, never a part of one.

1. Create the folder, with an fsync of each folder that gets a new name; write to a temporary name in it.
2. fsync the file, so that its content is on the disk before its name is.
3. Rename over the final name, which POSIX makes atomic.
4. fsync the folder, so that the name survives a power cut.

`AtomicFile` is this as a stream, for content larger than memory should hold; `atomic_write` is it at once. A kill at
any point leaves at most a temporary file, whose name `is_temporary` knows and the next run removes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from spectral_prep.errors import InputError, SpectralError, StorageError

TEMPORARY_SUFFIX = ".partial"
WRITEBACK_BYTES = 1 << 19
"""How much is written before the system is asked to begin putting it on the disk."""


class AtomicFile:
    """A file that is written as its content comes and gets its name at the end, or never.

    Call `append` any number of times, then `finish`; always end with `abandon`, which does nothing to a finished file.

    Raises
    ------
    InputError
        From any call, if the folder may not be written.
    StorageError
        If the disk is full or fails; `path` then holds either what it held before or the whole new content.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._given = 0  # bytes that the system was asked to put on the disk
        self._temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
        with _explained(path):
            make_folder(path.parent)
            self._file = open(self._temporary, "wb")  # noqa: SIM115 finish and abandon close it

    @property
    def sha256(self) -> str:
        """The sha256 of what was appended so far, in hexadecimal digits."""
        return self._sha256.hexdigest()

    def append(self, content: bytes) -> None:
        """Write further bytes."""
        with _explained(self.path):
            self._file.write(content)
        self._sha256.update(content)
        self.size += len(content)
        if self.size - self._given >= WRITEBACK_BYTES:
            self._begin_writeback()

    def _begin_writeback(self) -> None:
        """Let the disk work while the next bytes are made: `finish` would wait for all of it.

        On Linux to say that pages are no longer needed begins to write them and does not wait; they stay readable.
        """
        with _explained(self.path):
            self._file.flush()
        if hasattr(os, "posix_fadvise"):  # not on macOS
            with contextlib.suppress(OSError):  # it is a hint
                os.posix_fadvise(self._file.fileno(), self._given, self.size - self._given, os.POSIX_FADV_DONTNEED)
        self._given = self.size

    def finish(self) -> None:
        """Put the file under its name, on the disk for good."""
        with _explained(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)
            sync_folder(self.path.parent)

    def abandon(self) -> None:
        """Remove what was written, unless it is finished."""
        with contextlib.suppress(OSError):  # a full disk refuses what is still buffered: it is not wanted
            self._file.close()
        with _explained(self.path):
            self._temporary.unlink(missing_ok=True)


def atomic_write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file, given whole or in pieces, as a whole or not at all; raises what `AtomicFile` raises."""
    file = AtomicFile(path)
    try:
        for piece in (content,) if isinstance(content, bytes) else content:
            file.append(piece)
        file.finish()
    finally:
        file.abandon()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, each name put on the disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, if it is there, for good: its name does not come back after a power cut."""
    if path.exists():
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def has_size(path: Path, size: int) -> bool:
    """Whether a file is there and has this size."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Let `alone_in` know that a process works in this folder, which is created; the mark ends with the process.

    Several may: what they write is equal and atomic. Who begins while another is `alone_in` it waits.
    """
    try:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise explain(error, folder) from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty: something was begun here
            folder.rmdir()


def alone_in(folder: Path, work: Callable[[Path], None]) -> None:
    """Call `work(folder)` unless another process is `in_use` of the folder, or this cannot be known."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use, or a file system without locks
            return
        work(folder)
    finally:
        os.close(descriptor)


def remove_empty(folder: Path) -> None:
    """Remove every folder below this one that holds nothing but such folders."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside comes first
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()


def is_temporary(path: Path) -> bool:
    """Whether this is what a killed `atomic_write` leaves behind."""
    return path.name.endswith(TEMPORARY_SUFFIX)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def explain(error: OSError, path: Path) -> SpectralError:
    """Turn an operating-system error of writing into the paragraph that the user reads."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            "the disk is full",
            where=path,
            got=os.strerror(error.errno),
            run="free space, then the same command: finished blocks are kept",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return InputError(
            "cannot write here",
            where=path,
            expected="a folder that you may write to",
            got=os.strerror(error.errno),
            run="the same command with --out in such a folder",
        )
    return StorageError("writing failed", where=path, got=error)
