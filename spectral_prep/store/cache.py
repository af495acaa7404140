"""Copies, on this machine, of spectral folders that lie in a bucket: fetched once, proved, shared, and thrown away.

Input: the URL of a spectral folder and its record. Output: a path with the same files, each of which has the sha256
that the record vouches for; for as long as this process lives nobody removes them.

```
~/.cache/spectral-shards/
  cca04acecd69ddc3-spectral-03-1b2c5d6e7f809a1b/   dataset_id, folder, beginning of the sha256 of its record
    spectral.json …                                the record is written last
```

1. Whoever uses a copy holds its folder's shared lock, and who fetches also the exclusive lock of a file in it: others
   wait for that and then find the files there.
2. A file gets its name only if its sha256 is right, so that a fetch that was stopped goes on with the next file. Files
   that are there are read and proved again: what a disk has damaged in the meantime is fetched again.
3. Where there is too little room, the copies that nobody uses go, the one that was used longest ago first; only files
   that a record lists, so never one that somebody else put there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from spectral_prep.errors import CorruptFileError, InputError, SpectralError
from spectral_prep.places import STREAMED_BYTES, at, atomic_write, sha256_of
from spectral_prep.places.cache import Cache
from spectral_prep.places.url import Url
from spectral_prep.printable import quoted
from spectral_prep.store.layout import SpectralPaths, spectral_name
from spectral_prep.store.record_file import read_record, rendered
from spectral_prep.store.records import FileEntry, SpectralRecord
from spectral_prep.system.files import Advice, AtomicFile, explained, is_temporary, make_folder, remove_empty

NAME = re.compile(r"[0-9a-f]{16}-spectral-\d+-[0-9a-f]{16}")
RECORD = SpectralPaths(Path()).record.name
FETCH_LOCK = ".fetching"
FETCHED_AT_ONCE = 8
FETCHING = Advice(
    full="the same command with --cache on another disk, or with --no-cache",
    refused="the same command with --cache and such a folder, or with --no-cache",
)


@dataclass(frozen=True)
class Copy:
    """A folder of the cache: its bytes, when it was last used (seconds), and whether a process uses it now."""

    path: Path
    size: int
    used: float
    in_use: bool


_HELD: dict[Path, int] = {}
"""The locks of the copies that this process uses: descriptors, open until it ends."""


def fetched(root: Url, record: SpectralRecord, cache: Cache) -> Path:
    """Return the path of a copy of a spectral folder, fetching what is not there yet.

    Raises
    ------
    InputError
        If the cache may not be as large, or its folder may not be written to.
    StorageError
        If the disk is full, or the object store fails.
    CorruptFileError
        If a file in the bucket is not what the record vouches for.
    """
    content = rendered(record)
    folder = cache.folder / f"{record.dataset_id}-{spectral_name(record.k)}-{hashlib.sha256(content).hexdigest()[:16]}"
    with explained(folder, FETCHING):
        _hold(folder)
        if missing := _missing(folder, record.files):
            with open(folder / FETCH_LOCK, "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _fetch_all(root, folder, missing, cache)
        os.utime(folder)
    atomic_write(folder / RECORD, content, FETCHING)
    return folder


def copies(cache: Cache) -> list[Copy]:
    """Return the copies that a cache holds, the one that was used longest ago first."""
    here = at(cache.folder)
    names = filter(NAME.fullmatch, here.folders() if here.is_folder() else [])
    found = [_copy(cache.folder / name) for name in names]
    return sorted(found, key=lambda copy: copy.used)


def clean(cache: Cache) -> list[Copy]:
    """Remove the copies that no process uses and return them; only the files that we fetched go."""
    return [copy for copy in copies(cache) if _remove(copy.path)]


def _hold(folder: Path) -> None:
    """Take the shared lock of a copy for as long as this process lives."""
    while folder not in _HELD:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
            _HELD[folder] = descriptor
        else:  # another process removed it in the meantime
            os.close(descriptor)


def _fetch_all(root: Url, folder: Path, missing: Sequence[FileEntry], cache: Cache) -> None:
    missing = _missing(folder, missing)  # another process may have fetched it while this one waited
    _make_room(cache, folder, sum(entry.size for entry in missing))
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        for done in [pool.submit(_fetch, root, folder, entry) for entry in missing]:
            done.result()


def _copy(path: Path) -> Copy:
    size = sum(entry.size for entry in at(path).files())
    with _exclusively(path) as alone:
        return Copy(path, size, path.stat().st_mtime, not alone)


def _missing(folder: Path, entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Return those of these files that are not there, or not what the record vouches for."""
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        whole = pool.map(lambda entry: _is_whole(folder / entry.path, entry), entries)
        return [entry for entry, there in zip(entries, whole, strict=True) if not there]


def _is_whole(path: Path, entry: FileEntry) -> bool:
    return at(path).size() == entry.size and sha256_of(path) == entry.sha256


def _fetch(root: Url, folder: Path, entry: FileEntry) -> None:
    """Fetch a file; it gets its name only if it is what the record vouches for."""
    file = AtomicFile(folder / entry.path, FETCHING)
    try:
        with at(root / entry.path).stream() as content:
            while file.size <= entry.size and (piece := content.read(STREAMED_BYTES)):
                file.append(piece)
        if (file.size, file.sha256) != (entry.size, entry.sha256):
            raise _not_as_listed(root, entry, f"sha256 {file.sha256[:12]}… of {file.size} bytes")
        file.finish()
    except FileNotFoundError as error:
        raise _not_as_listed(root, entry, "no such object") from error
    finally:
        file.abandon()


def _not_as_listed(root: Url, entry: FileEntry, got: object) -> CorruptFileError:
    return CorruptFileError(
        "a file of the shard is not what its record vouches for",
        where=root / entry.path,
        expected=f"{entry.size} bytes with sha256 {entry.sha256[:12]}…",
        got=got,
        run=f"spectral-prep verify {quoted(root)}",
    )


def _make_room(cache: Cache, folder: Path, wanted: int) -> None:
    """Remove copies that nobody uses until so many bytes more fit; raise `InputError` if they never do."""
    others = [copy for copy in copies(cache) if copy.path != folder]
    taken = sum(copy.size for copy in others) + sum(entry.size for entry in at(folder).files())
    free = shutil.disk_usage(folder).free
    for copy in others:
        if _fits(cache, taken + wanted, free - wanted):
            return
        if _remove(copy.path):
            taken, free = taken - copy.size, free + copy.size
    if not _fits(cache, taken + wanted, free - wanted):
        limit = "what the disk has free" if cache.most_bytes is None else f"--cache-size {cache.most_bytes}"
        raise InputError(
            "the cache has no room for this shard",
            where=cache.folder,
            expected=f"{wanted:,} bytes beside the copies in use, within {limit}",
            got=f"{taken:,} bytes in it, {max(0, free):,} free on the disk",
            run="the same command with a larger --cache-size, --cache on another disk, or --no-cache",
        )


def _fits(cache: Cache, size: int, free: int) -> bool:
    return free >= 0 and (cache.most_bytes is None or size <= cache.most_bytes)


def _remove(folder: Path) -> bool:
    """Remove a copy unless a process uses it: the files that its record lists, and what stopped fetches left."""
    with _exclusively(folder) as alone:
        if not alone:
            return False
        try:
            listed = [entry.path for entry in read_record(folder / RECORD, SpectralRecord).files]
        except SpectralError:  # a fetch that was stopped: it made all that is there
            listed = [entry.path for entry in at(folder).files()]
        temporary = [entry.path for entry in at(folder).files() if is_temporary(entry.path)]
        with explained(folder, FETCHING):
            for path in (*listed, *temporary, RECORD, FETCH_LOCK):
                (folder / path).unlink(missing_ok=True)
            remove_empty(folder)
            with contextlib.suppress(OSError):  # somebody put a file there
                folder.rmdir()
        return True


@contextlib.contextmanager
def _exclusively(folder: Path) -> Iterator[bool]:
    """Yield whether no other process uses a copy; while this lasts none begins to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
