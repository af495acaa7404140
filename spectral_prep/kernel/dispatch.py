"""Which backend computes: the CUDA kernel, the compiled CPU kernel, or torch operations, the reference.

Input: a tensor and what to do with it. Output: the result of the first that can: the kernel of the tensor's
device, else torch. `SPECTRAL_KERNEL` = `torch`, `cpu` or `cuda` forces one. A kernel that is missing or fails is said
once.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spectral_prep.encoding import Encoding
from spectral_prep.errors import InputError, KernelError
from spectral_prep.kernel import cpu
from spectral_prep.kernel.arguments import PIXELS, STORED
from spectral_prep.kernel.backend import Backend, TorchOperations
from spectral_prep.spectrum import SpectralSpec

VARIABLE = "SPECTRAL_KERNEL"
TORCH = TorchOperations()


def _cuda() -> Backend:
    from spectral_prep.kernel.cuda import CudaKernel  # what compiles and checks it is of no use without a GPU

    return CudaKernel()


BACKENDS: Mapping[str, Callable[[], Backend]] = {"torch": lambda: TORCH, "cpu": cpu.required, "cuda": _cuda}
"""What makes each backend, by the name that forces it; those of devices have the device's name."""


def split(
    images_NHWC: Tensor,
    spec: SpectralSpec,
    dtype: torch.dtype,
    encoding: Encoding | None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the stored spectrum (Q, N, C, h, w): `fused_split` with its arguments checked."""
    known = images_NHWC.dtype in PIXELS and dtype in STORED
    return (_backend(images_NHWC) if known else TORCH).split(images_NHWC, spec, dtype, encoding, out)


def merge(spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None) -> Tensor:
    """Return the images (N, H, W, C): `fused_merge` with its arguments checked."""
    known = spectrum_QNChw.dtype in STORED and dtype in PIXELS
    return (_backend(spectrum_QNChw) if known else TORCH).merge(spectrum_QNChw, spec, dtype, encoding)


def compiled_for_cpu() -> cpu.CpuKernel | None:
    """Return the compiled CPU kernel, unless there is none or torch is forced: for what has no CUDA form."""
    return None if _forced() == "torch" else cpu.kernel()


def _backend(tensor: Tensor) -> Backend:
    device, forced = tensor.device.type, _forced()
    if forced is not None:
        if forced not in ("torch", device):
            raise InputError(f"{VARIABLE}={forced} cannot compute on this device", expected=forced, got=tensor.device)
        return BACKENDS[forced]()
    if device == "cpu" and cpu.kernel() is None:
        _say_once("no compiled CPU kernel is installed; computing with torch operations, which is slower")
        return TORCH
    if device not in BACKENDS:
        return TORCH
    return WithFallback(BACKENDS[device]()) if device == "cuda" else BACKENDS[device]()


@dataclass(frozen=True)
class WithFallback:
    """A kernel that may fail on this machine: torch operations then do the same, and it is said once; a `Backend`."""

    kernel: Backend

    def split(
        self,
        images_NHWC: Tensor,
        spec: SpectralSpec,
        dtype: torch.dtype,
        encoding: Encoding | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return the stored spectrum."""
        try:
            return self.kernel.split(images_NHWC, spec, dtype, encoding, out)
        except KernelError as error:
            return self._instead(error).split(images_NHWC, spec, dtype, encoding, out)

    def merge(
        self, spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None = None
    ) -> Tensor:
        """Return the images."""
        try:
            return self.kernel.merge(spectrum_QNChw, spec, dtype, encoding)
        except KernelError as error:
            return self._instead(error).merge(spectrum_QNChw, spec, dtype, encoding)

    def _instead(self, error: KernelError) -> Backend:
        _say_once(f"the CUDA kernel cannot be used ({error}); computing with torch operations, which is slower")
        return TORCH


def _forced() -> str | None:
    name = os.environ.get(VARIABLE, "")
    if name and name not in BACKENDS:
        raise InputError(f"unknown {VARIABLE}", expected=f"one of {', '.join(BACKENDS)}", got=name)
    return name or None


@functools.cache
def _say_once(message: str) -> None:
    logging.getLogger("spectral_prep").warning(message)
