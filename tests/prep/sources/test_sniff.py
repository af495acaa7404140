"""What an image file begins with tells that it is one; a text, an archive or a font is none."""

from __future__ import annotations

import pytest
from PIL import Image

from spectral_prep.images.decode import FORMATS, RARE_FORMATS
from spectral_prep.sources.sniff import HEAD_BYTES, is_image_content
from tests.support.releases import saved

NO_BEGINNING = ("DIB", "MSP", "XBM")
IMAGE = Image.new("RGB", (32, 32), (200, 100, 50))


@pytest.mark.parametrize("kind", sorted({*FORMATS, *RARE_FORMATS} - {*NO_BEGINNING, "PSD"}))
def test_every_format_that_is_read_is_known_by_its_beginning(kind: str) -> None:
    assert is_image_content(saved(IMAGE.convert("P") if kind == "BLP" else IMAGE, kind)[:HEAD_BYTES])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"BM is short for benchmark, which says nothing",
        b"P5, P6 and others",
        b"PK\x03\x04" + bytes(28),
        b"\0\x01\0\0\0\x0f" + bytes(26),
        b"%!PS-Adobe-3.0",
        b"%PDF-1.7",
        b"\x89HDF\r\n\x1a\n",
        b"RIFF1234WAVE" + bytes(20),
        b"\0\0\0\x18ftypmp42" + bytes(20),
        b"\x93NUMPY\x01\0v\0",
    ],
)
def test_other_files_are_not(content: bytes) -> None:
    assert not is_image_content(content)
