"""The kernel's own `__global__` function, thread by thread: clean under ASan and UBSan, with the CPU kernel's bits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from spectral_prep.encoding import Encoding, calibrate
from spectral_prep.kernel.arguments import LAYOUTS, PIXELS, STORED, TRANSFORMS, merge_factors, split_factors
from spectral_prep.kernel.cpu import CpuKernel, kernel
from spectral_prep.spectrum import SpectralSpec, split
from tests.prep.test_spectrum import images

HEADERS = Path(__file__).parents[3] / "spectral_prep" / "kernel"
FLAGS = ["-std=c++17", "-O0", "-g", "-ffp-contract=off", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

CASES = [  # spec, pixels, stored, (n, c, h, w)
    (SpectralSpec(4, 4), torch.uint8, torch.int8, (2, 3, 3, 2)),
    (SpectralSpec(2, 4, "tiles"), torch.uint8, torch.float16, (3, 1, 1, 5)),
    (SpectralSpec(3, 5, "blocks", "dct2"), torch.float32, torch.bfloat16, (1, 2, 2, 2)),
    (SpectralSpec(1, 7, "tiles", "none"), torch.uint8, torch.float32, (2, 5, 1, 1)),
    (SpectralSpec(10, 10), torch.uint8, torch.float16, (1, 1, 2, 1)),
]

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ here")


@pytest.fixture(scope="module")
def cpu() -> CpuKernel:
    found = kernel()
    if found is None:
        pytest.skip("no compiled CPU kernel is installed")
    return found


def build(folder: Path, spec: SpectralSpec, pixels: torch.dtype, stored: torch.dtype, *flags: str) -> Path:
    program = folder / "shim"
    macros = {
        "Q1": spec.q1,
        "Q2": spec.q2,
        "LAYOUT": LAYOUTS[spec.layout],
        "TRANSFORM": TRANSFORMS[spec.transform],
        "PIXEL": PIXELS[pixels],
        "STORED": STORED[stored],
    }
    defined = [f"-DSPECTRAL_{name}={value}" for name, value in macros.items()]
    source = Path(__file__).parents[2] / "support" / "kernel_shim.cpp"
    subprocess.run(["g++", *FLAGS, *flags, *defined, f"-I{HEADERS}", source, "-o", program], check=True)
    return program


def run(program: Path, tensor: Tensor, factors: tuple[tuple[float, ...], ...], *numbers: int) -> bytes:
    scalars = torch.tensor(list(zip(*factors, strict=True)), dtype=torch.float32)
    done = subprocess.run(
        [program, *map(str, numbers)], input=raw(scalars) + raw(tensor), capture_output=True, check=True
    )
    return done.stdout


def raw(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def batch(
    spec: SpectralSpec, pixels: torch.dtype, shape: tuple[int, ...], stored: torch.dtype
) -> tuple[Tensor, Encoding | None]:
    n, c, h, w = shape
    images_NHWC = images(n, h * spec.q1, w * spec.q2, c).to(pixels)
    return images_NHWC, calibrate(split(images_NHWC, spec), spec) if stored == torch.int8 else None


@pytest.mark.parametrize(("spec", "pixels", "stored", "shape"), CASES)
def test_splits_cleanly_to_the_cpu_kernels_bits(
    tmp_path: Path, cpu: CpuKernel, spec: SpectralSpec, pixels: torch.dtype, stored: torch.dtype, shape: tuple[int, ...]
) -> None:
    images_NHWC, encoding = batch(spec, pixels, shape, stored)
    written = run(build(tmp_path, spec, pixels, stored), images_NHWC, split_factors(encoding), *shape, 3, 4, 0)
    assert written == raw(cpu.split(images_NHWC, spec, stored, encoding))


@pytest.mark.parametrize(("spec", "pixels", "stored", "shape"), CASES)
def test_merges_cleanly_to_the_cpu_kernels_bits(
    tmp_path: Path, cpu: CpuKernel, spec: SpectralSpec, pixels: torch.dtype, stored: torch.dtype, shape: tuple[int, ...]
) -> None:
    images_NHWC, encoding = batch(spec, pixels, shape, stored)
    spectrum_QNChw = cpu.split(images_NHWC, spec, stored, encoding)
    program = build(tmp_path, spec, pixels, stored, "-DSPECTRAL_MERGE")
    written = run(program, spectrum_QNChw, merge_factors(encoding), *shape, 3, 4, 0)
    assert written == raw(cpu.merge(spectrum_QNChw, spec, pixels, encoding))


def test_a_write_beyond_the_spectrum_is_caught(tmp_path: Path) -> None:
    spec, pixels, stored, shape = CASES[1]
    program = build(tmp_path, spec, pixels, stored, "-DPLANTED")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(program, batch(spec, pixels, shape, stored)[0], (), *shape, 0, 4, 0)
    assert b"heap-buffer-overflow" in caught.value.stderr
    assert b"WRITE of size 2" in caught.value.stderr


def test_indexes_beyond_2_to_the_31_elements(tmp_path: Path, cpu: CpuKernel) -> None:
    spec = SpectralSpec(2, 4)
    rows = 2**28 + 1  # of 8 pixels; the last block has one site, and only its pages are ever touched
    last_NHWC = images(1, 2, 4, 1)
    written = run(build(tmp_path, spec, torch.uint8, torch.float16), last_NHWC, (), rows, 1, 1, 1, 0, 64, 2**28 // 64)
    assert written == raw(cpu.split(last_NHWC, spec, torch.float16))
