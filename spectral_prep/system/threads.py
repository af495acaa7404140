"""On how many threads torch and BLAS compute: workers take one each, whoever computes alone takes all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute on this many threads; the former number comes back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Let numpy and scipy compute on this many threads; the former number comes back afterwards."""
    with threadpool_limits(count, "blas"):
        yield
