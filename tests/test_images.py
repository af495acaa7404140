"""Decoding, resizing and cropping: the right pixels, or one reason why not."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.images import Geometry, image_size, load
from tests.make import encoded, random_images

EXACT = Geometry(6, 9, 3)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refused(raw: bytes, geometry: Geometry = EXACT) -> str:
    with pytest.raises(CorruptSourceError) as caught:
        load(raw, geometry)
    assert caught.value.exit_code == 1
    return str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_an_image_of_the_wanted_size_is_decoded_exactly(kind: str) -> None:
    pixels = random_images(6, 9, 3)
    loaded = load(encoded(pixels, kind), EXACT)
    assert loaded.dtype == np.uint8
    assert np.array_equal(loaded, pixels)
    assert loaded.flags.writeable
    assert loaded.flags.c_contiguous


def test_pixels_of_the_wanted_size_are_returned_as_they_are() -> None:
    pixels = random_images(6, 9, 3)
    assert load(pixels, EXACT) is pixels
    assert load(pixels, Geometry(6, 9, 3, resize=9)) is not pixels


def test_a_geometry_survives_its_record() -> None:
    geometry = Geometry(6, 9, 3, resize=12)
    assert Geometry.from_dict(geometry.to_dict()) == geometry


@pytest.mark.parametrize("sizes", [(0, 9, 3, None), (6, 9, 2, None), (6, 9, 3, 8)])
def test_a_geometry_that_cannot_be(sizes: tuple[int, int, int, int | None]) -> None:
    with pytest.raises(InputError, match="Expected: at least"):
        Geometry(*sizes)


def gradient(height: int, width: int) -> np.ndarray:
    """Return smooth colours with noise and hard edges on them, as photographs have."""
    y, x = np.mgrid[:height, :width]
    waves = 127 + 90 * np.sin(x / 7)[..., None] * np.cos(y / 11 + np.arange(3)[:, None, None]).transpose(1, 2, 0)
    noise = np.random.default_rng(height * width).normal(0, 25, (height, width, 3))
    return np.clip(waves + noise + 40 * ((x // 16 + y // 16) % 2)[..., None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 333), (224, 224), (71, 68), (300, 301), (1200, 90), (256, 1023)]
)
@pytest.mark.parametrize("geometry", [Geometry(224, 224, 3, 256), Geometry(64, 48, 3, 64), Geometry(5, 8, 3, 31)])
def test_one_pass_equals_resize_then_crop(height: int, width: int, geometry: Geometry) -> None:
    image = Image.fromarray(gradient(height, width))
    resize = geometry.resize or 0
    short = min(height, width)
    resized = image.resize((int(resize * width / short), int(resize * height / short)), Image.Resampling.BILINEAR)
    left, top = round((resized.width - geometry.width) / 2), round((resized.height - geometry.height) / 2)
    expected = np.asarray(resized.crop((left, top, left + geometry.width, top + geometry.height)), np.int16)
    assert np.abs(load(saved(image, "PNG"), geometry) - expected).max() <= 1
    assert np.array_equal(load(np.array(image), geometry), load(saved(image, "PNG"), geometry))


@given(height=st.integers(1, 80), width=st.integers(1, 80), crop=st.integers(1, 20), more=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_every_size_can_be_resized(height: int, width: int, crop: int, more: int) -> None:
    flat = np.full((height, width, 1), 77, np.uint8)
    assert np.array_equal(load(flat, Geometry(crop, crop, 3, crop + more)), np.full((crop, crop, 3), 77))


def test_the_resize_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(load(stripes, Geometry(8, 8, 1, 8)).astype(int) - 127).max() <= 10


def test_without_resize_another_size_is_an_error_with_both_sizes() -> None:
    error = refused(encoded(random_images(7, 9, 3)))
    assert "Expected: 6x9 pixels" in error
    assert "Got: 7x9" in error
    with pytest.raises(CorruptSourceError, match="Got: 7x9"):
        load(random_images(7, 9, 3), EXACT)


COLOUR = np.tile(np.array([200, 100, 50], np.uint8), (6, 9, 1))
SOLID = Image.fromarray(COLOUR)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (saved(SOLID.convert("CMYK"), "TIFF"), [200, 100, 50]),
        (saved(SOLID.convert("CMYK"), "JPEG", quality=100), [200, 100, 50]),
        (saved(SOLID.convert("YCbCr"), "TIFF"), [200, 100, 50]),
        (saved(SOLID.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), [200, 100, 50]),
        (saved(SOLID.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"), [200, 100, 50]),
        (saved(Image.new("L", (9, 6), 33), "PNG"), [33] * 3),
        (saved(Image.new("LA", (9, 6), (33, 0)), "PNG"), [33] * 3),
        (saved(Image.new("RGBA", (9, 6), (200, 100, 50, 0)), "PNG"), [200, 100, 50]),
        (saved(Image.new("RGBA", (9, 6), (200, 100, 50, 9)), "WEBP", lossless=True, exact=True), [200, 100, 50]),
        (saved(Image.new("1", (9, 6), 1), "PNG"), [255] * 3),
        (saved(Image.fromarray(np.full((6, 9), 40000, np.uint16)), "PNG"), [156] * 3),
        (saved(Image.fromarray(np.full((6, 9), 40000, np.uint16)), "TIFF"), [156] * 3),
        (b"P5 9 6 65535\n" + b"\x9c\x40" * 54, [156] * 3),
        (saved(Image.fromarray(np.full((6, 9), 70000, np.int32)), "TIFF"), [255] * 3),
    ],
)
def test_every_kind_of_colour_becomes_rgb(raw: bytes, expected: list[int]) -> None:
    loaded = load(raw, EXACT)
    assert loaded.shape == (6, 9, 3)
    assert np.abs(loaded.astype(int) - expected).max() <= 3


def test_colour_becomes_grey_where_one_channel_is_wanted() -> None:
    assert load(encoded(COLOUR), Geometry(6, 9, 1)).tolist() == np.full((6, 9, 1), 124).tolist()
    assert load(np.full((6, 9, 1), 7, np.uint8), EXACT).tolist() == np.full((6, 9, 3), 7).tolist()


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load(saved(SOLID, "JPEG", exif=exif), EXACT).shape == (6, 9, 3)


def test_warnings_of_pillow_stay_inside() -> None:
    palette = Image.fromarray(random_images(6, 9, 3)).convert("P", palette=Image.Palette.ADAPTIVE)
    raw = saved(palette, "PNG", transparency=bytes(range(0, 250, 5)))
    with pytest.warns(UserWarning, match="Transparency"):
        Image.open(io.BytesIO(raw)).convert("RGB")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(raw, EXACT)
        load(saved(SOLID, "JPEG", exif=b"Exif\0\0II*\0garbage"), EXACT)
    assert not caught


def test_a_text_file() -> None:
    assert "not an image of a known format" in refused(b"this is no picture\n")
    assert "not an image of a known format" in refused(b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_image(kind: str, share: float) -> None:
    whole = encoded(random_images(60, 90, 3), kind)
    assert "image" in refused(whole[: int(len(whole) * share)], Geometry(60, 90, 3))


def test_a_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encoded(random_images(60, 90, 3))
    for limit in (4000, 2000):  # 5400 pixels: above the limit Pillow warns, above twice the limit it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert "too large" in refused(raw)
        with pytest.raises(CorruptSourceError, match="too large"):
            image_size(raw)


def test_floating_point_pixels_have_no_known_range() -> None:
    assert "floating-point" in refused(saved(Image.fromarray(np.ones((6, 9), np.float32)), "TIFF"))


def test_the_size_is_read_from_the_header_alone() -> None:
    whole = encoded(random_images(60, 90, 3), "JPEG")
    assert image_size(whole[:700]) == (60, 90)
    assert image_size(random_images(7, 5, 3)) == (7, 5)
    with pytest.raises(CorruptSourceError, match="not an image"):
        image_size(b"text")


SEEDS = [encoded(random_images(6, 9, 3), kind) for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP")]


@settings(max_examples=150, deadline=None)
@given(seed=st.sampled_from(SEEDS), start=st.floats(0, 1), change=st.binary(min_size=1, max_size=6))
def test_only_our_errors_escape_from_any_bytes(seed: bytes, start: float, change: bytes) -> None:
    place = int(start * len(seed))
    raw = seed[:place] + change + seed[place + len(change) :]
    try:
        assert load(raw, Geometry(6, 6, 3, 6)).shape == (6, 6, 3)
    except CorruptSourceError as error:
        assert "image" in str(error)  # noqa: PT017
