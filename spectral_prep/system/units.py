"""Bytes and seconds as people write them.

Input: a text such as "4G", or a number. Output: the number, or a text such as "1.5 kB" or "5 min".
"""

from __future__ import annotations

import re

from spectral_prep.errors import InputError

BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
"""Memory is counted in powers of two; disks, and what is said of files, in powers of ten."""


def parse_bytes(text: str) -> int:
    """Return the number of bytes that a text such as "4G" or "512M" means.

    Raises
    ------
    InputError
        If it means none.

    >>> parse_bytes("4G"), parse_bytes("1.5 GiB"), parse_bytes("1000000")
    (4294967296, 1610612736, 1000000)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if found is None or not float(found[1]):
        raise InputError("not an amount of memory", expected="a number of bytes such as 4G or 512M", got=repr(text))
    return int(float(found[1]) * BINARY[found[2].upper()])


def size(count: float) -> str:
    """Return a number of bytes in words.

    >>> size(999), size(1_500), size(2.5e12)
    ('999 B', '1.5 kB', '2.50 TB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(8.4), duration(300), duration(5000), duration(400_000)
    ('8 s', '5 min', '1.4 h', '4.6 days')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
