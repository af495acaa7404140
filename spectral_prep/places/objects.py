"""A place in a bucket: Amazon S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage; through obstore.

Input: a URL. Output: a `Here`. Credentials, endpoint and region come from the provider's usual environment variables.

1. A file is gathered in a scratch file of this machine, then put: in one request, or as a multipart upload, which is
   invisible until it is complete and is aborted where it fails. So an abandoned writer publishes nothing, and a put
   that is tried again puts the same bytes.
2. What identifies content is our own sha256 in the records, never an ETag; an ETag only tells that an object is still
   the one that was opened.
3. Requests are tried again for `RETRY_SECONDS` at most; then the user reads one paragraph.
4. There are no folders, locks, links or leftovers: what those are for on a disk does nothing here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from typing import BinaryIO, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from spectral_prep.errors import InputError, StorageError
from spectral_prep.places.interface import Entry, NewFile, State
from spectral_prep.places.url import Url
from spectral_prep.system.files import Advice, explained

RETRY_SECONDS = 60
"""How long a request is tried again; `SPECTRAL_RETRY_SECONDS` in the environment says otherwise."""

REQUEST_SECONDS = 120
STREAM_BYTES = 1 << 23
MULTIPART_BYTES = 1 << 23
IN_MEMORY_BYTES = 1 << 20
"""Of a file that is being written; what is larger goes into a scratch file."""

PUTS_AT_ONCE = 8
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_REGION, and AWS_ENDPOINT_URL where it is not Amazon's",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
BEYOND = ("InvalidRange", "416 Range Not Satisfiable", "416 Requested Range")
FORKED = "a process that was forked after the object store was first used: it would wait for ever"


@dataclass(frozen=True)
class ObjectPlace:
    """An object, or the folder that the names of objects make of it; a `Here`."""

    url: Url

    def open(self) -> OpenObject:
        """Open the object here; that it is there is seen when something of it is asked for."""
        return OpenObject(self.url)

    def stream(self, buffering: int = -1) -> BinaryIO:
        """Open the object here, with a buffer that makes small reads few requests, whatever `buffering` says."""
        return cast(BinaryIO, io.BufferedReader(_Raw(self.open()), STREAM_BYTES))

    def read(self, at_most: int) -> bytes:
        """Return the whole object, by one request."""
        with told(self.url):
            found = obstore.get(store(self.url), self.url.key)
            if found.meta["size"] > at_most:
                raise ValueError(f"{self.url.name} has {found.meta['size']} bytes, expected at most {at_most}")
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
        with told(self.url):
            found = obstore.list_with_delimiter(store(self.url), self.url.key or None)
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])

    def names(self) -> list[str]:
        """Return the names of the objects directly in this folder, in order."""
        with told(self.url):
            found = obstore.list_with_delimiter(store(self.url), self.url.key or None)
        return sorted(each["path"].rpartition("/")[2] for each in found["objects"])

    def files(self) -> Iterator[Entry]:
        """Yield every object below this folder: a request for every thousand."""
        prefix = f"{self.url.key}/" if self.url.key else ""
        with told(self.url):
            for chunk in obstore.list(store(self.url), self.url.key or None, chunk_size=1000):
                for each in chunk:
                    yield Entry(each["path"].removeprefix(prefix), each["size"])

    def paths(self) -> Iterator[str]:
        """Yield the path of every object below this folder."""
        return (entry.path for entry in self.files())

    def holds(self, path: str) -> bool:
        """Whether there is such an object below this folder."""
        return ObjectPlace(self.url / path).size() is not None

    def oddities(self) -> Iterator[tuple[Url, str]]:
        """Yield nothing: a bucket holds objects only."""
        yield from ()

    def sync(self, advice: Advice) -> None:
        """Do nothing: what was put is there for good."""

    def shared_use(self, advice: Advice) -> AbstractContextManager[None]:
        """Lock nothing: what writers put is whole, and nobody cleans up after them."""
        return nullcontext()

    def tidy(self, advice: Advice) -> None:
        """Do nothing: killed writers leave nothing that can be seen."""

    def prune(self) -> None:
        """Do nothing: there are no empty folders."""


@dataclass(frozen=True)
class OpenObject:
    """An object that is read by ranges; an `OpenFile`."""

    url: Url

    @cached_property
    def size(self) -> int:
        """Bytes of the whole object."""
        with told(self.url):
            found = obstore.head(store(self.url), self.url.key)
        return found["size"]

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
            raise ValueError(f"{self.url.name} has no such bytes")
        wanted = [(offset, size) for offset, size in ranges if size]
        with told(self.url):
            found = iter(
                obstore.get_ranges(
                    store(self.url),
                    self.url.key,
                    starts=[offset for offset, _ in wanted],
                    lengths=[size for _, size in wanted],
                )
                if wanted
                else ()
            )
        pieces = [bytes(next(found)) if size else b"" for _, size in ranges]
        for (offset, size), piece in zip(ranges, pieces, strict=True):
            if len(piece) != size:
                raise ValueError(f"ends at byte {offset + len(piece)}, expected {offset + size}")
        return pieces


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

    def finish(self) -> None:
        """Put the object."""
        self._content.seek(0)
        with told(self.place, writing=True):
            if self.size <= MULTIPART_BYTES:
                obstore.put(store(self.place), self.place.key, self._content.read(), use_multipart=False)
            else:
                obstore.put(store(self.place), self.place.key, self._content, chunk_size=MULTIPART_BYTES)
        self._content.close()

    def abandon(self) -> None:
        """Forget what was gathered, unless it is put."""
        self._content.close()


class _Raw(io.RawIOBase):
    """An object as a stream."""

    def __init__(self, file: OpenObject) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = max(0, min(len(buffer), self._file.size - self._at))
        buffer[:size] = self._file.read(self._at, size)
        self._at += size
        return size


def version(url: Url) -> str:
    """Return what tells this state of an object from its others; `FileNotFoundError` if there is none."""
    with told(url):
        found = obstore.head(store(url), url.key)
    return f"{found['size']} {found['e_tag']} {found['last_modified'].isoformat()}"


class _Forked:
    """Whether obstore's threads were running when this process was forked: they are not in the child."""

    used = False
    lost = False


os.register_at_fork(after_in_child=lambda: setattr(_Forked, "lost", _Forked.used))


def store(url: Url) -> ObjectStore:
    """Return the store of a bucket, one a process."""
    if _Forked.lost:
        raise InputError(
            "an object store cannot be used here",
            where=url,
            got=FORKED,
            run='with multiprocessing_context="forkserver" (of a DataLoader), or from a copy on the disk',
        )
    _Forked.used = True
    return _store(url.scheme, url.bucket)


@cache
def _store(scheme: str, bucket: str) -> ObjectStore:
    seconds = float(os.environ.get("SPECTRAL_RETRY_SECONDS", RETRY_SECONDS))
    endpoints = [os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")]
    with told(Url(scheme, bucket)):
        return from_url(
            f"{scheme}://{bucket}",
            client_options={
                "allow_http": any(endpoint.startswith("http://") for endpoint in endpoints),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
            },
            retry_config={
                "max_retries": 1000,
                "retry_timeout": timedelta(seconds=seconds),
                "backoff": {"max_backoff": timedelta(seconds=5)},
            },
        )


@contextlib.contextmanager
def told(url: Url, *, writing: bool = False) -> Iterator[None]:
    """Turn what obstore raises into the paragraph that the user reads.

    Raises
    ------
    FileNotFoundError, FileExistsError
        If there is no such object in the bucket, or there is one already.
    InputError
        If there is no such bucket, or the credentials are refused.
    StorageError
        If the object store does not answer, or fails.
    """
    try:
        yield
    except AlreadyExistsError as error:
        raise FileExistsError(str(url)) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise InputError(
            f"the object store does not let us {'write' if writing else 'read'} here",
            where=url,
            expected=f"credentials for it in the environment: {CREDENTIALS[url.scheme]}",
            got=reason(error),
            run="the same command with these set",
        ) from error
    except (FileNotFoundError, BaseError) as error:
        if any(name in str(error) for name in BEYOND):
            raise ValueError(f"{url.name} is shorter than what is read of it") from error
        if any(name in str(error) for name in NO_BUCKET):
            raise InputError("no such bucket", where=url, got=reason(error), run="it again once it is made") from error
        if isinstance(error, FileNotFoundError) and not writing:
            raise FileNotFoundError(2, "no such object", str(url)) from error
        raise StorageError(
            "the object store failed",
            where=url,
            got=reason(error),
            run="the same command once it answers: what is finished is kept",
        ) from error


def reason(error: Exception) -> str:
    """Return what an object store said, without the request and what obstore adds for its developers.

    >>> reason(ValueError("Generic S3 error: <Code>SlowDown</Code><Message>Please wait.</Message> and more"))
    'SlowDown: Please wait.'
    """
    text = str(error)
    code, message = (re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL) for name in ("Code", "Message"))
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]
    return text.partition("\n\nDebug source")[0].strip()[:300]
