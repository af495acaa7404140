"""From any raw image to pixels of one size, or one reason why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.images.load import Geometry, image_size, load
from spectral_prep.sources import open_source
from spectral_prep.store.record_file import decoded, plain
from tests.support.releases import encoded, random_images

EXACT = Geometry(6, 9, 3)


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
    geometry = Geometry(6, 9, 3, resize=12, max_pixels=99)
    assert decoded(Geometry, plain(geometry), Path(), "it") == geometry


@pytest.mark.parametrize("sizes", [(0, 9, 3, None), (6, 9, 2, None), (6, 9, 3, 8)])
def test_a_geometry_that_cannot_be(sizes: tuple[int, int, int, int | None]) -> None:
    with pytest.raises(InputError, match="Expected: at least"):
        Geometry(*sizes)


def test_without_resize_another_size_is_an_error_with_both_sizes() -> None:
    error = refused(encoded(random_images(7, 9, 3)))
    assert "Expected: 6x9 pixels" in error
    assert "Got: 7x9" in error
    with pytest.raises(CorruptSourceError, match="Got: 7x9"):
        load(random_images(7, 9, 3), EXACT)


def test_colour_becomes_grey_where_one_channel_is_wanted() -> None:
    colour = np.tile(np.array([200, 100, 50], np.uint8), (6, 9, 1))
    assert load(encoded(colour), Geometry(6, 9, 1)).tolist() == np.full((6, 9, 1), 124).tolist()
    assert load(colour, Geometry(6, 9, 1)).tolist() == np.full((6, 9, 1), 124).tolist()
    assert load(np.full((6, 9, 1), 7, np.uint8), EXACT).tolist() == np.full((6, 9, 3), 7).tolist()


def test_the_size_is_read_from_the_header_alone() -> None:
    assert image_size(encoded(random_images(60, 90, 3), "JPEG")[:700]) == (60, 90)
    assert image_size(random_images(7, 5, 3)) == (7, 5)


def test_the_limit_reaches_the_decoder() -> None:
    raw = encoded(random_images(60, 90, 3), "JPEG")
    assert load(raw, Geometry(60, 90, 3, max_pixels=5400)).shape == (60, 90, 3)
    assert "too large" in refused(raw, Geometry(60, 90, 3, max_pixels=5399))
    with pytest.raises(CorruptSourceError, match="too large"):
        image_size(raw, max_pixels=5399)


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    pixels = random_images(6, 9, 3)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "n01.JPEG").write_bytes(encoded(pixels, "PNG"))  # ImageNet has one such
    source = open_source("folder", tmp_path, tmp_path / "staging")
    assert np.array_equal(load(source.read("train", 0, "cat/n01.JPEG"), EXACT), pixels)


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
