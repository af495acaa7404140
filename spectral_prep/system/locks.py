"""Who works in a folder: many writers at once, or one that cleans up while nobody writes.

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
5. On a file system without locks writers go on without one, and `if_unused` does nothing: leftovers stay, no file is
   lost. A file system that keeps a folder's locks on one machine (NFS) hides the writers of others: complete a data
   set when the tasks on all machines have ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from spectral_prep.system.files import ANYWHERE, Advice, explained, make_folder


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
