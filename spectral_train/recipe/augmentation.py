"""Which augmentation a user asks for: names and numbers, without torch; `augment` does it.

Input: "flip,shift=2,mixup=0.2". Output: an `Augmentation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from spectral_prep.errors import InputError

DEFAULTS: Mapping[str, float] = {"flip": 1, "vflip": 1, "shift": 1, "mixup": 0.2, "cutmix": 1.0}
SWITCHES = ("flip", "vflip")
WORDS = ", ".join(name if name in SWITCHES else f"{name}={value}" for name, value in DEFAULTS.items())
"""What may be written, for a reader."""

Views = Literal["flip", "flip+shift"]
"""Over which outputs are averaged: the image and its mirror image, or these and shifts of one spectral pixel."""

VIEWS: tuple[Views, ...] = get_args(Views)


@dataclass(frozen=True)
class Augmentation:
    """What is done to training batches.

    Parameters
    ----------
    flip, vflip
        Mirror half of the rows left to right, top to bottom.
    shift
        Move each row by up to so many spectral pixels along both axes.
    mixup, cutmix
        α of Beta(α, α), from which the share of the second row is drawn, once a batch; 0 is never. With both, each
        batch takes one of them.
    """

    flip: bool = False
    vflip: bool = False
    shift: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """Return what a user wrote: names, separated by commas, each with or without its number.

        Raises
        ------
        InputError
            If there is no such name, or the number is unusable.

        >>> Augmentation.parse("flip,shift=2,mixup")
        Augmentation(flip=True, vflip=False, shift=2, mixup=0.2, cutmix=0.0)
        """
        wanted: dict[str, float] = {}
        for word in filter(None, text.split(",")):
            found = re.fullmatch(r"([a-z]+)(?:=(\d+(?:\.\d+)?))?", word)
            if found is None or found[1] not in DEFAULTS or (found[2] and found[1] in SWITCHES):
                raise InputError("unknown augmentation", expected=f"of {WORDS}, separated by commas", got=repr(word))
            value = float(found[2] or DEFAULTS[found[1]])
            if value == 0 or (found[1] == "shift" and value % 1):
                raise InputError(f"unusable {found[1]} of the augmentation", expected="more than 0", got=found[2])
            wanted[found[1]] = value
        return cls(
            flip="flip" in wanted,
            vflip="vflip" in wanted,
            shift=int(wanted.get("shift", 0)),
            mixup=wanted.get("mixup", 0.0),
            cutmix=wanted.get("cutmix", 0.0),
        )
