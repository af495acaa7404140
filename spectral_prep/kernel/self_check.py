"""Whether the CUDA kernel gives the CPU's bits on a GPU, and how far it is from a copy of the same bytes.

Input: a device. Output: one `Comparison` a case, by hash, and a `Timing` for each storage dtype.
The kernels are deterministic, so a GPU that differs in one bit is wrong, and so is one of the builds for a CPU.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from spectral_prep import spectrum
from spectral_prep.choices import Layout, Transform
from spectral_prep.encoding import Encoding, encode
from spectral_prep.errors import KernelError
from spectral_prep.kernel import cpu, launch
from spectral_prep.kernel.backend import Backend
from spectral_prep.spectrum import SpectralSpec

GRIDS = ((2, 2), (2, 3), (4, 4), (1, 28), (7, 7), (8, 8), (16, 16))
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
TRANSFORMS: tuple[Transform, ...] = get_args(Transform)
STORED = (torch.float16, torch.int8, torch.float32, torch.bfloat16)
ROWS, HEIGHT, WIDTH = 5, 11, 13  # rows, and the size of a spectral

TIMED_SHAPE = (256, 224, 224, 3)
TIMED_SPEC = SpectralSpec(4, 4)
REPEATS = 20


@dataclass(frozen=True)
class Case:
    """One instance of the kernel, split and merged."""

    spec: SpectralSpec
    pixel: torch.dtype
    stored: torch.dtype
    channels: int

    def __str__(self) -> str:
        spec, dtypes = self.spec, (str(dtype).removeprefix("torch.") for dtype in (self.pixel, self.stored))
        return f"{spec.q1}x{spec.q2} {spec.layout} {spec.transform}, {' to '.join(dtypes)}, C = {self.channels}"


@dataclass(frozen=True)
class Comparison:
    """The sha256 of the bytes that split and merge gave, on both sides."""

    case: Case
    on_device: str
    on_cpu: str

    @property
    def equal(self) -> bool:
        """Whether the device gave the CPU's bits."""
        return self.on_device == self.on_cpu


@dataclass(frozen=True)
class Timing:
    """Seconds that one split took, and a copy that reads and writes as many bytes."""

    stored: torch.dtype
    bytes_moved: int
    split: float
    copy: float


CASES = tuple(
    Case(
        SpectralSpec(*grid, layout, transform),
        torch.float32 if number % 5 == 4 else torch.uint8,
        STORED[number % len(STORED)],
        (3, 1)[number // 4 % 2],
    )
    for number, (grid, layout, transform) in enumerate(itertools.product(GRIDS, LAYOUTS, TRANSFORMS))
)
QUICK = (
    Case(SpectralSpec(4, 4), torch.uint8, torch.float16, 3),
    Case(SpectralSpec(2, 3, "tiles", "dct2"), torch.uint8, torch.int8, 1),
)

Operation = Callable[[Tensor, SpectralSpec, torch.dtype, Encoding | None], Tensor]


def compare(case: Case, device: torch.device) -> Comparison:
    """Split and merge one batch on the device and on the CPU.

    Raises
    ------
    KernelError
        If the kernel cannot be compiled or launched, or there is no compiled CPU kernel to compare with.
    """
    if (cpu_kernel := cpu.kernel()) is None:
        raise KernelError(
            "the CUDA kernel cannot be checked: the compiled CPU kernel is not installed",
            run="pip install again where a C++ compiler is there",
        )
    images_NHWC = _images(case)
    encoding = _encoding(case)
    on_cpu = _digest(cpu_kernel.split, cpu_kernel.merge, images_NHWC, case, encoding)
    on_device = _digest(launch.split, launch.merge, images_NHWC.to(device), case, encoding)
    return Comparison(case, on_device, on_cpu)


def agrees(case: Case, device: torch.device) -> bool:
    """Return whether the device gives the CPU kernel's bits, or without that kernel torch's coefficients, rounded.

    Raises
    ------
    KernelError
        If the kernel cannot be compiled or launched.
    """
    if cpu.kernel() is not None:
        return compare(case, device).equal
    images_NHWC = _images(case)
    encoding = _encoding(case)
    got = launch.split(images_NHWC.to(device), case.spec, case.stored, encoding).cpu()
    return _is_torchs(got, images_NHWC, case.spec, encoding)


def wrong_builds(case: Case, builds: Mapping[str, Backend]) -> list[str]:
    """Return which builds for a CPU do not give the bits of the first, and the first if it is not torch's, rounded."""
    images_NHWC = _images(case)
    encoding = _encoding(case)
    digests = {name: _digest(build.split, build.merge, images_NHWC, case, encoding) for name, build in builds.items()}
    first, *others = builds
    right = _is_torchs(
        builds[first].split(images_NHWC, case.spec, case.stored, encoding), images_NHWC, case.spec, encoding
    )
    return [*([] if right else [first]), *(name for name in others if digests[name] != digests[first])]


def _is_torchs(got: Tensor, images_NHWC: Tensor, spec: SpectralSpec, encoding: Encoding | None) -> bool:
    """Return whether a stored spectrum is that of torch operations, up to rounding."""
    expected = spectrum.split(images_NHWC, spec)
    if encoding is None:
        return torch.allclose(got.float(), expected, rtol=2**-7, atol=2**-7)
    return bool((got.int() - encode(expected, encoding).int()).abs().max() <= 1)


def time_split(stored: torch.dtype, device: torch.device) -> Timing:
    """Time one split of ImageNet's shape against a copy of as many bytes, taking turns; the median of each."""
    case = Case(TIMED_SPEC, torch.uint8, stored, TIMED_SHAPE[-1])
    images_NHWC = torch.randint(0, 256, TIMED_SHAPE, dtype=torch.uint8, device=device)
    encoding = _encoding(case)
    moved = images_NHWC.numel() * (1 + stored.itemsize)
    source, target = (torch.empty(moved // 2, dtype=torch.uint8, device=device) for _ in range(2))
    seconds = [
        (
            _seconds(lambda: launch.split(images_NHWC, TIMED_SPEC, stored, encoding), device),
            _seconds(lambda: target.copy_(source), device),
        )
        for _ in range(REPEATS)
    ]
    split, copy = (sorted(column)[REPEATS // 2] for column in zip(*seconds, strict=True))
    return Timing(stored, moved, split, copy)


def _images(case: Case) -> Tensor:
    """Every second row of a larger batch, so that strides are tried as well."""
    shape = (ROWS, 2 * HEIGHT * case.spec.q1, WIDTH * case.spec.q2, case.channels)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)[:, ::2]
    return pixels if case.pixel == torch.uint8 else pixels + torch.rand(pixels.shape, generator=generator)


def _encoding(case: Case) -> Encoding | None:
    """Steps and offsets for int8 under which noise sometimes saturates."""
    if case.stored != torch.int8:
        return None
    steps = tuple(1.7 + k / 100 for k in range(case.spec.q))
    return Encoding("int8", steps, tuple(3 - step for step in steps))


def _digest(split: Operation, merge: Operation, images_NHWC: Tensor, case: Case, encoding: Encoding | None) -> str:
    spectrum_QNChw = split(images_NHWC, case.spec, case.stored, encoding)
    back_NHWC = merge(spectrum_QNChw, case.spec, case.pixel, encoding)
    digest = hashlib.sha256()
    for result in (spectrum_QNChw, back_NHWC):
        digest.update(result.cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    stream = torch.cuda.current_stream(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record(stream)
    work()
    end.record(stream)
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
