"""The bounds of a record's numbers and texts, as types: a field that is declared so is held to it when it is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=0, lt=2**31)]
"""Rows, pixels along a side, places: what an int32 counts."""

Size = Annotated[int, Field(ge=0, lt=2**63)]
"""Bytes or values."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""In hexadecimal digits."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy's RandomState takes."""
