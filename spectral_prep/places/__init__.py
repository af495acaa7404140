"""Places: one way to read and write, on a file system (`disk`) and in a bucket (`objects`).

Everything that the house reads and writes for a user goes through `at(place)` or one of the functions here. Scratch
files of this process, which no one names, are `system`'s.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

from spectral_prep.errors import InputError
from spectral_prep.places.disk import DiskPlace
from spectral_prep.places.interface import Here, NewFile
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.system import files, locks
from spectral_prep.system.files import ANYWHERE, Advice, write_whole
from spectral_prep.system.regular import EMPTY

STREAMED_BYTES = 1 << 23


def at(place: Place) -> Here:
    """Return what can be done at a place.

    Raises
    ------
    InputError
        If it is a URL and the extra `cloud` is not installed.
    """
    if isinstance(place, Path):
        return DiskPlace(place)
    try:
        from spectral_prep.places.objects import ObjectPlace
    except ImportError as error:
        raise InputError(
            "buckets need a package that is not installed",
            where=place,
            got=error,
            run="pip install 'spectral-shards[cloud]', then the same command",
        ) from error
    return ObjectPlace(place)


def exists(place: Place) -> bool:
    """Whether there is a file at a place."""
    return at(place).size() is not None


def is_there(place: Place) -> bool:
    """Whether there is anything at a place: a file, a folder, or what is neither."""
    return place.exists() if isinstance(place, Path) else exists(place) or at(place).is_folder()


def atomic_write(place: Place, content: bytes | Iterable[bytes], advice: Advice = ANYWHERE) -> None:
    """Write a file, given whole or in pieces, as a whole or not at all; raises what `Here.new` and `NewFile` raise."""
    write_whole(at(place).new(advice), content)


def replace_together(contents: Mapping[Place, bytes], advice: Advice = ANYWHERE) -> None:
    """Write several files in place of older ones, of which the last vouches for the others.

    All content is on the disk before the first name is taken: a full disk leaves the older files as they are. A kill
    while names are taken leaves no last file. Raises what `Here.new` and `NewFile` raise.
    """
    files: list[NewFile] = []
    try:
        for place, content in contents.items():
            files.append(at(place).new(advice))
            files[-1].append(content)
            files[-1].settle()
        at(files[-1].place).remove()
        for file in files:
            file.finish()
    finally:
        for file in files:
            file.abandon()


def require_writable(place: Place, advice: Advice = ANYWHERE) -> None:
    """Refuse a file on a disk that could not be written, before the work that it is for (`system.files`)."""
    if isinstance(place, Path):
        files.require_writable(place, advice)


def sole_use(lock: Place, what: str, advice: Advice = ANYWHERE) -> AbstractContextManager[None]:
    """Be the only process that does `what` under this lock file, or raise `InputError`: who does (`system.locks`).

    In a bucket nothing is locked: no lock there would end with the process that holds it.
    """
    return locks.sole_use(lock, what, advice) if isinstance(lock, Path) else nullcontext()


def remove_unheld(lock: Place) -> None:
    """Remove the lock file of `sole_use` that a killed process left (`system.locks`)."""
    if isinstance(lock, Path):
        locks.remove_unheld(lock)


def sha256_of(place: Place) -> str:
    """Return the sha256 of a file, read once, in pieces; raises what `Here.stream` raises."""
    digest = hashlib.sha256()
    with at(place).stream(0) as file:
        while piece := file.read(STREAMED_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def copy_to(path: Path, place: Place, advice: Advice) -> None:
    """Write a copy of a file to a path, as a whole or not at all; raises what `Here.stream` and `AtomicFile` raise."""
    with at(place).stream(0) as file:
        atomic_write(path, iter(lambda: file.read(STREAMED_BYTES), b""), advice)


def refuse_irregular(folder: Place) -> None:
    """Refuse to write into a folder that holds symbolic links, pipes or devices: what is written there goes elsewhere.

    Raises
    ------
    InputError
        Naming the first.
    """
    here = at(folder)
    for place, kind in here.oddities() if here.is_folder() else ():
        if kind != EMPTY:
            raise InputError(
                f"the folder holds {kind}", where=place, expected="files and folders", run=f"rm {quoted(place)}"
            )


def on_disk(place: Place) -> Path:
    """Return a path with the content of a file: itself, or a copy for as long as this process lives.

    For libraries that read paths only (safetensors, which maps them), and for what is read several times.

    Raises
    ------
    OSError
        If there is no such file.
    StorageError
        If the scratch folder is full, or the object store fails.
    """
    if isinstance(place, Path):
        return place
    from spectral_prep.places.objects import version

    copy = Path(_scratch().name, hashlib.sha256(f"{place} {version(place)}".encode()).hexdigest())
    if not copy.exists():
        copy_to(copy, place, SCRATCH)
    return copy


SCRATCH = Advice(
    full="the same command with TMPDIR set to a folder on another disk",
    refused="the same command with TMPDIR set to such a folder",
)


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="spectral-")
