"""The crop of a resized image: what resizing all of it and then cropping gives, for less."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate

from spectral_prep.images.resize import resize_and_crop
from tests.support.releases import Images

SIZES = [(375, 500), (500, 333), (224, 224), (256, 256), (71, 68), (300, 301), (1200, 900), (256, 1023), (282, 375)]
CROPS = [(256, 224, 224), (64, 64, 48), (31, 5, 8)]


def photograph(height: int, width: int) -> Images:
    """Return smooth colours with noise and hard edges on them, as photographs have."""
    y, x = np.mgrid[:height, :width]
    waves = 127 + 90 * np.sin(x / 7)[..., None] * np.cos(y / 11 + np.arange(3)[:, None, None]).transpose(1, 2, 0)
    noise = np.random.default_rng(height * width).normal(0, 25, (height, width, 3))
    pixels: Images = np.clip(waves + noise + 40 * ((x // 16 + y // 16) % 2)[..., None], 0, 255).astype(np.uint8)
    return pixels


def resized_size(pixels: Images, short: int) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return int(short * height / min(height, width)), int(short * width / min(height, width))


def centre(pixels: Images, height: int, width: int) -> Images:
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]


def by_torch(pixels: Images, short: int, height: int, width: int) -> Images:
    """Resize the whole image, then crop it."""
    whole = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = interpolate(whole, size=resized_size(pixels, short), mode="bilinear", antialias=True)
    return centre(resized[0].permute(1, 2, 0).numpy(), height, width)


def by_pillow(pixels: Images, short: int, height: int, width: int) -> Images:
    resized = Image.fromarray(pixels).resize(resized_size(pixels, short)[::-1], Image.Resampling.BILINEAR)
    return centre(np.asarray(resized), height, width)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", CROPS)
def test_it_equals_resizing_the_whole_and_then_cropping(size: tuple[int, int], crop: tuple[int, int, int]) -> None:
    pixels = photograph(*size)
    resized = resize_and_crop(pixels, *crop)
    assert np.array_equal(resized, by_torch(pixels, *crop))
    difference = np.abs(resized - by_pillow(pixels, *crop).astype(int))
    assert difference.max() <= 2
    assert difference.mean() <= 0.02
    assert np.array_equal(resize_and_crop(pixels[..., :1], *crop), resized[..., :1])


@given(height=st.integers(1, 80), width=st.integers(1, 80), crop=st.integers(1, 20), more=st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_every_size_can_be_resized(height: int, width: int, crop: int, more: int) -> None:
    pixels = photograph(height, width)
    resized = resize_and_crop(pixels, crop + more, crop, crop)
    assert resized.shape == (crop, crop, 3)
    assert np.abs(resized - by_pillow(pixels, crop + more, crop, crop).astype(int)).max() <= 2


@pytest.mark.parametrize("size", [(1, 20000), (20000, 1), (3, 4000), (2000, 9)])
def test_a_line_of_pixels_is_resized_without_the_room_that_all_of_it_would_take(size: tuple[int, int]) -> None:
    pixels = photograph(*size)  # the first would become 256 × 5,120,000
    middle = centre(pixels, min(100, size[0]), min(100, size[1]))
    expected = resize_and_crop(middle, 256, 224, 224)
    assert np.abs(resize_and_crop(pixels, 256, 224, 224) - expected.astype(int)).max() <= 2


def test_it_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_and_crop(stripes, 8, 8, 8).astype(int) - 127).max() <= 10


def test_pixels_that_may_not_be_written_or_lie_apart_are_read_all_the_same() -> None:
    pixels = photograph(50, 60)
    expected = resize_and_crop(np.ascontiguousarray(pixels[:, ::2]), 20, 16, 16)
    pixels.setflags(write=False)
    assert np.array_equal(resize_and_crop(pixels[:, ::2], 20, 16, 16), expected)
