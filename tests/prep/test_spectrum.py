"""split is scipy's orthonormal DCT along the regrouped axis, and merge gives the pixels back exactly."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_prep.choices import Layout, Transform
from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec, basis, merge, parse_q, regroup, split, ungroup
from spectral_prep.store.record_file import decoded, plain

GRIDS = [(1, 1), (2, 2), (4, 4), (1, 28), (7, 7), (2, 4), (3, 1), (8, 8), (16, 16)]
LAYOUTS: list[Layout] = ["blocks", "tiles"]
TRANSFORMS: list[Transform] = ["dct", "dct2", "none"]


def images(n: int, height: int, width: int, channels: int, seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), np.uint8)
    return torch.from_numpy(noise)


def reference(images_NHWC: torch.Tensor, spec: SpectralSpec) -> npt.NDArray[Any]:
    """The definition, pixel by pixel in float64, with scipy's transform."""
    n, height, width, c = images_NHWC.shape
    h, w = height // spec.q1, width // spec.q2
    grouped = np.zeros((n, c, h, w, spec.q1, spec.q2))
    for row, column, i, j in itertools.product(range(h), range(w), range(spec.q1), range(spec.q2)):
        y, x = (row * spec.q1 + i, column * spec.q2 + j) if spec.layout == "blocks" else (i * h + row, j * w + column)
        grouped[:, :, row, column, i, j] = images_NHWC[:, y, x, :].numpy()
    if spec.transform == "dct2":
        coefficients = scipy.fft.dctn(grouped, axes=(4, 5), norm="ortho").reshape(n, c, h, w, spec.q)
    else:
        coefficients = grouped.reshape(n, c, h, w, spec.q)
        if spec.transform == "dct":
            coefficients = scipy.fft.dct(coefficients, axis=-1, norm="ortho")
    return np.moveaxis(coefficients, -1, 0)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_split_is_scipys_transform_to_a_relative_error_of_1e_6(
    grid: tuple[int, int], layout: Layout, transform: Transform
) -> None:
    spec = SpectralSpec(*grid, layout, transform)
    batch = images(2, grid[0] * 3, grid[1] * 2, 3)
    expected = reference(batch, spec)
    got = split(batch, spec)
    assert got.dtype == torch.float32
    assert np.abs(got.numpy() - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("storage", [torch.float32, torch.float16])
def test_merge_returns_every_pixel_of_random_noise(
    grid: tuple[int, int], layout: Layout, transform: Transform, storage: torch.dtype
) -> None:
    spec = SpectralSpec(*grid, layout, transform)
    batch = images(8, grid[0] * 4, grid[1] * 4, 3, seed=1)
    assert torch.equal(merge(split(batch, spec).to(storage), spec), batch)


@pytest.mark.parametrize("grid", [(4, 4), (1, 28), (8, 8)])
@pytest.mark.parametrize("value", [0, 1, 127, 128, 254, 255])
def test_merge_returns_flat_images_from_float16(grid: tuple[int, int], value: int) -> None:
    spec = SpectralSpec(*grid)
    batch = torch.full((1, grid[0] * 2, grid[1] * 2, 3), value, dtype=torch.uint8)
    assert torch.equal(merge(split(batch, spec).half(), spec), batch)


@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(1, 4),
    st.sampled_from(LAYOUTS), st.sampled_from(TRANSFORMS),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_any_shape_comes_back(
    q1: int, q2: int, h: int, w: int, n: int, c: int, layout: Layout, transform: Transform
) -> None:
    spec = SpectralSpec(q1, q2, layout, transform)
    batch = images(n, q1 * h, q2 * w, c)
    spectrum = split(batch, spec)
    assert spectrum.shape == (q1 * q2, n, c, h, w)
    assert torch.equal(merge(spectrum, spec), batch)
    assert torch.equal(ungroup(regroup(batch, spec), spec), batch)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("grid", GRIDS)
def test_the_basis_is_orthonormal(grid: tuple[int, int], transform: Transform) -> None:
    matrix = basis(SpectralSpec(*grid, "blocks", transform))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)


def test_strides_and_floating_images_are_taken_as_they_come() -> None:
    spec = SpectralSpec(2, 2)
    channels_first = images(3, 8, 6, 3).permute(0, 3, 1, 2).contiguous()
    view = channels_first.permute(0, 2, 3, 1)[::2]
    torch.testing.assert_close(split(view, spec), split(view.contiguous(), spec), rtol=0, atol=0)
    torch.testing.assert_close(split(view.float(), spec), split(view, spec), rtol=0, atol=0)
    assert split(view.double(), spec).dtype == torch.float64
    assert merge(split(view, spec), spec, torch.float32).dtype == torch.float32


def test_merge_saturates_and_rounds_uint8() -> None:
    spec = SpectralSpec(1, 1)
    values = torch.tensor([-3.0, 0.4, 254.6, 300.0]).view(1, 1, 1, 1, 4)
    assert merge(values, spec).flatten().tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(
    ("text", "size", "grid"),
    [
        ("16", (224, 224), (4, 4)),
        ("16", (28, 28), (4, 4)),
        ("28", (28, 28), (1, 28)),
        ("32", (32, 32), (1, 32)),
        ("4", (32, 32), (2, 2)),
        ("16", (16, 16), (4, 4)),
        ("9", (28, 9), (1, 9)),
        ("2x4", (32, 32), (2, 4)),
        ("2X4", (32, 32), (2, 4)),
        ("1", (7, 7), (1, 1)),
    ],
)
def test_q_is_a_square_else_the_width_else_a_pair(text: str, size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert parse_q(text, *size) == grid


@pytest.mark.parametrize(
    ("text", "size", "told"),
    [
        ("16", (30, 30), "{1, 2, 3, 5, 6, 10, 15, 30}"),
        ("5x4", (32, 32), "{1, 2, 4, 8, 16, 32}"),
        ("8", (32, 32), "2x4"),
        ("sixteen", (32, 32), "for example 16 or 2x4"),
        ("0", (32, 32), "--q 0"),
        ("0x4", (32, 32), "0x4"),
        ("-4", (32, 32), "'-4'"),
        ("32x32", (32, 32), "256"),
    ],
)
def test_what_does_not_divide_is_refused_with_what_would(text: str, size: tuple[int, int], told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_q(text, *size)
    assert told in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [(0, 4), (17, 16), (2, 2, "rows"), (2, 2, "blocks", "fft")],
    ids=["zero", "large", "layout", "transform"],
)
def test_a_spec_names_what_it_cannot_be(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=r"unusable grid|unknown"):
        SpectralSpec(*arguments)


def test_wrong_ranks_are_refused_with_the_shape() -> None:
    spec = SpectralSpec(2, 2)
    with pytest.raises(InputError, match=r"\(N, H, W, C\).*\(4, 4\)"):
        split(torch.zeros(4, 4), spec)
    with pytest.raises(InputError, match=r"\(Q=4, N, C, h, w\).*\(3, 1, 1, 1, 1\)"):
        merge(torch.zeros(3, 1, 1, 1, 1), spec)


def test_a_spec_survives_json() -> None:
    spec = SpectralSpec(2, 4, "tiles", "dct2")
    assert decoded(SpectralSpec, plain(spec), Path(), "it") == spec
