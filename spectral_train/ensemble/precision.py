"""The numbers that an exported file computes with, as a user asks for them, and how far lower ones lead it astray.

This module does not import torch: `--help` lists the precisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Precision = Literal["float32", "half"]
"""Of the weights and the computation of the branches; what goes in and comes out is the same."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DEFAULT_PRECISION: Precision = "float32"

MUCH = 0.01
"""The difference of a probability above which a user is warned."""


@dataclass(frozen=True)
class Compared:
    """A network in lower precision beside the same in float32, on some images.

    `largest` is the largest difference of a probability; `changed` counts images whose most likely class is another.
    """

    rows: int
    largest: float
    changed: int

    def to_dict(self) -> Mapping[str, Any]:
        """Return what is said of it for machines."""
        return {"rows": self.rows, "largest_difference": self.largest, "other_class": self.changed}
