"""JSON from anybody, read in memory that does not depend on what it says.

Input: the bytes of a JSON text and how many values it may hold. Output: what it says. A list takes three bytes of text
and sixty of memory, so a bound on the bytes alone is none.
"""

from __future__ import annotations

import json
from typing import Any

_BEFORE_A_VALUE = (b",", b":", b"[", b"{")


def json_value(text: bytes, most_values: int) -> Any:
    """Return what a JSON text says; nothing is made of one that may hold more than so many values.

    Raises
    ------
    ValueError
        If it is none, or has more commas, colons and brackets, wherever they stand.
    RecursionError
        If it is nested too deep.

    >>> json_value(b'{"rows": [1, 2]}', 5)
    {'rows': [1, 2]}
    >>> json_value(b"[[], [], []]", 5)
    Traceback (most recent call last):
    ValueError: more than 5 values in a JSON text
    """
    if sum(map(text.count, _BEFORE_A_VALUE)) > most_values:
        raise ValueError(f"more than {most_values} values in a JSON text")
    return json.loads(text)
