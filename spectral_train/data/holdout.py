"""Which training rows are held out: the same rows in every branch, whatever the order in which a shard stores them.

Input: canonical row ids, a fraction and a seed. Output: a mask. The ensemble's weights are fitted on these rows,
never on test rows. All rows of one id (the views of an image) fall on the same side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import InputError


def held_out(ids: npt.NDArray[np.int32], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which rows are held out, (N,) bool: round(fraction · ids), at least one, chosen by id.

    The stream of `numpy.random.RandomState` is frozen (NEP 19), so that the choice outlives numpy's versions.

    Raises
    ------
    InputError
        If the fraction is not between 0 and 1 or leaves no row to train on.

    >>> held_out(np.array([0, 1, 2, 3], np.int32), 0.25, seed=0).tolist()
    [False, False, True, False]
    >>> held_out(np.array([3, 2, 1, 0], np.int32), 0.25, seed=0).tolist()
    [False, True, False, False]
    """
    known = np.unique(ids)
    count = max(1, round(known.size * fraction))
    if not 0 < fraction < 1 or count >= known.size:
        raise InputError(
            "this hold-out leaves nothing to train on or nothing to weigh with",
            expected="a fraction between 0 and 1, and at least 2 training rows",
            got=f"{fraction} of {known.size} rows",
        )
    np.random.RandomState(seed).shuffle(known)
    chosen = np.zeros(known.max() + 1, np.bool_)
    chosen[known[:count]] = True
    return chosen[ids]
