"""One launch of the header's kernel on a CUDA device, on torch's current stream: instance, grid, parameters.

Goes in: a CUDA tensor, a spec, how to store. Comes out: a tensor on the same device, computed in one pass over memory.
Importing this needs neither a GPU nor `cuda.bindings`; launching without them is a `KernelError`.
"""

from __future__ import annotations

import ctypes
import functools
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
    """Return the stored spectrum (Q, N, C, h, w) of CUDA images (N, H, W, C), unchecked: see `split_cuda`."""
    n, height, width, c = images_NHWC.shape
    h, w = spec.spectral_size(height, width)
    stored = dtype if encoding is None else encoding.torch_dtype
    spectrum_QNChw = images_NHWC.new_empty((spec.q, n, c, h, w), dtype=stored)
    factors = split_factors(encoding, images_NHWC.device)
    _queue(plan(images_NHWC, spectrum_QNChw, spec, factors, merge=False), images_NHWC, spectrum_QNChw, *factors)
    return spectrum_QNChw


def merge(
    spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype = torch.uint8, encoding: Encoding | None = None
) -> Tensor:
    """Return the images (N, H, W, C) of a stored CUDA spectrum (Q, N, C, h, w), unchecked: see `merge_cuda`."""
    _, n, c, h, w = spectrum_QNChw.shape
    spectrum_QNChw = spectrum_QNChw.contiguous()
    images_NHWC = spectrum_QNChw.new_empty((n, h * spec.q1, w * spec.q2, c), dtype=dtype)
    factors = merge_factors(encoding, spectrum_QNChw.device)
    _queue(plan(images_NHWC, spectrum_QNChw, spec, factors, merge=True), images_NHWC, spectrum_QNChw, *factors)
    return images_NHWC


def plan(
    images_NHWC: Tensor, spectrum_QNChw: Tensor, spec: SpectralSpec, factors: tuple[Tensor, ...], *, merge: bool
) -> Launch:
    """Return the launch that fills one of two tensors from the other; nothing runs, so they may be on any device.

    Raises
    ------
    InputError
        If the kernel has no such dtype, or int8 comes without its factors.
    """
    _, n, c, h, w = spectrum_QNChw.shape
    if (spectrum_QNChw.dtype == torch.int8) != bool(factors):
        raise InputError("int8 and an int8 encoding go together", got=spectrum_QNChw.dtype)
    tensors = (spectrum_QNChw, images_NHWC) if merge else (images_NHWC, spectrum_QNChw)
    pointers = [tensor.data_ptr() for tensor in (*tensors, *factors)] + [0] * (2 - len(factors))
    sizes = (n, c, h, w, *images_NHWC.stride())
    return Launch(
        macros=macros(spec, images_NHWC.dtype, spectrum_QNChw.dtype, merge=merge),
        name="spectral_merge" if merge else "spectral_split",
        blocks=min(math.ceil(n * h * w / THREADS), MAX_BLOCKS) if c else 0,
        parameters=(*map(ctypes.c_void_p, pointers), *map(ctypes.c_int64, sizes)),
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


@functools.lru_cache(maxsize=64)
def split_factors(encoding: Encoding | None, device: torch.device) -> tuple[Tensor, ...]:
    """Return multiplier and shift of each spectral, float32 (Q,) on the device; nothing for a floating encoding."""
    return tuple(torch.tensor(numbers, device=device) for numbers in arguments.split_factors(encoding))


@functools.lru_cache(maxsize=64)
def merge_factors(encoding: Encoding | None, device: torch.device) -> tuple[Tensor, ...]:
    """Return scale and offset of each spectral, float32 (Q,) on the device; nothing for a floating encoding."""
    return tuple(torch.tensor(numbers, device=device) for numbers in arguments.merge_factors(encoding))


def _queue(launch: Launch, *tensors: Tensor) -> None:
    """Run a launch on the current stream of the tensors' device, and tell torch's allocator that it is in use there."""
    device = tensors[0].device
    if not launch.blocks:
        return
    cubin = nvrtc.cubin_for(launch.macros, driver.architecture(device.index))
    stream = torch.cuda.current_stream(device)
    driver.launch(cubin, launch.name, device.index, stream.cuda_stream, launch.blocks, THREADS, launch.parameters)
    for tensor in tensors:
        tensor.record_stream(stream)
