"""The PTX that NVRTC emits gives the CPU build's bits: in bounds, each byte read once, each byte written once.

No GPU runs here. `ptx.py` interprets the code; the grid and the parameters are those that the launcher computes.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import subprocess
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from spectral_prep.choices import Layout, Transform
from spectral_prep.encoding import Encoding, calibrate
from spectral_prep.kernel import cpu, launch
from spectral_prep.kernel.arguments import merge_factors, split_factors
from spectral_prep.kernel.nvrtc import HEADER, compile_header
from spectral_prep.spectrum import SpectralSpec, split
from tests.support.ptx import Buffer, Kernel, Memory, PtxError, fma

pytest.importorskip("cuda.bindings.nvrtc")

ARCH = "sm_80"
GRIDS = [(2, 2), (2, 3), (4, 4), (1, 28)]
STORED = [torch.float32, torch.float16, torch.bfloat16, torch.int8]
H, W = 11, 13  # of a spectral: odd, and more sites than one block of the grid has threads

ROLLED = [((8, 16), "blocks", "dct", torch.int8, torch.uint8, 1, 0)]  # values in local memory, cosines in a table
CASES = [
    (*case, STORED[i % 4], torch.float32 if i % 5 == 4 else torch.uint8, (1, 3)[i // 4 % 2], i // 2 % 3)
    for i, case in enumerate(itertools.product(GRIDS, ("blocks", "tiles"), ("dct", "dct2", "none")))
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> cpu.CpuKernel:
    """The CPU build: the installed one, else one made here."""
    found = cpu.kernel()
    if found is not None:
        return found
    library = tmp_path_factory.mktemp("cpu") / "kernel.so"
    options = ["-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run(["g++", *options, HEADER.with_name("cpu.cpp"), "-o", library], check=True)
    return cpu.CpuKernel(library)


@functools.cache
def kernel(macros: tuple[str, ...]) -> Kernel:
    return Kernel(compile_header(macros, ARCH).ptx)


def storage(tensor: Tensor) -> npt.NDArray[Any]:
    """All the bytes behind a tensor, whatever its strides."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy()


def buffer(memory: Memory, tensor: Tensor) -> Buffer:
    return memory.add(storage(tensor))


def interpret(planned: launch.Launch, memory: Memory, first_block: int = 0) -> None:
    kernel(planned.macros).run(memory, planned.blocks, launch.THREADS, raw(planned), first_block)


def raw(planned: launch.Launch) -> list[bytes]:
    return [bytes(parameter) for parameter in planned.parameters]


def strided(n: int, height: int, width: int, c: int, kind: int, dtype: torch.dtype) -> Tensor:
    """Images (N, H, W, C): contiguous; channels first in memory; or every second row and column of something larger."""
    generator = torch.Generator().manual_seed(height * width + c)
    shape = ((n, height, width, c), (n, c, height, width), (n, 2 * height, 2 * width + 1, c))[kind]
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    noise = torch.rand(shape, generator=generator) if dtype == torch.float32 else 0
    images = (pixels + noise).to(dtype)
    return (images, images.permute(0, 2, 3, 1), images[:, ::2, 1::2])[kind]


def encoding_for(images_NHWC: Tensor, spec: SpectralSpec, stored: torch.dtype) -> Encoding | None:
    if stored != torch.int8:
        return None
    whole = calibrate(split(images_NHWC, spec), spec)
    return Encoding(
        "int8", tuple(scale * 0.9 for scale in whole.scale_factor), whole.add_offset
    )  # some values saturate


def touched(tensor: Tensor) -> npt.NDArray[Any]:
    """One where a byte of the storage belongs to the tensor, zero elsewhere."""
    mask = torch.zeros(tensor.untyped_storage().nbytes() // tensor.itemsize, dtype=torch.uint8)
    mask.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(1)
    return mask.repeat_interleave(tensor.itemsize).numpy()


@pytest.mark.parametrize(("grid", "layout", "transform", "stored", "pixel", "c", "kind"), CASES + ROLLED)
def test_split_gives_the_bits_of_the_cpu_reading_and_writing_once(
    reference: cpu.CpuKernel,
    grid: tuple[int, int],
    layout: Layout,
    transform: Transform,
    stored: torch.dtype,
    pixel: torch.dtype,
    c: int,
    kind: int,
) -> None:
    spec = SpectralSpec(*grid, layout, transform)
    images = strided(3, H * spec.q1, W * spec.q2, c, kind, pixel)
    encoding = encoding_for(images, spec, stored)
    spectrum = torch.empty((spec.q, 3, c, H, W), dtype=stored)
    factors = split_factors(encoding)
    memory = Memory()
    source, target = (buffer(memory, tensor) for tensor in (images, spectrum))

    interpret(launch.plan(images, spectrum, spec, factors, merge=False), memory)

    expected = reference.split(images, spec, stored, encoding)
    assert torch.equal(spectrum.view(torch.uint8), expected.view(torch.uint8))
    assert (source.loads == touched(images)).all()
    assert not source.stores.any()
    assert (target.stores == 1).all()
    assert not target.loads.any()


@pytest.mark.parametrize(("grid", "layout", "transform", "stored", "pixel", "c", "kind"), CASES[::2] + ROLLED)
def test_merge_gives_the_bits_of_the_cpu_reading_and_writing_once(
    reference: cpu.CpuKernel,
    grid: tuple[int, int],
    layout: Layout,
    transform: Transform,
    stored: torch.dtype,
    pixel: torch.dtype,
    c: int,
    kind: int,
) -> None:
    spec = SpectralSpec(*grid, layout, transform)
    original = strided(3, H * spec.q1, W * spec.q2, c, kind, pixel)
    encoding = encoding_for(original, spec, stored)
    spectrum = reference.split(original, spec, stored, encoding)
    images = torch.empty(original.shape, dtype=pixel)
    factors = merge_factors(encoding)
    memory = Memory()
    target, source = (buffer(memory, tensor) for tensor in (images, spectrum))

    interpret(launch.plan(images, spectrum, spec, factors, merge=True), memory)

    expected = reference.merge(spectrum, spec, pixel, encoding)
    assert torch.equal(images.view(torch.uint8), expected.view(torch.uint8))
    assert (source.loads == 1).all()
    assert (target.stores == 1).all()
    assert not target.loads.any()


@pytest.mark.parametrize(("grid", "rows"), [((2, 2), 2**21 + 1), ((1, 1), 2**24 + 1)])
def test_the_last_blocks_of_more_than_2_31_elements_land_where_they_belong(
    reference: cpu.CpuKernel, grid: tuple[int, int], rows: int
) -> None:
    """The rows are one image again and again; the second case has more than 2³² sites, which are divided in 64 bits."""
    spec = SpectralSpec(*grid)
    image = strided(1, 16 * spec.q1, 16 * spec.q2, 1, 0, torch.uint8)
    images = image.expand(rows, -1, -1, -1)
    expected = reference.split(image, spec, torch.int8, encoding := Encoding("int8", (2.1,) * spec.q, (0.3,) * spec.q))
    spectrum = torch.empty((spec.q, rows, 1, 16, 16), dtype=torch.int8)  # 2 and 4 GiB, of which few pages are touched
    factors = split_factors(encoding)
    memory = Memory()
    _, target = (buffer(memory, tensor) for tensor in (images, spectrum))
    planned = launch.plan(images, spectrum, spec, factors, merge=False)

    interpret(planned, memory, first_block=planned.blocks - 2)

    assert spectrum.numel() > 2**31
    assert torch.equal(spectrum[:, -2:], expected.expand(-1, 2, -1, -1, -1))
    stored = target.stores.reshape(spec.q, rows, 256)
    assert (stored[:, -2:] == 1).all()
    assert not stored[:, -4:-2].any()


def test_a_grid_smaller_than_the_sites_walks_over_all_of_them(reference: cpu.CpuKernel) -> None:
    spec = SpectralSpec(2, 2)
    images = strided(3, 2 * H, 2 * W, 1, 0, torch.uint8)
    spectrum = torch.empty((4, 3, 1, H, W), dtype=torch.float16)
    planned = launch.plan(images, spectrum, spec, (), merge=False)
    memory = Memory()
    _, target = (buffer(memory, tensor) for tensor in (images, spectrum))
    kernel(planned.macros).run(memory, 1, 32, raw(planned))
    assert (target.stores == 1).all()
    assert torch.equal(spectrum, reference.split(images, spec))


@pytest.mark.parametrize("short", ["images", "spectrum"])
def test_one_byte_too_few_is_an_access_out_of_bounds(short: str) -> None:
    spec = SpectralSpec(2, 2)
    images = strided(1, 8, 8, 1, 0, torch.uint8)
    spectrum = torch.empty((4, 1, 1, 4, 4), dtype=torch.float16)
    memory = Memory()
    memory.add(storage(images)[: -1 if short == "images" else None])
    memory.add(storage(spectrum)[: -1 if short == "spectrum" else None])
    with pytest.raises(PtxError):
        interpret(launch.plan(images, spectrum, spec, (), merge=False), memory)


def test_the_interpreters_multiply_add_is_rounded_once() -> None:
    fmaf = ctypes.CDLL("libm.so.6").fmaf
    fmaf.argtypes, fmaf.restype = [ctypes.c_float] * 3, ctypes.c_float
    random = np.random.default_rng(0)
    scaled = [np.ldexp(random.standard_normal(20_000), random.integers(-30, 30, 20_000)) for _ in range(3)]
    a, b, c = (values.astype(np.float32) for values in scaled)
    a[:5000], b[:5000] = np.float32(1 + 2**-12), np.float32(1 + 2**-12)  # products half-way between two floats,
    c[:5000] *= np.float32(2**-60)  # and addends too small for a double to keep beside them
    expected = np.array([fmaf(*map(float, triple)) for triple in zip(a, b, c, strict=True)], np.float32)
    assert (fma(a, b, c) == expected).all()
    twice = (a.astype(np.float64) * b + c).astype(np.float32)
    assert (twice != expected).any()
