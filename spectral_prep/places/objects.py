"""A place in a bucket: Amazon S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage; through obstore.

Input: a URL. Output: a `Here`. Credentials, endpoint and region come from the provider's usual environment variables.

1. A file is gathered in a scratch file of this machine, then put: in one request, or as a multipart upload, which is
   invisible until it is complete and is aborted where it fails. So an abandoned writer publishes nothing, and a put
   that is tried again puts the same bytes.
2. What identifies content is our own sha256 in the records, never an ETag; an ETag only tells that an object is still
   the one that was opened.
3. Requests are tried again for a while; then the user reads one paragraph (`bucket`).
4. There are no folders, locks, links or leftovers: what those are for on a disk does nothing here.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import obstore

from spectral_prep.places.bucket import store, told
from spectral_prep.places.interface import IN_MEMORY_BYTES, Entry, NewFile, State
from spectral_prep.places.object_stream import SOUGHT_BYTES, STREAM_BYTES, streamed
from spectral_prep.places.url import Url
from spectral_prep.system.files import Advice, explained
from spectral_prep.system.regular import OUTSIDE
from spectral_prep.system.staging import KEPT

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

MULTIPART_BYTES = 1 << 23

PUTS_AT_ONCE = 8
GETS_AT_ONCE = 8
NEAR_BYTES = 1 << 20
"""Pieces of an object that are no further apart come by one request."""


@dataclass(frozen=True)
class ObjectPlace:
    """An object, or the folder that the names of objects make of it; a `Here`."""

    url: Url

    def open(self) -> OpenObject:
        """Open the object here; that it is there is seen when something of it is asked for."""
        return OpenObject(self.url)

    def stream(self, buffering: int = -1) -> BinaryIO:
        """Open the object here, with a buffer that makes small reads few requests; a small one after jumps for 0."""
        return streamed(self.open(), STREAM_BYTES if buffering else SOUGHT_BYTES)

    def read(self, at_most: int) -> bytes:
        """Return the whole object, by one request."""
        with told(self.url):
            found = obstore.get(store(self.url), self.url.key)
        if found.meta["size"] > at_most:
            raise ValueError(f"{self.url.name} has {found.meta['size']} bytes, expected at most {at_most}")
        with told(self.url):
            return bytes(found.bytes())

    def size(self) -> int | None:
        """Return the bytes of the object here."""
        if not self.url.key:
            return None
        try:
            return self.open().size
        except FileNotFoundError:
            return None

    def new(self, advice: Advice) -> NewObject:
        """Begin to write the object here."""
        return NewObject(self.url, advice)

    def finish(self, files: Sequence[NewFile]) -> None:
        """Put several at the same time."""
        with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
            for done in [pool.submit(file.finish) for file in files]:
                done.result()

    def create(self, content: bytes, advice: Advice) -> bool:
        """Put the object here unless there is one; one that has this content may be ours, whose answer was lost."""
        try:
            with told(self.url, writing=True):
                obstore.put(store(self.url), self.url.key, content, mode="create")
        except FileExistsError:
            return self.read(max(len(content), 1 << 28)) == content
        return True

    def remove(self) -> None:
        """Remove the object here."""
        with told(self.url, writing=True), contextlib.suppress(FileNotFoundError):
            obstore.delete(store(self.url), self.url.key)

    def state(self) -> State:
        """Return size and time of change."""
        with told(self.url):
            found = obstore.head(store(self.url), self.url.key)
        return State(found["size"], int(found["last_modified"].timestamp() * 1e9))

    def is_folder(self) -> bool:
        """Whether the name of any object begins with this one and a slash."""
        with told(self.url):
            return any(chunk for chunk in obstore.list(store(self.url), self.url.key or None, chunk_size=1))

    def folders(self) -> list[str]:
        """Return the names of the folders in this one, in order."""
        return self._listed()[0]

    def names(self) -> list[str]:
        """Return the names of the objects directly in this folder, in order."""
        return self._listed()[1]

    def children(self) -> list[str]:
        """Return both, by one request."""
        folders, names = self._listed()
        return sorted([*folders, *names])

    def _listed(self) -> tuple[list[str], list[str]]:
        with told(self.url):
            found = obstore.list_with_delimiter(store(self.url), self.url.key or None)
        folders = (prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])
        objects = (each["path"] for each in found["objects"])
        return sorted(folders), sorted(path.rpartition("/")[2] for path in objects if path != self.url.key)

    def files(self) -> Iterator[Entry]:
        """Yield every object below this folder: a request for every thousand.

        Consoles make a folder by putting an empty object called "folder/", which comes before what is in it.
        """
        prefix = f"{self.url.key}/" if self.url.key else ""
        maybe_folder: Entry | None = None
        with told(self.url):
            for chunk in obstore.list(store(self.url), self.url.key or None, chunk_size=1000):
                for each in chunk:
                    entry = Entry(each["path"].removeprefix(prefix), each["size"])
                    if maybe_folder and not entry.path.startswith(f"{maybe_folder.path}/"):
                        yield maybe_folder
                    maybe_folder = None
                    if each["path"] == self.url.key:
                        continue
                    if entry.size:
                        yield entry
                    else:
                        maybe_folder = entry
        if maybe_folder:
            yield maybe_folder

    def paths(self) -> Iterator[str]:
        """Yield the path of every object below this folder."""
        return (entry.path for entry in self.files())

    def holds(self, path: str) -> bool:
        """Whether there is such an object below this folder."""
        return OUTSIDE.isdisjoint(path.split("/")) and ObjectPlace(self.url / path).size() is not None

    def oddities(self) -> Iterator[tuple[Url, str]]:
        """Yield nothing: a bucket holds objects only."""
        yield from ()

    def sync(self, advice: Advice) -> None:
        """Do nothing: what was put is there for good."""

    def shared_use(self, advice: Advice) -> AbstractContextManager[None]:
        """Lock nothing: what writers put is whole, and nobody cleans up after them."""
        return nullcontext()

    def tidy(self, advice: Advice) -> None:
        """Remove what tasks kept for one another: killed writers leave nothing that can be seen."""
        kept = self.url / KEPT
        for entry in list(ObjectPlace(kept).files()):
            ObjectPlace(kept / entry.path).remove()

    def prune(self) -> None:
        """Do nothing: there are no empty folders."""


class OpenObject:
    """An object that is read by ranges, all of the same state of it; an `OpenFile`."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._found: ObjectMeta | None = None

    @property
    def size(self) -> int:
        """Bytes of the whole object."""
        return self._seen["size"]

    @property
    def _seen(self) -> ObjectMeta:
        if self._found is None:
            with told(self._url):
                self._found = obstore.head(store(self._url), self._url.key)
        return self._found

    def __enter__(self) -> OpenObject:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is no connection to close."""

    def read(self, offset: int, size: int) -> bytes:
        """Return these bytes, by one request."""
        return self.read_ranges([(offset, size)])[0]

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several pieces; those that are near one another come by one request, others at the same time."""
        if any(not 0 <= offset <= offset + size < 1 << 63 for offset, size in ranges):
            raise ValueError(f"{self._url.name} has no such bytes")
        spans = _together(ranges)
        if len(spans) > 1:
            _ = self._seen  # so that all are of one state
            with ThreadPoolExecutor(min(GETS_AT_ONCE, len(spans))) as pool:
                contents = list(pool.map(lambda span: self._get(*span), spans))
        else:
            contents = [self._get(*span) for span in spans]
        pieces = []
        for offset, size in ranges:
            number = bisect_right(spans, offset, key=lambda span: span[0]) - 1 if size else 0
            begin = offset - spans[number][0] if size else 0
            pieces.append(bytes(contents[number][begin : begin + size]) if size else b"")
            if len(pieces[-1]) != size:
                raise ValueError(f"ends at byte {offset + len(pieces[-1])}, expected {offset + size}")
        return pieces

    def read_some(self, offset: int, most: int) -> bytes:
        """Return so many bytes, or as many as there are."""
        if self._found is not None:
            most = min(most, self.size - offset)
        if most <= 0:
            return b""
        try:
            return bytes(self._get(offset, offset + most))
        except ValueError:  # it ends before
            return b""

    def _get(self, start: int, stop: int) -> memoryview:
        options: GetOptions = {"range": (start, stop)}
        if self._found and self._found["e_tag"]:
            options["if_match"] = self._found["e_tag"]
        with told(self._url):
            found = obstore.get(store(self._url), self._url.key, options=options)
            self._found = self._found or found.meta
            return memoryview(found.bytes())


def _together(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what to ask for, each (start, stop), so that all of these (offset, size) are in it.

    >>> _together([(9 << 20, 5), (0, 10), (20, 10), (7, 0)])
    [(0, 30), (9437184, 9437189)]
    """
    spans: list[tuple[int, int]] = []
    for start, stop in sorted((offset, offset + size) for offset, size in ranges if size):
        if spans and start - spans[-1][1] <= NEAR_BYTES:
            spans[-1] = (spans[-1][0], max(stop, spans[-1][1]))
        else:
            spans.append((start, stop))
    return spans


class NewObject:
    """An object whose content is gathered on this machine and put at the end; a `NewFile`."""

    def __init__(self, url: Url, advice: Advice) -> None:
        self.place = url
        self.size = 0
        self._advice = advice
        self._digest = hashlib.sha256()
        self._content: tempfile.SpooledTemporaryFile[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115

    @property
    def sha256(self) -> str:
        """The sha256 of what was appended so far."""
        return self._digest.hexdigest()

    def append(self, content: bytes) -> None:
        """Gather further bytes."""
        with explained(tempfile.gettempdir(), self._advice):
            self._content.write(content)
        self._digest.update(content)
        self.size += len(content)

    def settle(self) -> None:
        """Write what is still buffered into the scratch file."""
        with explained(tempfile.gettempdir(), self._advice):
            self._content.flush()

    def finish(self) -> None:
        """Put the object."""
        with explained(tempfile.gettempdir(), self._advice):
            self._content.seek(0)  # which writes what is still buffered
        with told(self.place, writing=True):
            if self.size <= MULTIPART_BYTES:
                obstore.put(store(self.place), self.place.key, self._content.read(), use_multipart=False)
            else:
                obstore.put(store(self.place), self.place.key, self._content, chunk_size=MULTIPART_BYTES)
        self._content.close()

    def abandon(self) -> None:
        """Forget what was gathered, unless it is put."""
        self._content.close()


def version(url: Url) -> str:
    """Return what tells this state of an object from its others; `FileNotFoundError` if there is none."""
    with told(url):
        found = obstore.head(store(url), url.key)
    return f"{found['size']} {found['e_tag']} {found['last_modified'].isoformat()}"
