"""Sums of stored rows: exact, and so the same in whatever order and division they are added."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectral_prep.conversion.totals import totals

SHAPES = st.tuples(*[st.integers(1, 4)] * 3, st.integers(1, 12), st.integers(1, 90))


@pytest.fixture(params=["", "torch"], ids=["compiled", "torch"], autouse=True)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What adds the bytes: the compiled kernel, where it is installed, or torch."""
    monkeypatch.setenv("SPECTRAL_KERNEL", request.param)


@given(shape=SHAPES, largest=st.integers(0, 127), seed=st.integers(0, 99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_totals_of_int8_are_those_of_integers(shape: tuple[int, ...], largest: int, seed: int) -> None:
    stored = torch.randint(-largest, largest + 1, shape, generator=torch.Generator().manual_seed(seed)).to(torch.int8)
    exact = stored.long()
    expected = torch.stack([each.sum((1, 3, 4)) for each in (exact, exact**2, exact.abs() == 127)]).double()
    assert torch.equal(totals(stored), expected)
    assert torch.equal(totals(stored[:, :1]) + totals(stored[:, 1:]), expected)  # part of a batch
    assert torch.equal(totals(stored.transpose(3, 4)), expected)  # in any order in memory


def test_the_largest_totals_of_int8_are_exact() -> None:
    stored = torch.full((1, 3, 1, 320, 320), -127, dtype=torch.int8)
    assert totals(stored).flatten().tolist() == [-127 * 3 * 320**2, 127**2 * 3 * 320**2, 3 * 320**2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_totals_of_floats_do_not_depend_on_order_or_division(dtype: torch.dtype) -> None:
    stored = (torch.randn((2, 7, 3, 29, 31), generator=torch.Generator().manual_seed(0)) * 1000).to(dtype)
    expected = totals(stored)
    assert torch.equal(totals(stored.flip(1, 3, 4)), expected)
    assert torch.equal(totals(stored[:, :3]) + totals(stored[:, 3:]), expected)
    values = [Fraction(value) for value in stored[0, :, 0].flatten().tolist()]
    sums = [float(sum(values)), float(sum(v * v for v in values)), 0.0]
    torch.testing.assert_close(expected[:, 0, 0].tolist(), sums)
