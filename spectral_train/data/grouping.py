"""Which spectrals a shard holds: decided when training, never when converting.

Input: Q, S and the number of a shard, the name of a grouping and the energies that every `spectral.json` carries.
Output: the spectrals of that shard. It is a pure function, so that every node computes the same partition from what
it holds and nobody has to tell it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def group(
    q: int,
    shards: int,
    shard: int,
    grouping: str = "contiguous",
    energy: Sequence[float] | None = None,
    common: Sequence[int] = (),
) -> tuple[int, ...]:
    """Return the spectrals of shard `shard` of `shards`, in the order in which they become channels.

    >>> group(16, 4, 1)
    (4, 5, 6, 7)
    >>> group(4, 4, 2, common=[0])
    (0, 2)

    Parameters
    ----------
    q, shards, shard
        Q spectrals in S shards, S divides Q; 0 ≤ shard < S.
    grouping
        A name of `GROUPINGS`.
    energy
        (Q,) variance of each spectral, grey levels squared; only `balanced` looks at it.
    common
        Spectrals that stand in front of those of every shard, without duplicates.

    Raises
    ------
    InputError
        If S does not divide Q (the message lists what does), or the shard, grouping or a common spectral does not
        exist.
    """
    if shards < 1 or q % shards:
        divisors = ", ".join(str(d) for d in range(1, q + 1) if q % d == 0)
        raise InputError(f"{shards} shards do not divide {q} spectrals", expected=f"--shards one of {divisors}")
    if not 0 <= shard < shards:
        raise InputError(f"--shard {shard} does not exist", expected=f"0 to {shards - 1}")
    if grouping not in GROUPINGS:
        raise InputError("unknown grouping", expected=f"one of {', '.join(GROUPINGS)}", got=grouping)
    if energy is not None and len(energy) != q:
        raise InputError("energies do not fit the spectrals", expected=f"{q} numbers", got=len(energy))
    if unknown := [k for k in common if not 0 <= k < q]:
        raise InputError(f"--common {unknown[0]} is not a spectral", expected=f"0 to {q - 1}")
    groups = [[k] for k in range(q)]  # shard k is spectral k where there is nothing to group
    if shards < q:
        groups = GROUPINGS[grouping](shards, [0.0] * q if energy is None else energy)
    return tuple(dict.fromkeys((*common, *groups[shard])))
