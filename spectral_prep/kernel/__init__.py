"""Split and encode in one pass, and back: the one door through which every spectrum passes, whatever computes it.

Both are torch operators, `spectral::split` and `spectral::merge`, so that `torch.compile` sees through them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spectral_prep.encoding import Encoding
from spectral_prep.errors import InputError
from spectral_prep.kernel import operators
from spectral_prep.kernel.cpu import each_contiguous
from spectral_prep.spectrum import SpectralSpec


def fused_split(
    images_NHWC: Tensor,
    spec: SpectralSpec,
    dtype: torch.dtype = torch.float16,
    encoding: Encoding | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the stored spectrum of a batch of images.

    Five images of 28×28 become the 16 spectrals of a 4×4 grid, 7×7 each, as float16:

    >>> images, spec = torch.randint(0, 256, (5, 28, 28, 1), dtype=torch.uint8), SpectralSpec(4, 4)
    >>> stored = fused_split(images, spec)
    >>> stored.shape, stored.dtype
    (torch.Size([16, 5, 1, 7, 7]), torch.float16)

    Another grid (the long paper's 1×Q: one spectral is a vector over image rows) and another dtype:

    >>> fused_split(images, SpectralSpec(1, 28), torch.float32).shape
    torch.Size([28, 5, 1, 28, 1])

    As int8, with the pair of scalars a spectral that a sample of the data calls for:

    >>> from spectral_prep.encoding import calibrate
    >>> from spectral_prep.spectrum import split
    >>> encoding = calibrate(split(images, spec), spec)
    >>> fused_split(images, spec, encoding=encoding).dtype
    torch.int8

    Into a block of 100 rows: image 7 of it, right after its resize, while it is in the cache:

    >>> block_QNChw = torch.zeros(16, 100, 1, 7, 7, dtype=torch.int8)
    >>> fused_split(images[:1], spec, encoding=encoding, out=block_QNChw[:, 7:8]).shape
    torch.Size([16, 1, 1, 7, 7])

    Parameters
    ----------
    images_NHWC
        (N, H, W, C), uint8 or float32, any device, any strides; N may be 0.
    dtype
        Of the result where no encoding is given: float32, float16 or bfloat16.
    encoding
        How to store; its dtype then decides. int8 cannot be had without one.
    out
        Where to write: (Q, N, C, h, w) of the stored dtype on the images' device, each spectral contiguous; some rows
        of something larger will do.

    Returns
    -------
    Tensor
        (Q, N, C, h, w), contiguous; `out` where that is given.

    Raises
    ------
    InputError
        If the grid does not divide the images, int8 is asked for without an encoding, or `out` does not fit.
    """
    if images_NHWC.ndim != 4:
        raise InputError("not a batch of images", expected="(N, H, W, C)", got=tuple(images_NHWC.shape))
    n, height, width, c = images_NHWC.shape
    shape = (spec.q, n, c, *spec.spectral_size(height, width))
    stored = dtype if encoding is None else encoding.torch_dtype
    _check(spec, stored, encoding)
    if out is not None:
        wanted, given = (shape, stored, images_NHWC.device), (tuple(out.shape), out.dtype, out.device)
        if wanted != given:
            raise InputError("out does not fit", expected=wanted, got=given)
        if not each_contiguous(out):
            raise InputError("out does not fit", expected="each spectral contiguous", got=f"strides {out.stride()}")
    return operators.split(images_NHWC, spec, stored, encoding, out)


def fused_merge(
    spectrum_QNChw: Tensor,
    spec: SpectralSpec,
    dtype: torch.dtype = torch.uint8,
    encoding: Encoding | None = None,
) -> Tensor:
    """Return the images of a stored spectrum: the inverse of `fused_split`.

    From float16, exactly:

    >>> images, spec = torch.randint(0, 256, (5, 28, 28, 1), dtype=torch.uint8), SpectralSpec(4, 4)
    >>> back = fused_merge(fused_split(images, spec), spec)
    >>> back.shape, torch.equal(back, images)
    (torch.Size([5, 28, 28, 1]), True)

    As float32, neither rounded nor cut off at 0 and 255:

    >>> fused_merge(fused_split(images, spec), spec, torch.float32).dtype
    torch.float32

    From int8, with the encoding that it was stored by:

    >>> from spectral_prep.encoding import calibrate
    >>> from spectral_prep.spectrum import split
    >>> encoding = calibrate(split(images, spec), spec)
    >>> back = fused_merge(fused_split(images, spec, encoding=encoding), spec, encoding=encoding)
    >>> back.shape, bool((back.int() - images.int()).abs().max() < 8)
    (torch.Size([5, 28, 28, 1]), True)

    Parameters
    ----------
    spectrum_QNChw
        (Q, N, C, h, w), float32, float16, bfloat16 or int8, any device.
    dtype
        Of the images: uint8 rounds to the nearest grey level and saturates; float32 does neither.
    encoding
        How the spectrum is stored. int8 cannot be read without one.

    Returns
    -------
    Tensor
        (N, H, W, C), contiguous.

    Raises
    ------
    InputError
        If the spectrum is not 5-dimensional, does not hold Q spectrals, or is not stored as the encoding says.
    """
    if spectrum_QNChw.ndim != 5 or spectrum_QNChw.shape[0] != spec.q:
        raise InputError("not a spectrum", expected=f"(Q={spec.q}, N, C, h, w)", got=tuple(spectrum_QNChw.shape))
    _check(spec, spectrum_QNChw.dtype, encoding)
    return operators.merge(spectrum_QNChw, spec, dtype, encoding)


def _check(spec: SpectralSpec, stored: torch.dtype, encoding: Encoding | None) -> None:
    """Raise `InputError` unless an encoding fits the spec and the stored dtype."""
    if encoding is None:
        if not stored.is_floating_point:
            raise InputError("an integer spectrum needs an encoding", expected="encoding=calibrate(…)", got=stored)
    elif stored != encoding.torch_dtype:
        raise InputError("not stored as the encoding says", expected=encoding.torch_dtype, got=stored)
    elif not encoding.fits(spec.q):
        raise InputError("encoding of another grid", expected=f"{spec.q} scalars", got=len(encoding.scale_factor))
