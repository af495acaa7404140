"""Where files are: a path of this machine's file system, or the URL of an object in a bucket.

Input: what the user types. Output: a `Place`. A `Url` joins and takes apart as a `pathlib.PurePath` does, so that what
computes with names need not know which of the two it has; what reads and writes is `spectral_prep.places.at`.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from typing_extensions import TypeVar

from spectral_prep.errors import InputError

SCHEMES = ("s3", "gs", "az")
CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and what stands for bytes that are not UTF-8: no name of an object has them."""

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/]*)(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True, order=True)
class Url:
    """The name of an object, or of all objects that it is a folder of: "s3://bucket/imagenet-q16/plan.json".

    >>> folder = Url("s3", "bucket", "imagenet-q16")
    >>> print(folder / "spectral-03" / "spectral.json")
    s3://bucket/imagenet-q16/spectral-03/spectral.json
    >>> (folder / "a/b.tar").name, (folder / "a/b.tar").stem, str((folder / "a/b.tar").parent)
    ('b.tar', 'b', 's3://bucket/imagenet-q16/a')
    """

    scheme: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __truediv__(self, name: str) -> Url:
        return Url(self.scheme, self.bucket, posixpath.join(self.key, name))

    @property
    def name(self) -> str:
        """The last part of the key; of a whole bucket its name."""
        return posixpath.basename(self.key) or self.bucket

    @property
    def stem(self) -> str:
        """The name without what follows its last dot."""
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        """The last dot of the name and what follows it."""
        return Path(self.name).suffix

    @property
    def parent(self) -> Url:
        """The folder that this is in."""
        return Url(self.scheme, self.bucket, posixpath.dirname(self.key))


Place: TypeAlias = Path | Url
P = TypeVar("P", bound=Place, default=Place, covariant=True)
"""Of paths paths are made again, and of URLs URLs: the parameter of a class of places."""
AnyPlace = TypeVar("AnyPlace", bound=Place)
"""The same of a function."""


def inside(folder: AnyPlace, path: str) -> AnyPlace:
    """Return a place in a folder, of the kind that the folder is."""
    return cast(AnyPlace, folder / path)


def absolute(place: AnyPlace) -> AnyPlace:
    """Return a place that means the same in whatever folder a process runs."""
    return cast(AnyPlace, place.absolute()) if isinstance(place, Path) else place


def below(folder: Place, place: Place) -> str:
    """Return the path of a place relative to a folder that it is in, with slashes.

    >>> below(Path("data"), Path("data/train/a.png")), below(Url("s3", "b", "data"), Url("s3", "b", "data/a.png"))
    ('train/a.png', 'a.png')
    """
    if isinstance(folder, Path) and isinstance(place, Path):
        return place.relative_to(folder).as_posix()
    return str(place).removeprefix(str(folder)).removeprefix("/")


def place_of(text: str) -> Place:
    """Return what the user means by a text.

    Raises
    ------
    InputError
        If it is a URL of another kind, or names no bucket.

    >>> place_of("data/mnist"), place_of("s3://bucket/data/").key
    (PosixPath('data/mnist'), 'data')
    >>> place_of("http://host/data")
    Traceback (most recent call last):
    spectral_prep.errors.InputError: unusable URL. Expected: a path, or s3://, gs:// or az:// and a bucket. \
Got: http://host/data
    """
    found = URL.fullmatch(text)
    if found is None:
        return Path(text)
    scheme, bucket, key = found[1].lower(), found[2], found[3] or ""
    parts = [part for part in key.split("/") if part]
    strange = ".." in parts or "." in parts or CONTROL.search(text) is not None
    if scheme not in SCHEMES or not bucket or strange:
        raise InputError("unusable URL", expected="a path, or s3://, gs:// or az:// and a bucket", got=text)
    return Url(scheme, bucket, "/".join(parts))
