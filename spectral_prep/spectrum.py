"""What a spectral is: the regrouping and the orthonormal transform that every kernel is tested against.

Input: uint8 or float images (N, H, W, C) and a `SpectralSpec`.
Output: the spectrum (Q, N, C, h, w) with Q = q1·q2, h = H/q1, w = W/q2, and back again.

Shape letters: N rows, Q spectrals, C channels, H W image size, h w spectral size, i j the place inside a q1×q2 cell.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from spectral_prep.errors import InputError
from spectral_prep.grid import SpectralSpec, basis, parse_q

__all__ = ["SpectralSpec", "basis", "merge", "parse_q", "regroup", "split", "ungroup"]


def split(images_NHWC: Tensor, spec: SpectralSpec) -> Tensor:
    """Turn images into their spectrum: regroup into Q sub-images, then the transform along Q (poster, fig. 1).

    Five grey images of 28×28, one spectral for each place of a 4×4 grid:

    >>> images_NHWC = torch.arange(5 * 28 * 28).reshape(5, 28, 28, 1).to(torch.uint8)
    >>> split(images_NHWC, SpectralSpec(4, 4)).shape
    torch.Size([16, 5, 1, 7, 7])

    A grid of one row, whose spectrals are vectors over the image rows:

    >>> split(images_NHWC, SpectralSpec(1, 28)).shape
    torch.Size([28, 5, 1, 28, 1])

    Large tiles in place of small neighbourhoods, and a transform along both sides of the grid:

    >>> split(images_NHWC, SpectralSpec(2, 4, layout="tiles", transform="dct2")).shape
    torch.Size([8, 5, 1, 14, 7])

    Colour, in float64 and with the channels first in memory:

    >>> colour_NCHW = torch.zeros(2, 3, 224, 224, dtype=torch.float64)
    >>> spectrum_QNChw = split(colour_NCHW.permute(0, 2, 3, 1), SpectralSpec(4, 4))
    >>> spectrum_QNChw.shape, spectrum_QNChw.dtype
    (torch.Size([16, 2, 3, 56, 56]), torch.float64)

    Parameters
    ----------
    images_NHWC
        (N, H, W, C), uint8 or floating, any device, any strides. N may be 0.

    Returns
    -------
    Tensor
        (Q, N, C, h, w) float32 (float64 for float64 images): orthonormal coefficients in grey levels.

    Raises
    ------
    InputError
        If the images are not 4-dimensional or the grid does not divide them.
    """
    pixels_QNChw = regroup(images_NHWC, spec)
    dtype = torch.float64 if images_NHWC.dtype == torch.float64 else torch.float32
    return _along_q(_basis_tensor(spec, images_NHWC.device, dtype), pixels_QNChw.to(dtype), spec)


def merge(spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Put images back together from their spectrum: the exact inverse of `split`.

    From 16 spectrals to five grey images, every pixel as it was:

    >>> spec = SpectralSpec(4, 4)
    >>> images_NHWC = torch.arange(5 * 28 * 28).reshape(5, 28, 28, 1).to(torch.uint8)
    >>> merge(split(images_NHWC, spec), spec).shape
    torch.Size([5, 28, 28, 1])
    >>> torch.equal(merge(split(images_NHWC, spec), spec), images_NHWC)
    True

    From float16, as shards store it:

    >>> torch.equal(merge(split(images_NHWC, spec).half(), spec), images_NHWC)
    True

    Without the fifteen spectrals that are not the mean, each 4×4 neighbourhood is that mean:

    >>> coarse_QNChw = split(images_NHWC, spec)
    >>> coarse_QNChw[1:] = 0
    >>> coarse_NHWC = merge(coarse_QNChw, spec, dtype=torch.float32)
    >>> coarse_NHWC.shape, coarse_NHWC.dtype
    (torch.Size([5, 28, 28, 1]), torch.float32)
    >>> torch.allclose(coarse_NHWC[0, :4, :4], images_NHWC[0, :4, :4].float().mean())
    True

    Parameters
    ----------
    spectrum_QNChw
        (Q, N, C, h, w), any floating dtype: float32 and float16 give uint8 pixels back exactly.
    dtype
        Of the images: uint8 rounds to the nearest grey level and saturates; a floating dtype does neither.

    Returns
    -------
    Tensor
        (N, H, W, C) contiguous.

    Raises
    ------
    InputError
        If the spectrum is not 5-dimensional or does not hold Q spectrals.
    """
    if spectrum_QNChw.ndim != 5 or spectrum_QNChw.shape[0] != spec.q:
        raise InputError("not a spectrum", expected=f"(Q={spec.q}, N, C, h, w)", got=tuple(spectrum_QNChw.shape))
    working = torch.float64 if spectrum_QNChw.dtype == torch.float64 else torch.float32
    inverse = _basis_tensor(spec, spectrum_QNChw.device, working).T
    images_NHWC = ungroup(_along_q(inverse, spectrum_QNChw.to(working), spec), spec)
    return images_NHWC.round().clamp(0, 255).to(torch.uint8) if dtype == torch.uint8 else images_NHWC.to(dtype)


def regroup(images_NHWC: Tensor, spec: SpectralSpec) -> Tensor:
    """Turn (N, H, W, C) into contiguous (Q, N, C, h, w) of the same dtype: each pixel moved, none changed.

    >>> regroup(torch.arange(4).reshape(1, 2, 2, 1), SpectralSpec(2, 2)).flatten().tolist()
    [0, 1, 2, 3]
    """
    if images_NHWC.ndim != 4:
        raise InputError("not a batch of images", expected="(N, H, W, C)", got=tuple(images_NHWC.shape))
    n, height, width, c = images_NHWC.shape
    h, w = spec.spectral_size(height, width)
    if spec.layout == "blocks":
        cells = images_NHWC.reshape(n, h, spec.q1, w, spec.q2, c).permute(2, 4, 0, 5, 1, 3)
    else:
        cells = images_NHWC.reshape(n, spec.q1, h, spec.q2, w, c).permute(1, 3, 0, 5, 2, 4)
    return cells.reshape(spec.q, n, c, h, w)


def ungroup(pixels_QNChw: Tensor, spec: SpectralSpec) -> Tensor:
    """Undo `regroup`: (Q, N, C, h, w) to contiguous (N, H, W, C)."""
    _, n, c, h, w = pixels_QNChw.shape
    cells = pixels_QNChw.reshape(spec.q1, spec.q2, n, c, h, w)
    order = (2, 4, 0, 5, 1, 3) if spec.layout == "blocks" else (2, 0, 4, 1, 5, 3)
    return cells.permute(order).reshape(n, h * spec.q1, w * spec.q2, c)


def _along_q(matrix_QQ: Tensor, values_QNChw: Tensor, spec: SpectralSpec) -> Tensor:
    if spec.transform == "none":
        return values_QNChw
    return (matrix_QQ @ values_QNChw.reshape(spec.q, -1)).reshape(values_QNChw.shape)


@functools.lru_cache(maxsize=32)
def _basis_tensor(spec: SpectralSpec, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(basis(spec)).to(device=device, dtype=dtype)
