"""The CUDA kernel as a backend: the header's kernel, once it has agreed with the CPU on the device.

Input: a CUDA tensor, a spec, how to store. Output: a tensor on the same device. Whatever stands in the way, from a
missing compiler to a wrong result, is a `KernelError`; the dispatcher then computes with torch operations.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from spectral_prep.encoding import Encoding
from spectral_prep.errors import KernelError
from spectral_prep.kernel import launch, self_check
from spectral_prep.spectrum import SpectralSpec


class CudaKernel:
    """Split and merge on a CUDA device, memory read and written once; a `Backend`.

    Images are uint8 or float32, any strides; spectra are float32, float16, bfloat16 or, with an encoding, int8.

    Raises
    ------
    InputError
        From either method, if the kernel has no such dtype.
    KernelError
        If it cannot be compiled or launched here, or differs from the CPU on this device.
    """

    def split(
        self,
        images_NHWC: Tensor,
        spec: SpectralSpec,
        dtype: torch.dtype,
        encoding: Encoding | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return the stored spectrum (Q, N, C, h, w)."""
        _require_trust(images_NHWC.device)
        stored_QNChw = launch.split(images_NHWC, spec, dtype, encoding)
        return stored_QNChw if out is None else out.copy_(stored_QNChw)

    def merge(
        self, spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None = None
    ) -> Tensor:
        """Return the images (N, H, W, C)."""
        _require_trust(spectrum_QNChw.device)
        return launch.merge(spectrum_QNChw, spec, dtype, encoding)


def _require_trust(device: torch.device) -> None:
    if torch.cuda.is_current_stream_capturing():
        return  # no check can run now; the launch refuses what was not loaded, and so checked, before
    objection = _objection(device)
    if objection is not None:
        raise KernelError(objection, where=device, run="python -m spectral_prep.kernel --self-check")


@functools.cache
def _objection(device: torch.device) -> str | None:
    """Return why the kernel is not to be used on a device, found once: the first call on it computes a few cases."""
    try:
        different = [case for case in self_check.QUICK if not self_check.agrees(case, device)]
    except KernelError as error:
        return str(error)
    return f"the CUDA kernel differs from the CPU for {different[0]}" if different else None
