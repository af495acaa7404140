"""Image files of a million pieces, or of a thousand scans, are refused before they are looked at piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spectral_prep.errors import CorruptSourceError
from spectral_prep.images.decode import decode, image_size
from spectral_prep.images.pieces import MOST_SCANS, SCAN, require_few_pieces
from tests.support.releases import encoded, random_images, saved
from tests.torture.hostile_sources import chunk, png, scans, zeros

PHOTO = Image.fromarray(random_images(1, 200, 300, 3)[0])


def refused(raw: bytes) -> str:
    for call in (lambda: decode(raw, 3), lambda: image_size(raw)):
        with pytest.raises(CorruptSourceError) as caught:
            call()
    return str(caught.value)


def test_honest_files_have_few_pieces() -> None:
    for option in ({}, {"progressive": True}, {"keep_rgb": True}, {"restart_marker_blocks": 1}):
        require_few_pieces(saved(PHOTO, "JPEG", **option))
    for kind in ("PNG", "GIF", "TIFF"):
        require_few_pieces(saved(PHOTO, kind))


def test_chunks_of_nothing() -> None:
    parts = chunk(b"prVt", b""), chunk(b"IDAT", zeros(72))
    assert decode(png(8, 8, parts[0] * 900, parts[1]), 1).shape == (8, 8, 1)
    assert "an image file of too many pieces" in refused(png(8, 8, parts[0] * 2000, parts[1]))


def test_segments_of_nothing() -> None:
    raw = saved(PHOTO, "JPEG")
    assert "too many pieces" in refused(raw.replace(b"\xff\xd8", b"\xff\xd8" + b"\xff\xe5\0\2" * 2000, 1))
    assert "too many pieces" in refused(raw[:20] + b"\0" * 5000 + raw[20:])


def test_comments_of_nothing() -> None:
    raw = saved(PHOTO, "GIF", comment=b"x" * 60_000)
    assert decode(raw, 3).shape == (200, 300, 3)
    image = b"\x2c\0\0\0\0"
    for comment in (b"\x21\xfe\1x\0" * 2000, b"\x21\xfe" + b"\1x" * 2000 + b"\0"):
        assert "too many pieces" in refused(raw.replace(image, comment + image, 1))


def test_scans_of_nothing() -> None:
    assert 1 < scans(0).count(SCAN) < 20
    require_few_pieces(scans(MOST_SCANS // 2))
    assert f"a JPEG of too many scans. Expected: at most {MOST_SCANS}. Got: " in refused(scans(MOST_SCANS))


def test_pixels_that_look_like_scans_are_none() -> None:
    """Bytes of a baseline JPEG's comment, or after its end: libjpeg reads one scan of it, whatever follows."""
    raw = saved(PHOTO, "JPEG", comment=SCAN * 500)
    assert np.array_equal(decode(raw, 3), decode(saved(PHOTO, "JPEG"), 3))
    require_few_pieces(raw + SCAN * 500)


def test_headers_that_end_anywhere() -> None:
    files = (
        saved(PHOTO, "JPEG", progressive=True),
        encoded(random_images(1, 9, 9)[0]),
        saved(PHOTO, "GIF", comment=b"x"),
    )
    for raw in files:
        for length in range(700):
            require_few_pieces(raw[:length])


def test_postscript_and_other_formats_are_not_looked_at(tmp_path: Path) -> None:
    """Pillow would start Ghostscript for it."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    (tmp_path / "x.eps").write_bytes(postscript)
    with Image.open(tmp_path / "x.eps") as known:
        assert known.format == "EPS"
    assert "not an image of a known format" in refused(postscript)
    assert "not an image of a known format" in refused(saved(PHOTO, "SPIDER"))
