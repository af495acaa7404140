"""One launch of the header's kernel on a CUDA device, on torch's current stream: instance, grid, parameters.

Input: a CUDA tensor, a spec, how to store. Output: a tensor on the same device, computed in one pass over memory.
Importing this needs neither a GPU nor `cuda.bindings`; launching without them is a `KernelError`.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spectral_prep.encoding import Encoding
from spectral_prep.errors import InputError
from spectral_prep.kernel import arguments, driver, nvrtc
from spectral_prep.kernel.arguments import LAYOUTS, PIXELS, STORED, TRANSFORMS
from spectral_prep.spectrum import SpectralSpec

THREADS = 256
MAX_BLOCKS = 2**31 - 1


@dataclass(frozen=True)
class Launch:
    """One launch of the header's kernel: which instance of it, over what grid, with what parameters."""

    macros: tuple[str, ...]
    name: str
    blocks: int
    parameters: tuple[Any, ...]


def split(
    images_NHWC: Tensor, spec: SpectralSpec, dtype: torch.dtype = torch.float16, encoding: Encoding | None = None
) -> Tensor:
    """Return the stored spectrum (Q, N, C, h, w) of CUDA images (N, H, W, C), on a device that nobody has checked."""
    n, height, width, c = images_NHWC.shape
    h, w = spec.spectral_size(height, width)
    stored = dtype if encoding is None else encoding.torch_dtype
    spectrum_QNChw = images_NHWC.new_empty((spec.q, n, c, h, w), dtype=stored)
    factors = arguments.split_factors(encoding)
    _queue(plan(images_NHWC, spectrum_QNChw, spec, factors, merge=False), images_NHWC, spectrum_QNChw)
    return spectrum_QNChw


def merge(
    spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype = torch.uint8, encoding: Encoding | None = None
) -> Tensor:
    """Return the images (N, H, W, C) of a stored CUDA spectrum (Q, N, C, h, w), unchecked alike."""
    _, n, c, h, w = spectrum_QNChw.shape
    spectrum_QNChw = spectrum_QNChw.contiguous()
    images_NHWC = spectrum_QNChw.new_empty((n, h * spec.q1, w * spec.q2, c), dtype=dtype)
    factors = arguments.merge_factors(encoding)
    _queue(plan(images_NHWC, spectrum_QNChw, spec, factors, merge=True), images_NHWC, spectrum_QNChw)
    return images_NHWC


def plan(
    images_NHWC: Tensor,
    spectrum_QNChw: Tensor,
    spec: SpectralSpec,
    factors: tuple[tuple[float, ...], ...],
    *,
    merge: bool,
) -> Launch:
    """Return the launch that fills one of two tensors from the other; nothing runs, so they may be on any device.

    The factors of int8, `split_factors` or `merge_factors` of `arguments.py`, go with the launch, by value.

    Raises
    ------
    InputError
        If the kernel has no such dtype, or int8 comes without its factors.
    """
    _, n, c, h, w = spectrum_QNChw.shape
    if (spectrum_QNChw.dtype == torch.int8) != bool(factors):
        raise InputError("int8 and an int8 encoding go together", got=spectrum_QNChw.dtype)
    tensors = (spectrum_QNChw, images_NHWC) if merge else (images_NHWC, spectrum_QNChw)
    sizes = (n, c, h, w, *images_NHWC.stride())
    pairs = [number for pair in zip(*factors, strict=True) for number in pair]
    by_value = [(ctypes.c_float * len(pairs))(*pairs)] if pairs else []
    return Launch(
        macros=macros(spec, images_NHWC.dtype, spectrum_QNChw.dtype, merge=merge),
        name="spectral_merge" if merge else "spectral_split",
        blocks=min(math.ceil(n * h * w / THREADS), MAX_BLOCKS) if c else 0,
        parameters=(
            *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
            *map(ctypes.c_int64, sizes),
            *by_value,
        ),
    )


def macros(spec: SpectralSpec, pixel: torch.dtype, stored: torch.dtype, *, merge: bool) -> tuple[str, ...]:
    """Return the definitions that choose one instance of the header's kernel, such as `SPECTRAL_Q1=4`.

    Raises
    ------
    InputError
        If the kernel has no such dtype.
    """
    chosen = {
        "Q1": spec.q1,
        "Q2": spec.q2,
        "LAYOUT": LAYOUTS[spec.layout],
        "TRANSFORM": TRANSFORMS[spec.transform],
        "PIXEL": arguments.number(pixel, PIXELS, "images"),
        "STORED": arguments.number(stored, STORED, "spectrum"),
    }
    return (*(f"SPECTRAL_{name}={value}" for name, value in chosen.items()), *(["SPECTRAL_MERGE"] if merge else []))


def _queue(launch: Launch, *tensors: Tensor) -> None:
    """Run a launch on the current stream of the tensors' device, and tell torch's allocator that it is in use there."""
    device = tensors[0].device
    if not launch.blocks:
        return
    cubin = nvrtc.cubin_for(launch.macros, driver.architecture(device.index))
    stream = torch.cuda.current_stream(device)
    where = driver.Stream(device.index, stream.cuda_stream, torch.cuda.is_current_stream_capturing())
    driver.launch(cubin, launch.name, where, launch.blocks, THREADS, launch.parameters)
    for tensor in tensors:
        tensor.record_stream(stream)
