"""The atomic write: a reader sees the old file, the new file or none, never a part of one.

1. Write to a temporary name in the same folder.
2. fsync the file, so that its content is on the disk before its name is.
3. Rename over the final name, which POSIX makes atomic.
4. fsync the folder, so that the name survives a power cut.

A kill at any point leaves at most a temporary file, whose name `is_temporary` knows and the next run removes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from pathlib import Path

from spectral_prep.errors import InputError, SpectralError, StorageError

TEMPORARY_SUFFIX = ".partial"


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, creating its folders.

    Raises
    ------
    InputError
        If the folder may not be written.
    StorageError
        If the disk is full or fails; whatever stood at `path` before still does.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise explain(error, path) from error


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
