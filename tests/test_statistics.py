"""Sums of stored rows: exact, and so the same in whatever order and division they are added."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral_prep.statistics import sums

SHAPES = st.tuples(*[st.integers(1, 4)] * 3, st.integers(1, 12), st.integers(1, 90))


@given(shape=SHAPES, largest=st.integers(0, 127), seed=st.integers(0, 99))
def test_sums_of_int8_are_those_of_integers(shape: tuple[int, ...], largest: int, seed: int) -> None:
    stored = torch.randint(-largest, largest + 1, shape, generator=torch.Generator().manual_seed(seed)).to(torch.int8)
    exact = stored.long()
    assert torch.equal(sums(stored), torch.stack([exact.sum((1, 3, 4)), (exact**2).sum((1, 3, 4))]).double())


def test_the_largest_sums_of_int8_are_exact() -> None:
    stored = torch.full((1, 3, 1, 112, 112), -127, dtype=torch.int8)
    assert sums(stored).flatten().tolist() == [-127 * 3 * 112**2, 127**2 * 3 * 112**2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_sums_of_floats_do_not_depend_on_order_or_division(dtype: torch.dtype) -> None:
    stored = (torch.randn((2, 7, 3, 29, 31), generator=torch.Generator().manual_seed(0)) * 1000).to(dtype)
    expected = sums(stored)
    assert torch.equal(sums(stored.flip(1, 3, 4)), expected)
    assert torch.equal(sums(stored[:, :3]) + sums(stored[:, 3:]), expected)
    values = [Fraction(value) for value in stored[0, :, 0].flatten().tolist()]
    torch.testing.assert_close(expected[:, 0, 0].tolist(), [float(sum(values)), float(sum(v * v for v in values))])
