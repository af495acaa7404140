"""Machine code for four generations of GPUs: up to Q = 64 no thread uses a stack and no register is spilled."""

from __future__ import annotations

import itertools
import re

import pytest
import torch

from spectral_prep.kernel.launch import macros
from spectral_prep.kernel.nvrtc import compile_header
from spectral_prep.spectrum import SpectralSpec

pytest.importorskip("cuda.bindings.nvrtc")

ARCHITECTURES = {"sm_80": "A100", "sm_90": "H100", "sm_100": "B200", "sm_120": "RTX 5090"}
SPECS = [
    *(SpectralSpec(*grid, "tiles") for grid in ((2, 2), (4, 4), (1, 28), (1, 32), (7, 7), (8, 8))),
    SpectralSpec(8, 8),
    SpectralSpec(8, 8, "tiles", "dct2"),
]
KERNELS = [*itertools.product((torch.float16, torch.int8), (False, True))]
"""What is stored, and whether the kernel merges."""


def stack_and_spills(spec: SpectralSpec, stored: torch.dtype, arch: str, *, merge: bool) -> list[int]:
    """Bytes of stack, spill stores and spill loads of a thread, as the assembler reports them."""
    log = compile_header(macros(spec, torch.uint8, stored, merge=merge), arch).log
    (found,) = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    return [int(number) for number in found]


def name(spec: SpectralSpec) -> str:
    return f"{spec.q1}x{spec.q2}-{spec.layout}-{spec.transform}"


CASES = [
    pytest.param(spec, *KERNELS[(i + j) % len(KERNELS)], arch, id=f"{name(spec)}-{arch}")
    for i, spec in enumerate(SPECS)
    for j, arch in enumerate(ARCHITECTURES)
]
"""Any two of a spec, a kernel and an architecture meet: all three at once would be four times as many."""


@pytest.mark.parametrize(("spec", "stored", "merge", "arch"), CASES)
def test_no_stack_is_used_and_nothing_spilled(spec: SpectralSpec, stored: torch.dtype, merge: bool, arch: str) -> None:
    """Layout `tiles` needs the most registers for addresses; `blocks` is measured where Q is largest."""
    assert stack_and_spills(spec, stored, arch, merge=merge) == [0, 0, 0]


def test_what_does_not_fit_is_seen() -> None:
    assert stack_and_spills(SpectralSpec(8, 16), torch.float16, "sm_90", merge=False)[0] > 0
