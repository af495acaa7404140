"""The bounds of a record's numbers and texts, as types: a field that is declared so is held to it when it is read.

What stands for a file or a folder is such a type too: no record can lead a reader or a writer out of its own folder.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from spectral_prep.errors import InputError
from spectral_prep.system.limits import LARGEST_SEED

Count = Annotated[int, Field(ge=0, lt=2**31)]
"""Rows, pixels along a side, places: what an int32 counts."""

Positive = Annotated[int, Field(ge=1, lt=2**31)]
"""The same, but not none."""

Size = Annotated[int, Field(ge=0, lt=2**63)]
"""Bytes or values."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
"""What numpy's RandomState takes."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""In hexadecimal digits."""

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""The name of a data set or a plan: the first digits of a sha256."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"
Name = Annotated[str, Field(pattern=NAME)]
"""What becomes part of the name of a folder."""

MOST_BLOCKS = 1 << 20
"""Of a split."""

Split = Annotated[str, Field(pattern=r"^(train|test)$")]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or path.startswith("/") or ".." in parts or re.search(r"[\0\\]", path):
        raise ValueError("Input should be a relative path without . and ..")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
"""Of a file below the record's folder, with `/`, as it is written and no other way.

>>> _inside("train/x/c/0/0/0/0")
'train/x/c/0/0/0/0'
"""


def require(condition: bool, what: str, expected: object, got: object) -> None:
    """Raise `InputError` unless fields that depend on each other agree."""
    if not condition:
        raise InputError(what, expected=expected, got=got)
