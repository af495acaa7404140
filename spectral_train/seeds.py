"""Every random stream of training, as a pure function of what it is for.

Input: the user's seed and the purpose of a stream, for example ("order", epoch). Output: a seed of its own.
Nothing carries the state of a generator from one step to the next, so that a resumed run needs none.
"""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: object) -> int:
    """Return the seed, 0 ≤ result < 2⁶³, of the stream with this purpose; different purposes are unrelated streams.

    >>> derive_seed(0, "order", 1)
    4374215849138048446
    >>> derive_seed(0, "order", 2)
    3741227544468472050
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
