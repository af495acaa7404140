"""What is in tar archives: an index by one pass over the headers; `tar_reader` then reads any member by its offset.

1. `indexed` yields every regular file, those of nested tars (a class each, in ImageNet's releases) too; it reads the
   512-byte headers only and seeks over the data, in several tars at a time. Hidden files, such as macOS's `._…`, and
   folders are passed over. Plain headers are read by `plain_headers`, all others by tarfile.
2. What cannot be read in place (links, sparse files) is refused; a truncated or damaged archive is named with the
   member where that shows.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple

from spectral_prep.errors import CorruptSourceError, SpectralError
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.archive import ARCHIVES_AT_ONCE, Archive
from spectral_prep.sources.ignored import is_junk
from spectral_prep.sources.opening import LARGEST_IMAGE, explained, is_image, opened
from spectral_prep.sources.plain_headers import PlainFiles, plain_files
from spectral_prep.sources.tar_header import BoundedHeader

TARS_AHEAD = 2 * ARCHIVES_AT_ONCE
TARS_BETWEEN_LOOKS = 8 * TARS_AHEAD
"""That are read at once before one is read alone again, to see whether it has to be waited for."""

LEAST_WAIT = 0.001
"""Seconds; less tells nothing."""

LARGEST_MEMBER = (1 << 31) - 1
TAR = ".tar"
WHOLE_SUFFIXES = (TAR, ".tar.gz", ".tgz")
"""How the one archive of a whole release, or of its development kit, may end."""


class Member(NamedTuple):
    """A regular file in an archive: `tar` names the nested tar that it is in, without .tar, "" if none.

    A nested tar itself comes before its files, with an empty `path`.
    """

    tar: str
    path: str
    offset: int
    size: int


class Run(NamedTuple):
    """Plain files that follow one another in an archive, as `plain_headers` has them; hidden ones are among them."""

    tar: str
    files: PlainFiles

    def members(self) -> Iterator[Member]:
        """Yield them one by one, without those that are hidden."""
        for name, offset, size in zip(
            self.files.names, self.files.offsets.tolist(), self.files.sizes.tolist(), strict=True
        ):
            if parts := _parts(os.fsdecode(name)):
                yield Member(self.tar, "/".join(parts), offset, size)


@dataclass(frozen=True)
class Nested:
    """A tar, most often one in a tar: its name without .tar, where it is for a message, from which byte on, and its
    bytes if they are known.
    """

    name: str
    where: str
    offset: int
    size: int | None


_Job = Callable[[], list[tuple[int, Member | Run]]]
"""Returns what is in a class tar, or what lies between two of them."""


def members(path: Place, tar: str = "") -> Iterator[Member]:
    """Yield the regular files of a tar archive, and of the tars in it, in the order in which they are stored.

    With `tar` the archive is itself a class tar of this name.

    Raises
    ------
    InputError
        If the archive is not there or may not be read.
    CorruptSourceError
        If it is truncated or damaged, or holds links or sparse files in place of images.
    """
    for _, found in indexed([(path, tar)]):
        yield from found.members() if isinstance(found, Run) else (found,)


def indexed(archives: Iterable[tuple[Place, str]]) -> Iterator[tuple[int, Member | Run]]:
    """Yield what is in several archives, each (path, class that it is the tar of or ""), with the archive's number.

    It comes in stored order, and so do errors, which are those of `members`. Class tars, whether files or in a tar, are
    read one by one while their headers come without waiting, as from memory: threads that all hold Python's lock
    between two headers take twice the processor time. After one that had to be waited for several are read at once.
    """
    jobs = _jobs(archives)
    with ThreadPoolExecutor(ARCHIVES_AT_ONCE, "tar index") as pool:
        for job in jobs:
            clock, processor = time.perf_counter(), time.thread_time()
            found = job()
            waited = time.perf_counter() - clock - (used := time.thread_time() - processor)
            yield from found
            if waited > used + LEAST_WAIT:
                yield from _at_once(pool, itertools.islice(jobs, TARS_BETWEEN_LOOKS))


def _at_once(pool: ThreadPoolExecutor, jobs: Iterable[_Job]) -> Iterator[tuple[int, Member | Run]]:
    """Yield what jobs return, in their order, while the next ones run."""
    waiting: deque[Future[list[tuple[int, Member | Run]]]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) > TARS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _jobs(archives: Iterable[tuple[Place, str]]) -> Iterator[_Job]:
    """Yield what each returns the content of a class tar, or of what lies between two of them."""
    for number, (path, tar) in enumerate(archives):
        if tar:
            yield functools.partial(_all_of, number, path, Nested(tar, str(path), 0, None))
            continue
        try:
            with explained(path), opened(path, 0) as file:  # a buffer would read 8 KiB for each header
                for found in _entries(file, Nested("", str(path), 0, Archive.of(path).size), top=True):
                    if isinstance(found, Nested):
                        yield functools.partial(_all_of, number, path, found)
                    else:
                        yield functools.partial(list, [(number, found)])
        except SpectralError as error:  # to be raised when what comes before was taken
            yield functools.partial(_raised, error)
            return


def _raised(error: SpectralError) -> list[tuple[int, Member | Run]]:
    raise error


def _all_of(number: int, path: Place, tar: Nested) -> list[tuple[int, Member | Run]]:
    """Return what is in a class tar, by a file that is opened for it alone."""
    with explained(path), opened(path, 0) as file:
        if tar.size is None:
            whole = replace(tar, size=Archive.of(path).size)
            return [(number, found) for found in _entries(file, whole, top=True) if not isinstance(found, Nested)]
        file.seek(tar.offset)
        first = Member(tar.name, "", tar.offset, tar.size)
        return [(number, first), *((number, each) for each in _entries(file, tar) if not isinstance(each, Nested))]


def walk(file: BinaryIO, where: str, end: int, tar: str = "") -> Iterator[Member]:
    """Yield the regular files of a tar that is read forwards, ends at `end` at the latest, and of the tars in it."""
    for found in _entries(file, Nested(tar, where, 0, end), top=True):
        if isinstance(found, Nested):
            file.seek(found.offset)
            yield Member(found.name, "", found.offset, found.size or 0)
            yield from (each for each in _entries(file, found) if isinstance(each, Member))
        elif isinstance(found, Member):
            yield found


def _entries(file: BinaryIO, tar: Nested, *, top: bool = False) -> Iterator[Member | Run | Nested]:
    """Yield what is in the tar that begins where `file` stands; `top`: it is the whole file.

    Plain files come as `Run`s where one may step back in the file, which is after damage only.
    """
    where, end = tar.where, tar.offset + (tar.size or 0)
    headers, last = _opened(file, where), ""
    ahead = isinstance(file, io.IOBase)
    while (header := _next(headers, where, last)) is not None and header.offset < end:
        headers.members.clear()  # type: ignore[attr-defined]  # it would keep every header that it has read
        last = header.name
        if (found := _entry(header, tar, end)) is not None:
            yield found
        if isinstance(found, Nested):
            continue
        while ahead and not headers.pax_headers:
            run = plain_files(file, headers.offset, end, LARGEST_IMAGE, None if tar.name else TAR.encode())
            ahead = not run.doubtful
            if not run.names:
                break
            headers.offset, last = run.end, os.fsdecode(run.names[-1])
            yield Run(tar.name, run)
    _check_end(file, headers.offset, f"{where}!{shown(last)}", end, nested=not top)


def _entry(header: tarfile.TarInfo, tar: Nested, end: int) -> Member | Nested | None:
    """Return what a header is of, None for what is passed over."""
    name = f"{tar.where}!{shown(header.name)}"
    if header.size < 0:  # the next header would be sought backwards, for ever
        raise _damaged(name, f"a size of {header.size} bytes")
    parts = _parts(header.name)
    if header.isdir() or not parts:
        return None
    _check(header, name, end)
    if not header.isreg():
        return None
    if parts[-1].lower().endswith(TAR) and not tar.name:
        return Nested(parts[-1][: -len(TAR)], name, header.offset_data, header.size)
    return Member(tar.name, "/".join(parts), header.offset_data, header.size)


def _parts(name: str) -> list[str]:
    """Return the folders and the file of a member's name; none for what is hidden."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return [] if any(map(is_junk, parts)) else parts


def class_and_folder(member: Member) -> tuple[str, str]:
    """Return the class of an image and the folder that extracting would put it into, "" for one outside all classes.

    >>> class_and_folder(Member("n01440764", "n01440764_10026.JPEG", 0, 0))
    ('n01440764', 'n01440764')
    >>> class_and_folder(Member("", "winter21_whole/n02352591/n02352591_1.JPEG", 0, 0))
    ('n02352591', 'n02352591')
    """
    folders = member.path.split("/")[:-1]
    if member.tar:
        return member.tar, "/".join([member.tar, *folders])
    return (folders[-1], folders[-1]) if folders else ("", "")


def _opened(file: BinaryIO, where: str) -> tarfile.TarFile:
    try:
        return tarfile.TarFile(fileobj=file, tarinfo=BoundedHeader)
    except tarfile.TarError as error:
        raise CorruptSourceError("not a tar archive, or a damaged one", where=where, got=error) from error


def _next(headers: tarfile.TarFile, where: str, last: str) -> tarfile.TarInfo | None:
    try:
        return headers.next()
    except tarfile.TarError as error:
        raise _damaged(f"{where}!{shown(last)}", error) from error


def _check(header: tarfile.TarInfo, where: str, end: int) -> None:
    if not header.isreg() or header.issparse():
        if is_image(header.name) or header.name.lower().endswith(TAR):
            raise CorruptSourceError(
                "a link or sparse file in an archive cannot be read in place",
                where=where,
                expected="regular files",
                run="extract the archive, then the same command with --source and the folder",
            )
    elif header.offset_data + header.size > end:
        raise _damaged(where, f"{header.size} bytes from byte {header.offset_data} on, but it ends at byte {end}")
    elif header.name.lower().endswith(TAR):
        return
    elif header.size > (LARGEST_IMAGE if is_image(header.name) else LARGEST_MEMBER):
        raise _damaged(where, f"a member of {header.size} bytes")


def _check_end(file: BinaryIO, offset: int, where: str, end: int, *, nested: bool) -> None:
    """Refuse a tar that stops without its end marker, a block of zeros; a nested one's size is known from outside."""
    if nested and offset >= end:
        return
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _damaged(where, f"neither a header nor the end marker at byte {offset}, after this member")


def _damaged(where: str, got: object) -> CorruptSourceError:
    return CorruptSourceError(
        "the archive is truncated or damaged", where=where, got=got, run="the same command with a whole copy of it"
    )
