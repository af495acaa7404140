"""Split and encode in one call: the one door through which every spectrum passes, whatever computes it."""

from __future__ import annotations

import torch
from torch import Tensor

from spectral_prep.encoding import Encoding, encode
from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec, split


def fused_split(
    images_NHWC: Tensor,
    spec: SpectralSpec,
    dtype: torch.dtype = torch.float16,
    encoding: Encoding | None = None,
) -> Tensor:
    """Return the stored spectrum of a batch of images.

    >>> fused_split(torch.zeros(5, 224, 224, 3, dtype=torch.uint8), SpectralSpec(4, 4)).shape
    torch.Size([16, 5, 3, 56, 56])

    Parameters
    ----------
    images_NHWC
        (N, H, W, C), uint8 or float32, any device, any strides; N may be 0.
    dtype
        Of the result where no encoding is given: float32, float16 or bfloat16.
    encoding
        How to store; its dtype then decides. int8 cannot be had without one.

    Returns
    -------
    Tensor
        (Q, N, C, h, w), contiguous.

    Raises
    ------
    InputError
        If the grid does not divide the images, or int8 is asked for without an encoding.
    """
    spectrum_QNChw = split(images_NHWC, spec)
    if encoding is not None:
        return encode(spectrum_QNChw, encoding)
    if not dtype.is_floating_point:
        raise InputError("an integer spectrum needs an encoding", expected="encoding=calibrate(…)", got=dtype)
    return spectrum_QNChw.to(dtype)
