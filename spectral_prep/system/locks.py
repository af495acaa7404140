"""Who works in a folder: many writers at once, one alone, or one that cleans up while nobody writes.

Input: a folder. Output: a lock of it, which the system holds for this process (flock on the folder itself: no file is
made for it, and nothing has to be removed when a process is killed).

The protocol:

1. Whoever writes takes a shared lock first (`shared_use`) and keeps it until it is done. Any number may: what they
   write is equal, and each file is atomic.
2. Whoever removes what killed writers left takes the exclusive lock (`if_unused`). It never waits: where somebody
   writes, a temporary file may be that writer's, so nothing is removed and the next one cleans up.
3. A writer that begins while another cleans up waits until it is done; this is the only time that anybody waits.
4. A process that ends, killed or not, loses its lock with its open files. What it leaves are temporary files and
   scratch folders, known by their names, and they count as nobody's as soon as the lock is gone.
5. Whoever must be alone locks a file in the folder, in which its name is (`sole_use`); it never waits, and a second is
   told who the first is. The file goes when the first is done; one that a killed process left locks nothing, and goes
   with the next who is alone there, or finds nothing left to do (`remove_unheld`).
6. On a file system without locks writers go on without one, and `if_unused` does nothing: leftovers stay, no file is
   lost. A file system that keeps a folder's locks on one machine (NFS) hides the writers of others: complete a data
   set when the tasks on all machines have ended. Of `sole_use` there the name in the file counts, as long as a process
   of that number lives on this machine.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from spectral_prep.errors import InputError
from spectral_prep.system.files import ANYWHERE, Advice, explained, make_folder, sync_folder

HELD = (errno.EWOULDBLOCK, errno.EACCES)
WHEN = "%Y-%m-%d %H:%M:%S"
LONGEST_HOLDER = 1 << 10
"""Bytes of the name of whoever holds a lock."""


@contextlib.contextmanager
def shared_use(folder: Path, advice: Advice = ANYWHERE) -> Iterator[None]:
    """Hold the shared lock of a folder, which is made if need be; waits while another cleans up in it.

    Raises
    ------
    InputError, StorageError
        If the folder cannot be made or opened, with the advice.
    """
    with explained(folder, advice):
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        with contextlib.suppress(OSError):  # a disk that fails: what the work said of it counts
            os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty: something was begun here
            folder.rmdir()


def if_unused(folder: Path, work: Callable[[Path], None]) -> None:
    """Call `work(folder)` under its exclusive lock, unless it is in use by a process or this cannot be known."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use, or a file system without locks
            return
        work(folder)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def sole_use(path: Path, what: str, advice: Advice = ANYWHERE) -> Iterator[None]:
    """Be the only one that does `what` (branch 3 is trained) in the folder of this lock file, which is made if need be.

    Raises
    ------
    InputError
        If another process does: on which host, its number, and since when.
    InputError, StorageError
        If the folder cannot be made or the file not opened, with the advice.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    with explained(path, advice):
        make_folder(path.parent)
        descriptor = _taken(path, what)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # what stays locks nothing
            path.unlink()
            sync_folder(path.parent)
        with contextlib.suppress(OSError):  # a disk that fails: what the work said of it counts
            os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty: something was begun here
            for folder in made:
                folder.rmdir()


def remove_unheld(path: Path) -> None:
    """Remove the lock file that a killed process left, if there is one; what cannot be removed locks nothing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _locked(descriptor) and _is_still(path, descriptor):
                path.unlink()
                sync_folder(path.parent)
        finally:
            os.close(descriptor)


def _taken(path: Path, what: str) -> int:
    """Return a locked descriptor of the file that has this name, with who locked it in it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            if not _locked(descriptor):
                raise _in_use(path, what, _holder(descriptor))
            if not _is_still(path, descriptor):  # its holder ended, and removed it, after it was opened here
                os.close(descriptor)
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()} {datetime.now(UTC):{WHEN}}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _locked(descriptor: int) -> bool:
    """Lock an open file, or say that another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        host, _, rest = _holder(descriptor).partition(" ")  # a file system without locks
        number = rest.partition(" ")[0]
        return not (host == socket.gethostname() and number.isdecimal() and _lives(int(number)))
    return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, LONGEST_HOLDER, 0).decode(errors="replace").strip()


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _in_use(path: Path, what: str, holder: str) -> InputError:
    host, number, *since = holder.split(" ", 2) if holder.count(" ") >= 2 else ("", "")
    who = f"process {number} on {host}, since {since[0]} UTC" if since else "a process that has not said who it is"
    return InputError(
        f"{what} by another process",
        where=path.parent,
        got=who,
        run="the same command when that has ended, or with another --run",
    )
