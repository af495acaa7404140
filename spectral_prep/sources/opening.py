"""What every reader of release files shares: opening them, and saying what is wrong with them.

Input: a path. Output: a stream of plain bytes, gzip taken off where the content (not the name) is gzip; whatever
the operating system or a decompressor raises while reading becomes one of our errors that names the file.
"""

from __future__ import annotations

import gzip
import importlib
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, cast

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.sources.download import suggestion

GZIP_MAGIC = b"\x1f\x8b"
EXTENSIONS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image; what it holds is another matter.

    >>> is_image("n01440764/n01440764_10026.JPEG"), is_image("._n01440764_10026.JPEG"), is_image("boxes.txt")
    (True, False, False)
    """
    return name.lower().endswith(EXTENSIONS) and not name.rpartition("/")[2].startswith(".")


def missing(dataset: str, where: object, expected: str, got: object = None) -> InputError:
    """Return the error for a source that is not there, with the command that may bring it.

    >>> print(missing("cifar10", "data/cifar10", "the release"))  # doctest: +ELLIPSIS
    no cifar10 data here. Where: data/cifar10. Expected: the release. Run next: ...with --download, ...
    """
    return InputError(f"no {dataset} data here", where=where, expected=expected, got=got, run=suggestion(dataset))


def listed(names: Iterable[str]) -> str:
    """Return the first twenty names and how many more there are."""
    found = list(names)
    shown = ", ".join(found[:20])
    return shown if len(found) <= 20 else f"{shown} and {len(found) - 20} more"


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


@contextmanager
def open_plain(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading forwards, decompressing it if its first bytes are gzip's; see `explained` for errors."""
    with explained(path), open(path, "rb") as raw:
        zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unzipped:
            yield cast(BinaryIO, unzipped)


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
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
