"""Which implementation computes: the CUDA kernel, the compiled CPU kernel, or torch operations, the reference.

Input: a tensor and what to do with it. Output: the result of the first that can: the kernel of the tensor's
device, else torch. `SPECTRAL_KERNEL` = `torch`, `cpu` or `cuda` forces one. A kernel that is missing or fails is said
once.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable

import torch
from torch import Tensor

from spectral_prep import spectrum
from spectral_prep.encoding import Encoding, decode, encode
from spectral_prep.errors import InputError, KernelError
from spectral_prep.kernel import cpu
from spectral_prep.kernel.arguments import PIXELS, STORED
from spectral_prep.spectrum import SpectralSpec

VARIABLE = "SPECTRAL_KERNEL"
KERNELS = ("torch", "cpu", "cuda")

Operation = Callable[[Tensor, SpectralSpec, torch.dtype, Encoding | None], Tensor]


def split(
    images_NHWC: Tensor,
    spec: SpectralSpec,
    dtype: torch.dtype,
    encoding: Encoding | None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the stored spectrum (Q, N, C, h, w): `fused_split` with its arguments checked."""
    if images_NHWC.dtype not in PIXELS or dtype not in STORED:
        operation: Operation = _split_torch
    else:
        operation = _operation(images_NHWC, _split_torch, cpu.split_cpu, "split_cuda")
    if operation is cpu.split_cpu:
        return cpu.split_cpu(images_NHWC, spec, dtype, encoding, out)
    stored_QNChw = operation(images_NHWC, spec, dtype, encoding)
    return stored_QNChw if out is None else out.copy_(stored_QNChw)


def merge(spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None) -> Tensor:
    """Return the images (N, H, W, C): `fused_merge` with its arguments checked."""
    if spectrum_QNChw.dtype not in STORED or dtype not in PIXELS:
        return _merge_torch(spectrum_QNChw, spec, dtype, encoding)
    return _operation(spectrum_QNChw, _merge_torch, cpu.merge_cpu, "merge_cuda")(spectrum_QNChw, spec, dtype, encoding)


def compiled_for_cpu() -> cpu.CpuKernel | None:
    """Return the compiled CPU kernel, unless there is none or torch is forced: for what has no CUDA form."""
    return None if _forced() == "torch" else cpu.kernel()


def _operation(tensor: Tensor, reference: Operation, on_cpu: Operation, on_cuda: str) -> Operation:
    chosen = forced = _forced()
    if chosen is None:
        chosen = tensor.device.type if tensor.device.type in KERNELS else "torch"
    if chosen != "torch" and chosen != tensor.device.type:
        raise InputError(f"{VARIABLE}={chosen} cannot compute on this device", expected=chosen, got=tensor.device)
    if chosen == "cuda":
        return functools.partial(_on_cuda, on_cuda, None if forced else reference)
    if chosen == "cpu" and (forced or cpu.available()):
        return on_cpu
    if chosen == "cpu":
        _say_once("no compiled CPU kernel is installed; computing with torch operations, which is slower")
    return reference


def _forced() -> str | None:
    name = os.environ.get(VARIABLE, "")
    if name and name not in KERNELS:
        raise InputError(f"unknown {VARIABLE}", expected=f"one of {', '.join(KERNELS)}", got=name)
    return name or None


def _on_cuda(
    name: str,
    reference: Operation | None,
    tensor: Tensor,
    spec: SpectralSpec,
    dtype: torch.dtype,
    encoding: Encoding | None,
) -> Tensor:
    """Run an operation of the CUDA kernel; where it cannot be built or run, say so and use the reference, if any."""
    from spectral_prep.kernel import cuda

    operation: Operation = getattr(cuda, name)
    try:
        return operation(tensor, spec, dtype, encoding)
    except KernelError as error:
        if reference is None:
            raise
        _say_once(f"the CUDA kernel cannot be used ({error}); computing with torch operations, which is slower")
        return reference(tensor, spec, dtype, encoding)


@functools.cache
def _say_once(message: str) -> None:
    logging.getLogger("spectral_prep").warning(message)


def _split_torch(images_NHWC: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None) -> Tensor:
    spectrum_QNChw = spectrum.split(images_NHWC, spec)
    stored_QNChw = spectrum_QNChw.to(dtype) if encoding is None else encode(spectrum_QNChw, encoding)
    return stored_QNChw.contiguous()


def _merge_torch(spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None) -> Tensor:
    decoded_QNChw = spectrum_QNChw if encoding is None else decode(spectrum_QNChw, encoding)
    return spectrum.merge(decoded_QNChw, spec, dtype)
