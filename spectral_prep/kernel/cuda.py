"""`split` and `merge` on a CUDA device, by the header's kernel once it has agreed with the CPU on that device.

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


def split_cuda(
    images_NHWC: Tensor, spec: SpectralSpec, dtype: torch.dtype = torch.float16, encoding: Encoding | None = None
) -> Tensor:
    """Return the stored spectrum (Q, N, C, h, w) of images (N, H, W, C) on a CUDA device, read and written once.

    Parameters
    ----------
    images_NHWC
        uint8 or float32, any strides; N may be 0.
    dtype
        Of the result where no encoding is given: float32, float16 or bfloat16.

    Raises
    ------
    InputError
        If the kernel has no such dtype or the grid does not divide the images.
    KernelError
        If it cannot be compiled or launched here, or differs from the CPU on this device.
    """
    _require_trust(images_NHWC.device)
    return launch.split(images_NHWC, spec, dtype, encoding)


def merge_cuda(
    spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype = torch.uint8, encoding: Encoding | None = None
) -> Tensor:
    """Return the images (N, H, W, C), uint8 or float32, of a stored spectrum (Q, N, C, h, w) on a CUDA device.

    Raises
    ------
    InputError
        If the kernel has no such dtype.
    KernelError
        If it cannot be compiled or launched here, or differs from the CPU on this device.
    """
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
