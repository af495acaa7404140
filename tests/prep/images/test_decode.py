"""Every kind of image file becomes 8-bit pixels, or is refused with its reason."""

from __future__ import annotations

import base64
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from spectral_prep.errors import CorruptSourceError
from spectral_prep.images.decode import as_pixels, decode, image_size, read_heic
from tests.support.releases import encoded, random_images, saved

COLOUR = np.tile(np.array([200, 100, 50], np.uint8), (6, 9, 1))
SOLID = Image.fromarray(COLOUR)
PHOTO = Image.fromarray(random_images(60, 90, 3)).resize((45, 67))
PALETTE = Image.fromarray(random_images(6, 9, 3)).convert("P", palette=Image.Palette.ADAPTIVE)
INK = np.tile(np.array([200, 100, 50, 255], np.uint8), (6, 9, 1))  # as Adobe stores it: 255 is none
SIXTEEN = Image.fromarray(np.full((6, 9), 40000, np.uint16))

# 6×9 pixels of the same colour, by libjpeg-turbo's arithmetic coder and its 12-bit coder: Pillow writes neither.
ARITHMETIC = base64.b64decode(
    "/9j/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkKCgr/2wBDAQICAgIC"
    "AgUDAwUKBwYHCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgr/yQARCAAGAAkDASIAAhEBAxEB/8wA"
    "CgAQEAUBEBEF/9oADAMBAAIRAxEAPwD+Lusus28g/9k="
)
TWELVE_BIT = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggL"
    "DAsKDAkKCgr/2wBDAQICAgICAgUDAwUKBwYHCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgr/wQAR"
    "DAAGAAkDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAA3/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFAEBAAAAAAAAAAAAAAAAAAAA"
    "AP/EABQRAQAAAAAAAAAAAAAAAAAAAAD/2gAMAwEAAhEDEQA/AKQAAD//2Q=="
)


def refused(raw: bytes) -> str:
    with pytest.raises(CorruptSourceError) as caught:
        decode(raw, 3)
    return str(caught.value)


def sixteen_bit_png(colour: tuple[int, ...]) -> bytes:
    """Return a 9×6 PNG of 16 bits a channel, RGB or RGBA, which Pillow does not write."""
    kind = {3: 2, 4: 6}[len(colour)]
    rows = (b"\0" + struct.pack(f">{len(colour)}H", *colour) * 9) * 6
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 9, 6, 16, kind, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (saved(SOLID.convert("CMYK"), "TIFF"), [200, 100, 50]),
        (saved(SOLID.convert("CMYK"), "JPEG", quality=100), [200, 100, 50]),
        (simplejpeg.encode_jpeg(INK, colorspace="CMYK", colorsubsampling="444"), [200, 100, 50]),  # YCCK
        (simplejpeg.encode_jpeg(INK, colorspace="CMYK", colorsubsampling="420"), [200, 100, 50]),
        (saved(SOLID.convert("YCbCr"), "TIFF"), [200, 100, 50]),
        (saved(SOLID, "JPEG", keep_rgb=True), [200, 100, 50]),
        (ARITHMETIC, [200, 100, 50]),
        (saved(SOLID.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), [200, 100, 50]),
        (saved(SOLID.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", transparency=0), [200, 100, 50]),
        (saved(SOLID.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"), [200, 100, 50]),
        (saved(SOLID, "GIF", save_all=True, append_images=[Image.new("RGB", (9, 6))]), [200, 100, 50]),
        (saved(SOLID, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 6))]), [200, 100, 50]),
        (saved(Image.new("L", (9, 6), 33), "PNG"), [33] * 3),
        (saved(Image.new("LA", (9, 6), (33, 0)), "PNG"), [33] * 3),
        (saved(Image.new("RGBA", (9, 6), (200, 100, 50, 0)), "PNG"), [200, 100, 50]),
        (saved(Image.new("RGBA", (9, 6), (200, 100, 50, 9)), "WEBP", lossless=True, exact=True), [200, 100, 50]),
        (saved(Image.new("1", (9, 6), 1), "PNG"), [255] * 3),
        (saved(SIXTEEN, "PNG"), [156] * 3),
        (saved(SIXTEEN, "TIFF"), [156] * 3),
        (b"P5 9 6 65535\n" + b"\x9c\x40" * 54, [156] * 3),
        (sixteen_bit_png((51400, 25700, 12850)), [200, 100, 50]),
        (sixteen_bit_png((51400, 25700, 12850, 99)), [200, 100, 50]),
        (saved(Image.fromarray(np.full((6, 9), 70000, np.int32)), "TIFF"), [255] * 3),
    ],
)
def test_every_kind_of_colour_becomes_rgb(raw: bytes, expected: list[int]) -> None:
    decoded = decode(raw, 3)
    assert decoded.shape == (6, 9, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - expected).max() <= 3
    assert decode(raw, 1).shape == (6, 9, 1)
    assert image_size(raw) == (6, 9)


PLAIN = {
    "4:4:4": saved(PHOTO, "JPEG", subsampling=0),
    "4:2:2": saved(PHOTO, "JPEG", subsampling=1),
    "4:2:0": saved(PHOTO, "JPEG", subsampling=2),
    "grey": saved(PHOTO.convert("L"), "JPEG"),
    "RGB": saved(PHOTO, "JPEG", keep_rgb=True),
    "progressive": saved(PHOTO, "JPEG", progressive=True),
    "restarts": saved(PHOTO, "JPEG", restart_marker_blocks=1),
    "arithmetic": ARITHMETIC,
    "1 wide": saved(PHOTO.crop((0, 0, 1, 40)), "JPEG"),
    "1 high": saved(PHOTO.crop((0, 0, 40, 1)), "JPEG"),
    "1 pixel": saved(PHOTO.crop((0, 0, 1, 1)), "JPEG"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_jpeg_needs_no_pillow_and_has_the_pixels_that_pillow_reads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.asarray(Image.open(io.BytesIO(PLAIN[name])).convert("RGB"))
    monkeypatch.setattr(Image, "open", None)
    assert np.array_equal(decode(PLAIN[name], 3), expected)


def test_a_jpeg_with_junk_that_libjpeg_only_warns_about_is_read() -> None:
    whole = PLAIN["4:2:0"]
    junk = whole[:-2] + b"\0" * 18 + whole[-2:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(junk)
    assert np.array_equal(decode(junk, 3), decode(whole, 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0garbage", b"Exif\0\0", b"garbage"])
def test_broken_exif_does_not_matter(kind: str, exif: bytes) -> None:
    assert decode(saved(SOLID, kind, exif=exif), 3).shape == (6, 9, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_not_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(saved(SOLID, kind, exif=exif), 3).shape == (6, 9, 3)


def test_warnings_of_pillow_stay_inside() -> None:
    raw = saved(PALETTE, "PNG", transparency=bytes(range(0, 250, 5)))
    with pytest.warns(UserWarning, match="Transparency"):
        Image.open(io.BytesIO(raw)).convert("RGB")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(raw, 3)
    assert not caught


def test_a_text_file() -> None:
    assert "not an image of a known format" in refused(b"this is no picture\n")
    assert "not an image of a known format" in refused(b"")
    assert "not an image of a known format" in refused(TWELVE_BIT)
    with pytest.raises(CorruptSourceError, match="not an image"):
        image_size(b"text")


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_image(kind: str, share: float) -> None:
    whole = PLAIN[kind] if kind in PLAIN else encoded(random_images(60, 90, 3), kind)
    assert "image" in refused(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_decompression_bomb(kind: str) -> None:
    raw = encoded(random_images(60, 90, 3), kind)
    before = Image.MAX_IMAGE_PIXELS
    for limit in (5399, 2000):  # 5400 pixels: above the limit Pillow warns, above twice the limit it refuses
        for call in (lambda: decode(raw, 3, limit), lambda: image_size(raw, limit)):  # noqa: B023
            with pytest.raises(CorruptSourceError, match=f"too large.*at most {limit} pixels.*--max-pixels"):
                call()
    assert decode(raw, 3, 5400).shape == (60, 90, 3)
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_header_that_promises_too_much_costs_nothing() -> None:
    raw = bytearray(PLAIN["4:2:0"])
    size = raw.index(struct.pack(">HH", PHOTO.height, PHOTO.width))
    raw[size : size + 4] = b"\xff\xff\xff\xff"  # 65535 × 65535: 12 GB
    assert "too large" in refused(bytes(raw))


def test_floating_point_pixels_have_no_known_range() -> None:
    assert "floating-point" in refused(saved(Image.fromarray(np.ones((6, 9), np.float32)), "TIFF"))


MODES = (
    *("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"),
    *("LA", "PA", "RGBX", "RGBa", "La", "I;16", "I;16L", "I;16B"),
)
UNREAD = ("BUFR", "EPS", "GRIB", "HDF5", "IM", "PALM", "PDF", "SPIDER", "WMF")


def of_mode(mode: str) -> Image.Image:
    colour = Image.fromarray(random_images(16, 16, 3))
    deep = random_images(16, 32, seed=1).tobytes()
    if mode.startswith("I;16"):
        return Image.frombytes(mode, (16, 16), deep)
    if mode == "I":
        return Image.fromarray(np.frombuffer(deep, np.uint16).reshape(16, 16).astype(np.int32))
    if mode == "F":
        return Image.fromarray(random_images(16, 16).astype(np.float32) / 255)
    if mode == "LAB":
        return Image.frombytes(mode, (16, 16), colour.tobytes())
    between = {"RGBa": "RGBA", "La": "LA", "PA": "P"}.get(mode)
    return colour.convert(between).convert(mode) if between else colour.convert(mode)


Image.init()


@pytest.mark.parametrize("kind", sorted(Image.SAVE))
def test_every_mode_that_pillow_writes_is_what_pillow_makes_of_it_or_refused(kind: str) -> None:
    read = 0
    for mode in MODES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                raw = saved(of_mode(mode), kind)
        except (OSError, ValueError, KeyError):  # Pillow does not write this mode so
            continue
        if kind in UNREAD:
            assert "not an image of a known format" in refused(raw)
            continue
        theirs = Image.open(io.BytesIO(raw))
        theirs.load()
        if theirs.mode in ("F", "LAB"):
            assert "Expected: grey or colour, 8 or 16 bits a channel" in refused(raw)
            continue
        if theirs.mode.startswith("I"):
            expected = np.rint(np.clip(np.asarray(theirs, np.float64), 0, 65535) / 257)[..., None].repeat(3, 2)
        else:
            expected = np.asarray(theirs.convert("RGB"), np.float64)
        assert np.array_equal(decode(raw, 3), expected), mode
        read += 1
    assert read or kind in UNREAD


def test_colours_multiplied_by_alpha_are_straightened() -> None:
    for mode, expected in (("RGBa", [200, 100, 50]), ("La", [124] * 3)):
        image = SOLID.convert("RGBA" if mode == "RGBa" else "LA")
        image.putalpha(128)
        assert np.abs(as_pixels(image.convert(mode), 3)[0, 0].astype(int) - expected).max() <= 1


def test_heic_is_read_where_its_library_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(COLOUR).resize((64, 48))).save(buffer, quality=100)
    assert np.abs(decode(buffer.getvalue(), 3)[24, 32].astype(int) - [200, 100, 50]).max() <= 4
    assert image_size(buffer.getvalue()) == (48, 64)
    read_heic.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    assert r"pip install 'spectral-shards[heif]'" in refused(buffer.getvalue())


def test_a_tga_is_one_if_its_end_says_so() -> None:
    assert np.array_equal(decode(saved(SOLID, "TGA"), 3), COLOUR)
    assert "not an image" in refused(saved(SOLID, "TGA")[:-26])
