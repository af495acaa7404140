"""Whether bytes are the beginning of an image file, by what the formats begin with; nothing is decoded.

Input: the first bytes of a file whose name says nothing. Output: yes or no. Formats that begin with nothing of their
own (TGA) are known by name only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from spectral_prep.places import at
from spectral_prep.places.url import Place, Url
from spectral_prep.sources.opening import reads

HEAD_BYTES = 32
FILES_AT_ONCE = 16

BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), ".avif"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), ".heic"),
}
"""What the first box of AVIF and HEIC files says, and the ending of the format."""

BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|P[1-6][ \t\r\n]+[0-9#]"
    rb"|BM............(?:\x0c|\x28|\x34|\x38|\x40|\x6c|\x7c)\0\0\0"
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51|qoif|DDS |8BPS\0\x01|\x01\xda[\0\x01][\x01\x02]|icns|BLP[12]"
    rb"|\0\0\x01\0[\x01-\x20]\0|\x0a[\0\x02\x03\x05]\x01[\x01\x02\x04\x08]",
    re.DOTALL,
)
"""JPEG, PNG, GIF, TIFF, WebP, PPM, BMP; JPEG 2000, QOI, DDS, PSD, SGI, ICNS, BLP, ICO, PCX."""


def is_image_content(head: bytes) -> bool:
    """Whether a file that begins so is an image that can be read here.

    >>> is_image_content(b"GIF89a"), is_image_content(b"BMW, Audi, Opel"), is_image_content(b"")
    (True, False, False)
    """
    if head[4:8] == b"ftyp":
        return reads(BRANDS.get(head[8:12], ""))
    return BEGINNINGS.match(head) is not None


def images_among(folder: Place, paths: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yield each path below a folder, and whether the file there is an image by its content."""
    with ThreadPoolExecutor(FILES_AT_ONCE if isinstance(folder, Url) else 1) as pool:
        wanted = list(paths)
        yield from zip(wanted, pool.map(lambda path: is_image_content(_head(folder / path)), wanted), strict=True)


def _head(place: Place) -> bytes:
    """Return how a file begins; nothing of what is no file, or may not be read."""
    try:
        with at(place).open() as file:
            return file.read(0, min(HEAD_BYTES, file.size))
    except (OSError, ValueError):
        return b""
