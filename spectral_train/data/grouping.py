"""Which spectrals a shard holds: decided when training, never when converting.

Input: a `ShardChoice`, Q, the number of a shard and the energies that every `spectral.json` carries. Output: the
spectrals of that shard. It is a pure function, so that every node computes the same partition from what
it holds and nobody has to tell it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from spectral_prep.errors import InputError


class Grouping(Protocol):
    """A rule that cuts Q spectrals into S groups of Q/S."""

    def __call__(self, shards: int, energy: Sequence[float]) -> list[list[int]]:
        """Return S groups, each ascending, that together hold 0..len(energy)-1 once."""
        ...


def contiguous(shards: int, energy: Sequence[float]) -> list[list[int]]:
    """Neighbours together.

    >>> contiguous(2, [9, 4, 1, 1])
    [[0, 1], [2, 3]]
    """
    size = len(energy) // shards
    return [list(range(shard * size, (shard + 1) * size)) for shard in range(shards)]


def interleaved(shards: int, energy: Sequence[float]) -> list[list[int]]:
    """Every S-th together, so that each shard has low and high frequencies.

    >>> interleaved(2, [9, 4, 1, 1])
    [[0, 2], [1, 3]]
    """
    return [list(range(shard, len(energy), shards)) for shard in range(shards)]


def balanced(shards: int, energy: Sequence[float]) -> list[list[int]]:
    """Equal energy: the strongest spectral left goes into the lightest group with room; ties go to the lower number.

    >>> balanced(2, [9, 4, 1, 1])
    [[0, 3], [1, 2]]
    """
    size = len(energy) // shards
    groups: list[list[int]] = [[] for _ in range(shards)]
    weight = [0.0] * shards
    for k in sorted(range(len(energy)), key=lambda k: (-energy[k], k)):
        lightest = min((shard for shard in range(shards) if len(groups[shard]) < size), key=lambda s: (weight[s], s))
        groups[lightest].append(k)
        weight[lightest] += energy[k]
    return [sorted(members) for members in groups]


GROUPINGS: Mapping[str, Grouping] = {"contiguous": contiguous, "interleaved": interleaved, "balanced": balanced}


@dataclass(frozen=True)
class ShardChoice:
    """How Q spectrals become the S shards of a run: the same in every branch, whichever node trains it.

    Parameters
    ----------
    shards
        S, which divides Q; None: Q, so that shard *k* is spectral *k*.
    grouping
        A name of `GROUPINGS`.
    common
        Spectrals that stand in front of those of every shard, without duplicates.

    >>> ShardChoice(shards=4).members(1, q=16)
    (4, 5, 6, 7)
    >>> ShardChoice(common=(0,)).members(2, q=4)
    (0, 2)
    """

    shards: int | None = None
    grouping: str = "contiguous"
    common: tuple[int, ...] = ()

    @property
    def options(self) -> str:
        """The options of `spectral-train` that ask for this.

        >>> ShardChoice(4, "balanced", (0,)).options
        '--shards 4 --grouping balanced --common 0'
        """
        shards = "" if self.shards is None else f"--shards {self.shards} "
        return " ".join([f"{shards}--grouping {self.grouping}", *(f"--common {k}" for k in self.common)])

    def count(self, q: int) -> int:
        """Return S of Q spectrals."""
        return q if self.shards is None else self.shards

    def resolved(self, q: int) -> ShardChoice:
        """Return the same choice spelt out: S as a number, every common spectral once, no rule where none is needed."""
        grouping = self.grouping if self.count(q) < q else "contiguous"  # a spectral a shard: nothing to group
        return ShardChoice(self.count(q), grouping, tuple(dict.fromkeys(self.common)))

    def members(self, shard: int, q: int, energy: Sequence[float] | None = None) -> tuple[int, ...]:
        """Return the spectrals of a shard, 0 ≤ shard < S, in the order in which they become channels.

        `energy` (Q,) is the variance of each spectral, grey levels squared; only `balanced` looks at it.

        Raises
        ------
        InputError
            If S does not divide Q (the message lists what does), or the shard, grouping or a common spectral does not
            exist.
        """
        shards = self.count(q)
        if shards < 1 or q % shards:
            divisors = ", ".join(str(d) for d in range(1, q + 1) if q % d == 0)
            raise InputError(f"{shards} shards do not divide {q} spectrals", expected=f"--shards one of {divisors}")
        if not 0 <= shard < shards:
            raise InputError(f"--shard {shard} does not exist", expected=f"0 to {shards - 1}")
        if self.grouping not in GROUPINGS:
            raise InputError("unknown grouping", expected=f"one of {', '.join(GROUPINGS)}", got=self.grouping)
        if energy is not None and len(energy) != q:
            raise InputError("energies do not fit the spectrals", expected=f"{q} numbers", got=len(energy))
        if unknown := [k for k in self.common if not 0 <= k < q]:
            raise InputError(f"--common {unknown[0]} is not a spectral", expected=f"0 to {q - 1}")
        groups = [[k] for k in range(q)]  # shard k is spectral k where there is nothing to group
        if shards < q:
            groups = GROUPINGS[self.grouping](shards, [0.0] * q if energy is None else energy)
        return tuple(dict.fromkeys((*self.common, *groups[shard])))


DEFAULT_CHOICE = ShardChoice()
