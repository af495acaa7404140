"""How the branches of a run are combined, as a user asks for it: names and numbers.

Input: the options of `spectral-ensemble`. Output: a `Combination`; `schemes.weigh` does it. This module does not
import torch: `--help` lists the schemes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from spectral_prep.errors import InputError
from spectral_train.recipe.augmentation import VIEWS, Views

Weighed = Literal["average", "loss", "geometric", "best", "top-k", "learned", "stacked"]
"""The keys of `schemes.SCHEMES`: schemes that weigh branches by held-out rows."""

SchemeName = Literal[Weighed, "fused"]
"""Those, and the head that `spectral-ensemble fuse` fitted to training rows."""

Space = Literal["probabilities", "log-probabilities"]
"""What Y^q of eq. (2) is: a branch's softmax outputs, or their logarithms, which makes the sum a product of experts."""

SCHEME_NAMES: tuple[Weighed, ...] = get_args(Weighed)
FUSED: Literal["fused"] = "fused"
SPACES: tuple[Space, ...] = get_args(Space)
OF_LOGARITHMS: tuple[SchemeName, ...] = ("learned", "stacked", FUSED)
"""Schemes that combine log-probabilities by definition."""

DEFAULT_SCHEME: SchemeName = "geometric"
DEFAULT_SPACE: Space = "log-probabilities"


def schemes_in(space: Space) -> tuple[Weighed, ...]:
    """Return the schemes that work in this space on any run.

    >>> schemes_in("probabilities")
    ('average', 'loss', 'geometric', 'best', 'top-k')
    """
    return tuple(name for name in SCHEME_NAMES if space == "log-probabilities" or name not in OF_LOGARITHMS)


@dataclass(frozen=True)
class Combination:
    """Which branches of a run are combined, and how; weights are fitted to held-out rows.

    Parameters
    ----------
    scheme
        A name of `SCHEME_NAMES`, or `fused` where the run holds a head of these branches.
    space
        `probabilities` (long paper, eq. (2)) or `log-probabilities`: in which outputs are combined; p and k are chosen
        for it. `learned` and `stacked` know log-probabilities alone.
    p, k
        Of `geometric` (0 < p ≤ 1) and `top-k` (1 ≤ k ≤ S). None: the one with the highest ensemble accuracy on the
        held-out rows, of equal ones that with the lowest loss there.
    calibrate
        Divide the ensemble's log-probabilities by the temperature that fits held-out rows best.
    without
        Shards to leave out, whether their branches are there or not: lost nodes.
    allow_missing
        Do with the branches that are there.
    views
        Average what each branch says over these views of an image; None: the image as it is.

    Raises
    ------
    InputError
        If the scheme or the space is unknown, or the scheme does not work in this space.
    """

    scheme: SchemeName = DEFAULT_SCHEME
    space: Space = DEFAULT_SPACE
    p: float | None = None
    k: int | None = None
    calibrate: bool = False
    without: tuple[int, ...] = ()
    allow_missing: bool = False
    views: Views | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("scheme", (*SCHEME_NAMES, FUSED)),
            ("space", SPACES),
            ("views", (None, *VIEWS)),
        ):
            if getattr(self, name) not in known:
                kind = "ensemble scheme" if name == "scheme" else name
                raise InputError(
                    f"unknown {kind}", expected=f"one of {', '.join(filter(None, known))}", got=getattr(self, name)
                )
        if self.space == "probabilities" and self.scheme in OF_LOGARITHMS:
            raise InputError(
                f"{self.scheme} combines log-probabilities", expected="--space log-probabilities", got=self.space
            )


DEFAULT_COMBINATION = Combination()
