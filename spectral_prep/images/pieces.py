"""Of how many pieces an image file is made, counted before Pillow looks at each of them.

Input: the bytes of an image file. Output: nothing, or an error. A piece of nothing takes four to twelve bytes of a file
and some microseconds of Pillow's; honest files have one for every few thousand bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from spectral_prep.errors import CorruptSourceError

JPEG_START, PNG_START, GIF_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8"
SCAN = b"\xff\xda"
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
MOST_SCANS = 100
"""Of a JPEG, those of a thumbnail in it counted too: progressive ones have ten, and each passes over all pixels."""

GIF_HEADER, GIF_EXTENSION = 13, 0x21
MOST_PIECES = 1000
PIECE_BYTES = 1 << 8
"""Beyond `MOST_PIECES` one for so many bytes of the file."""


def require_few_pieces(raw: bytes) -> None:
    """Raise `CorruptSourceError` for a PNG, a JPEG or a GIF of too many, and for a JPEG of too many scans.

    >>> require_few_pieces(PNG_START + bytes(12 * 5000))
    Traceback (most recent call last):
    spectral_prep.errors.CorruptSourceError: an image file of too many pieces. Expected: at most 1234 in 60008 bytes
    """
    if raw.startswith(JPEG_START):
        places = _segments(raw)
    elif raw.startswith(PNG_START):
        places = _chunks(raw)
    elif raw.startswith(GIF_START):
        places = _blocks(raw)
    else:
        return
    most = MOST_PIECES + len(raw) // PIECE_BYTES
    pieces = list(islice(places, most + 1))
    if len(pieces) > most:
        raise CorruptSourceError("an image file of too many pieces", expected=f"at most {most} in {len(raw)} bytes")
    if raw.startswith(JPEG_START) and _in_several_scans(raw, pieces) and (scans := raw.count(SCAN)) > MOST_SCANS:
        raise CorruptSourceError("a JPEG of too many scans", expected=f"at most {MOST_SCANS}", got=scans)


def _segments(raw: bytes) -> Iterator[int]:
    """Yield where each segment of a JPEG begins, up to its first scan, and that too."""
    at = 2
    while at + 4 <= len(raw):
        yield at
        if raw[at : at + 2] == SCAN:
            return
        at += 2 + int.from_bytes(raw[at + 2 : at + 4]) if raw[at] == 0xFF and raw[at + 1] != 0xFF else 1


def _in_several_scans(raw: bytes, segments: list[int]) -> bool:
    """Whether libjpeg reads more than one scan: of progressive JPEGs, and where the first has not all components.

    Counting all scans takes a tenth of the time of decoding, so it is not done for the others.
    """
    frames = [at for at in segments if raw[at + 1] in FRAMES]
    components = [raw[at + 9] if at + 9 < len(raw) else 0 for at in frames]
    in_first = raw[segments[-1] + 4] if segments and segments[-1] + 4 < len(raw) else 0
    return any(raw[at + 1] in PROGRESSIVE for at in frames) or in_first < max(components, default=0)


def _chunks(raw: bytes) -> Iterator[int]:
    """Yield where each chunk of a PNG begins."""
    at = len(PNG_START)
    while at + 12 <= len(raw):
        yield at
        at += 12 + int.from_bytes(raw[at : at + 4])


def _blocks(raw: bytes) -> Iterator[int]:
    """Yield where each block of a GIF begins, up to its first image: a length and as many bytes, none at the end."""
    if len(raw) < GIF_HEADER:
        return
    colours = raw[GIF_HEADER - 3]
    at = GIF_HEADER + (3 << (colours & 7) + 1 if colours & 0x80 else 0)
    while at + 2 < len(raw) and raw[at] == GIF_EXTENSION:
        at += 2
        while at < len(raw) and raw[at]:
            yield at
            at += 1 + raw[at]
        yield at
        at += 1
