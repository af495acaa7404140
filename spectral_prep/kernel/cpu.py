"""`split` and `merge` on the CPU: the header's kernel, compiled at install, loaded as a plain C library.

Input: a CPU tensor, a spec, how to store. Output: a tensor, computed in one pass over memory. The library is
called without Python's lock, and works on a range of sites, so threads share one batch. Every build of it and every
number of threads gives the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectral_prep.encoding import Encoding
from spectral_prep.errors import InputError, KernelError
from spectral_prep.kernel.arguments import (
    LAYOUTS,
    PIXELS,
    STORED,
    TRANSFORMS,
    merge_factors,
    number,
    split_factors,
)
from spectral_prep.spectrum import SpectralSpec

BUILDS = ("baseline", "avx2", "avx512")
STRIP = 64  # sites that the library works on at a time
WORTH_A_THREAD = 1 << 20  # coefficients; starting a thread costs about as much as 10^5 of them


class CpuKernel:
    """One build of the compiled kernel; a `Backend` that reads and writes memory once.

    Images are uint8 or float32, any strides; spectra are float32, float16, bfloat16 or, with an encoding, int8.

    Raises
    ------
    OSError
        If the file cannot be loaded.
    InputError
        From `split` and `merge`, if the kernel has no such dtype.
    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        arguments = [ctypes.c_void_p] * 6 + [ctypes.c_longlong] * 2
        for function in (self._library.spectral_cpu_split, self._library.spectral_cpu_merge):
            function.argtypes, function.restype = arguments, ctypes.c_int
        self._library.spectral_cpu_totals.argtypes = [ctypes.c_void_p] * 3
        self._library.spectral_cpu_totals.restype = None

    @property
    def level(self) -> int:
        """Index in `BUILDS` of the best build that this machine can run."""
        return int(self._library.spectral_cpu_level())

    def split(
        self,
        images_NHWC: Tensor,
        spec: SpectralSpec,
        dtype: torch.dtype = torch.float16,
        encoding: Encoding | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return the stored spectrum (Q, N, C, h, w) of CPU images (N, H, W, C), in `out` where that is given."""
        n, height, width, c = images_NHWC.shape
        h, w = spec.spectral_size(height, width)
        if out is None:
            stored = dtype if encoding is None else encoding.torch_dtype
            out = torch.empty((spec.q, n, c, h, w), dtype=stored)
        factors = split_factors(encoding)
        self._run(self._library.spectral_cpu_split, (images_NHWC, out), factors, images_NHWC, out, spec)
        return out

    def merge(
        self,
        spectrum_QNChw: Tensor,
        spec: SpectralSpec,
        dtype: torch.dtype = torch.uint8,
        encoding: Encoding | None = None,
    ) -> Tensor:
        """Return the images (N, H, W, C) of a stored CPU spectrum (Q, N, C, h, w)."""
        _, n, c, h, w = spectrum_QNChw.shape
        spectrum_QNChw = spectrum_QNChw.contiguous()
        images_NHWC = torch.empty((n, h * spec.q1, w * spec.q2, c), dtype=dtype)
        tensors = (spectrum_QNChw, images_NHWC)
        self._run(self._library.spectral_cpu_merge, tensors, merge_factors(encoding), images_NHWC, spectrum_QNChw, spec)
        return images_NHWC

    def totals(self, stored_QNChw: Tensor) -> Tensor:
        """Return sums, sums of squares and how many values are ±127, of an int8 CPU spectrum: (3, Q, C) int64."""
        q, n, c, h, w = stored_QNChw.shape
        if not each_contiguous(stored_QNChw):
            stored_QNChw = stored_QNChw.contiguous()
        totals_3QC = torch.zeros((3, q, c), dtype=torch.int64)
        shape = (ctypes.c_longlong * 5)(q, n, c, h * w, stored_QNChw.stride(0))
        self._library.spectral_cpu_totals(stored_QNChw.data_ptr(), totals_3QC.data_ptr(), shape)
        return totals_3QC

    def _run(
        self,
        function: Callable[..., int],
        tensors: tuple[Tensor, Tensor],
        factors: tuple[tuple[float, ...], ...],
        images_NHWC: Tensor,
        spectrum_QNChw: Tensor,
        spec: SpectralSpec,
    ) -> None:
        """Call the library on the tensors (from, to), in as many threads as torch may use and the work is worth."""
        _, n, c, h, w = spectrum_QNChw.shape
        sizes = (n, c, h, w, *images_NHWC.stride(), spectrum_QNChw.stride(0))
        fixed = (
            tensors[0].data_ptr(),
            tensors[1].data_ptr(),
            *_prepared(spec, images_NHWC.dtype, spectrum_QNChw.dtype, factors),
            _Sizes(*sizes),
        )
        sites = n * h * w if c else 0
        slices = sites * c * spec.q // WORTH_A_THREAD
        slices = max(1, min(torch.get_num_threads(), slices)) if slices > 1 else 1
        step = max(STRIP, math.ceil(sites / slices / STRIP) * STRIP)
        bounds = [(first, min(first + step, sites)) for first in range(0, sites, step)]
        if len(bounds) <= 1:
            failed = any(function(*fixed, *bound) for bound in bounds)
        else:
            with ThreadPoolExecutor(len(bounds)) as pool:
                failed = any(pool.map(lambda bound: function(*fixed, *bound), bounds))
        if failed:
            raise KernelError(
                "no memory for the CPU kernel's strip of lines", expected="some hundred kilobytes a thread"
            )


def each_contiguous(spectrum_QNChw: Tensor) -> bool:
    """Whether the values of each spectral lie in memory one after the other; the spectrals may lie apart."""
    _, _, c, h, w = spectrum_QNChw.shape
    return spectrum_QNChw.stride()[1:] == (c * h * w, h * w, w, 1) or spectrum_QNChw[:1].is_contiguous()


_Sizes = ctypes.c_longlong * 9


@functools.lru_cache(maxsize=64)
def _prepared(
    spec: SpectralSpec, pixel: torch.dtype, stored: torch.dtype, factors: tuple[tuple[float, ...], ...]
) -> tuple[ctypes.Array[Any], ...]:
    """Return what the library takes beside tensors and sizes: the two rows of factors, and the header's numbers."""
    if (stored == torch.int8) != bool(factors):
        raise InputError("int8 and an int8 encoding go together", got=stored)
    kinds = (number(pixel, PIXELS, "images"), number(stored, STORED, "spectrum"))
    numbers = (spec.q1, spec.q2, LAYOUTS[spec.layout], TRANSFORMS[spec.transform], *kinds)
    rows = ((ctypes.c_float * len(values))(*values) for values in factors or ((), ()))
    return *rows, (ctypes.c_int * 6)(*numbers)


def compiled() -> tuple[str, ...]:
    """Return which of `BUILDS` the package was installed with."""
    return tuple(build for build in BUILDS if _libraries(build))


def usable() -> dict[str, CpuKernel]:
    """Return the builds that this machine can run, by name, the best one last."""
    baseline = _load("baseline")
    best = 0 if baseline is None else baseline.level
    return {build: found for build in BUILDS[: best + 1] if (found := _load(build)) is not None}


@functools.cache
def kernel() -> CpuKernel | None:
    """Return the best build of the kernel for this machine, or None where the package was installed without one."""
    return next(reversed(usable().values()), None)


def required() -> CpuKernel:
    """Return the kernel; raise `InputError` where the package was installed without one."""
    found = kernel()
    if found is None:
        raise InputError(
            "the compiled CPU kernel is not installed",
            expected=f"one of _cpu_{{{','.join(BUILDS)}}}*.so in {Path(__file__).parent}",
            run="pip install again where a C++ compiler is there, or SPECTRAL_KERNEL=torch",
        )
    return found


def _libraries(build: str) -> list[Path]:
    return sorted(Path(__file__).parent.glob(f"_cpu_{build}.*so"))


def _load(build: str) -> CpuKernel | None:
    for path in _libraries(build):
        try:
            return CpuKernel(path)
        except (OSError, AttributeError):  # for another system or processor family; of another version of this code
            continue
    return None
