"""What every reader of release files shares: opening them, bounds, and saying what is wrong with them.

Input: a path. Output: a stream of plain bytes, gzip taken off where the content (not the name) is gzip; whatever
the operating system or a decompressor raises while reading becomes one of our errors that names the file. Only regular
files are read, and links to them: a pipe or a device never ends.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, BinaryIO, cast

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.name_list import utf8
from spectral_prep.sources.releases import suggestion
from spectral_prep.system.json_text import json_value

GZIP_MAGIC = b"\x1f\x8b"
LARGEST_IMAGE = 1 << 30
"""Bytes of an image file; as many pixels as `--max-pixels` allows take a quarter of this without compression."""

LARGEST_TEXT = 1 << 22
"""Bytes of what describes a data set or a sample: JSON, names of classes. ImageNet-21K's take one mebibyte."""

MOST_VALUES = 1 << 20
"""Of a JSON text, counted as `json_value` does: a name for each of the most classes that there can be."""

LARGEST_LIST = 1 << 26
"""Bytes of a list with a line an image."""

MOST_LINES = 1 << 20
"""Of such a list: test sets have 50,000."""

BEST_RATIO = 100
PLENTY = 64 << 20
"""Bytes after which a gzip stream is held to `BEST_RATIO`: releases of images are packed to a fifth at best."""

EXTENSIONS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
RARE = (
    ".jfif",
    ".jpe",
    ".jp2",
    ".j2k",
    ".pbm",
    ".pnm",
    ".apng",
    ".dib",
    ".tga",
    ".qoi",
    ".dds",
    ".psd",
    ".sgi",
    ".pcx",
)
OPTIONAL = {".avif": "heif", ".heic": "heif", ".heif": "heif"}
"""Endings of what not every installation reads, and the extra that helps."""


@cache
def reads(ending: str) -> bool:
    """Whether image files that end so are read here.

    >>> reads(".jpg"), reads(".jfif"), reads(".txt"), reads("")
    (True, True, False, False)
    """
    if ending not in OPTIONAL:
        return ending in EXTENSIONS or ending in RARE
    from PIL import features  # takes a while, and `--help` comes by here

    return (ending == ".avif" and bool(features.check("avif"))) or importlib.util.find_spec("pillow_heif") is not None


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image; what it holds is another matter.

    >>> is_image("n01440764/n01440764_10026.JPEG"), is_image("._n01440764_10026.JPEG"), is_image("boxes.txt")
    (True, False, False)
    """
    file = name.rpartition("/")[2]
    return reads(f".{file.rpartition('.')[2].lower()}" if "." in file else "") and not file.startswith(".")


def missing(dataset: str, where: object, expected: str, got: object = None, *, to_train: bool = True) -> InputError:
    """Return the error for a source that is not there, with the command that may bring it: one that trains downloads.

    >>> print(missing("cifar10", "data/cifar10", "the release"))  # doctest: +ELLIPSIS
    no cifar10 data here. Where: data/cifar10. Expected: the release. Run next: ...with --download, ...
    """
    return InputError(
        f"no {dataset} data here", where=where, expected=expected, got=got, run=suggestion(dataset, to_train=to_train)
    )


def no_images(where: object) -> CorruptSourceError:
    """Return the error for an archive or a folder of images that holds none."""
    return CorruptSourceError("no image in it", where=where, expected=f"at least one file ({', '.join(EXTENSIONS)})")


def listed(names: Iterable[str]) -> str:
    """Return the first twenty names and how many more there are."""
    found = list(names)
    first = ", ".join(map(shown, found[:20]))
    return first if len(found) <= 20 else f"{first} and {len(found) - 20} more"


def optional(module: str, extra: str) -> ModuleType:
    """Import a library that only some sources need.

    Raises
    ------
    InputError
        If it is not installed, naming the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            "reading this needs a package that is not installed",
            got=error,
            run=f"pip install 'spectral-shards[{extra}]', then the same command",
        ) from error


def opened(path: Place, buffering: int = -1) -> BinaryIO:
    """Open a regular file for reading.

    Raises
    ------
    InputError
        If it is a pipe, a socket, a device or a folder.
    OSError
        If it is not there or may not be read; see `explained`.
    """
    try:
        return at(path).stream(buffering)
    except ValueError as error:
        raise not_regular(path) from error


def not_regular(path: Place) -> InputError:
    """Return the error for what is no file that can be read to its end."""
    return InputError(
        "cannot read a source file", where=path, expected="a regular file", got="a pipe, device or folder"
    )


def small_file(path: Place, at_most: int = LARGEST_TEXT) -> bytes:
    """Return the content of a file that describes others, such as a list of classes.

    Raises
    ------
    InputError
        If it is not there, no regular file or may not be read.
    CorruptSourceError
        If it is larger than such a file can be, or the disk fails.
    """
    with explained(path), opened(path) as file:
        size = at(path).size() or 0
        content = file.read(size) if size <= at_most else b""
    if size > at_most:
        raise CorruptSourceError(
            "the file is too large to be what its name says", where=path, expected=f"at most {at_most} bytes"
        )
    return content


def small_lines(path: Place) -> Iterator[bytes]:
    """Yield the lines of a list with a line an image; raises as `small_file` does, and for more lines than that."""
    content = utf8(small_file(path, LARGEST_LIST))
    if (count := content.count(b"\n")) > MOST_LINES:
        raise CorruptSourceError("more lines than images", where=path, expected=f"at most {MOST_LINES}", got=count)
    yield from io.BytesIO(content)


def contents(folder: Place) -> str:
    """Return the names of what is in a folder, for a message."""
    here = at(folder)
    if not here.is_folder():
        return "no folder"
    return listed(here.children()) or "an empty folder"


def parsed_json(content: bytes, where: object) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    CorruptSourceError
        If it is none, too long or too deep.
    """
    if len(content) > LARGEST_TEXT:
        raise CorruptSourceError(
            "a JSON text too long for what it is",
            where=where,
            expected=f"at most {LARGEST_TEXT} bytes",
            got=len(content),
        )
    try:
        return json_value(content, MOST_VALUES)
    except (ValueError, RecursionError) as error:
        raise CorruptSourceError("not JSON, or nested too deep", where=where, got=error) from error


@contextmanager
def open_plain(path: Place) -> Iterator[BinaryIO]:
    """Open a file for reading forwards, decompressing it if its first bytes are gzip's; see `explained` for errors."""
    with explained(path), opened(path) as raw:
        zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            yield raw
            return
        with unzipped(raw) as stream:
            yield stream


@contextmanager
def unzipped(raw: BinaryIO) -> Iterator[BinaryIO]:
    """Decompress a gzip file for reading forwards; zeros by the gigabyte raise `gzip.BadGzipFile`."""
    with _Unzipped(raw) as stream:
        yield cast(BinaryIO, stream)


class _Unzipped(gzip.GzipFile):
    def __init__(self, raw: BinaryIO) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._packed = raw

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if (given := self.tell()) > max(PLENTY, BEST_RATIO * self._packed.tell()):
            raise gzip.BadGzipFile(f"{given} bytes of {self._packed.tell()}: more than images ever take")
        return content


@contextmanager
def explained(path: Place | str) -> Iterator[None]:
    """Turn what reading raises into an error that names the file.

    Raises
    ------
    InputError
        If the file is not there or may not be read.
    CorruptSourceError
        If its gzip or tar container is truncated or damaged, or the disk fails.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError("cannot read a source file", where=path, got=error.strerror) from error
    except EOFError as error:
        raise CorruptSourceError("truncated gzip file", where=path, got=error) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise CorruptSourceError("damaged gzip file", where=path, got=error) from error
    except tarfile.TarError as error:
        raise CorruptSourceError("truncated or damaged tar archive", where=path, got=error) from error
    except OSError as error:
        raise CorruptSourceError("reading failed", where=path, got=error) from error
