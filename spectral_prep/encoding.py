"""How a coefficient is stored: int8 with a pair of scalars a spectral, float16 or float32.

Input: a float spectrum (Q, N, C, h, w). Output: the same in the storage dtype, and back.

torch is imported by what computes with tensors: an `Encoding` alone is part of records that are read without it.

int8 stores round((X − add_offset[k]) / scale_factor[k]) in −127..127. The offset of spectral k is its response to a
mid-grey image, so that DC is centred. The scale puts the largest deviation of a calibration sample just under 126.5: it
is stored as 126, and a stored ±127 is therefore beyond the calibrated range, which makes saturation countable. The
names are the CF conventions' (section 8.1, packed data), so xarray decodes the arrays by itself.

A scale may also be larger than the range needs: for a given error of the pixels one step for all spectrals takes the
fewest bytes, since the transform is orthonormal (`with_psnr`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from spectral_prep.choices import Storage
from spectral_prep.errors import InputError
from spectral_prep.grid import SpectralSpec, basis

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LARGEST = 127
CALIBRATED = 126.49
NO_DEVIATION = 0.5
MID_GREY = 127.5
PIXEL_ROUNDING = 1 / 12
"""The mean square that is added when pixels are rounded to whole grey levels."""

STEPS_A_LEVEL = 100
WIDEST_STEP = 255
"""Common steps are hundredths of a grey level, up to this many levels."""


@dataclass(frozen=True)
class Encoding:
    """A storage dtype with, for int8, one `scale_factor` and one `add_offset` (grey levels) a spectral.

    >>> Encoding("float16").torch_dtype
    torch.float16
    """

    dtype: Storage
    scale_factor: tuple[float, ...] = ()
    add_offset: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Storage):
            raise InputError("unknown storage dtype", expected=f"one of {', '.join(get_args(Storage))}", got=self.dtype)
        if (self.dtype == "int8") != bool(self.scale_factor) or len(self.scale_factor) != len(self.add_offset):
            raise InputError(
                "unusable encoding",
                expected="one scale_factor and one add_offset a spectral for int8, none otherwise",
                got=f"{self.dtype} with {len(self.scale_factor)} and {len(self.add_offset)}",
            )

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of the stored tensors."""
        import torch

        stored: torch.dtype = getattr(torch, self.dtype)
        return stored

    @property
    def itemsize(self) -> int:
        """Bytes a stored coefficient."""
        return np.dtype(self.dtype).itemsize

    def fits(self, q: int) -> bool:
        """Whether it has a pair of scalars for each of Q spectrals, or needs none."""
        return len(self.scale_factor) in (0, q)

    def scalars(self, k: int) -> tuple[float, float]:
        """Return (scale_factor, add_offset) of spectral k: (1, 0) for the floating dtypes."""
        return (self.scale_factor[k], self.add_offset[k]) if self.scale_factor else (1.0, 0.0)


def encode(spectrum_QNChw: Tensor, encoding: Encoding) -> Tensor:
    """Return the spectrum in its storage dtype, same shape; int8 rounds to nearest even and saturates at ±127.

    >>> import torch
    >>> encode(torch.full((1, 1, 1, 1, 1), 4.4), Encoding("int8", (2.0,), (1.0,))).item()
    2
    """
    import torch

    if encoding.dtype != "int8":
        return spectrum_QNChw.to(encoding.torch_dtype)
    scale, offset = (_along_q(values, spectrum_QNChw) for values in (encoding.scale_factor, encoding.add_offset))
    return ((spectrum_QNChw - offset) / scale).round_().clamp_(-LARGEST, LARGEST).to(torch.int8)


def decode(stored_QNChw: Tensor, encoding: Encoding) -> Tensor:
    """Return float32 coefficients in grey levels from their stored form, same shape.

    >>> import torch
    >>> decode(torch.full((1, 1, 1, 1, 1), 2, dtype=torch.int8), Encoding("int8", (2.0,), (1.0,))).item()
    5.0
    """
    import torch

    values = stored_QNChw.to(torch.float32)
    if encoding.dtype != "int8":
        return values
    scale, offset = (_along_q(numbers, values) for numbers in (encoding.scale_factor, encoding.add_offset))
    return values * scale + offset


def calibrate(spectrum_QNChw: Tensor, spec: SpectralSpec) -> Encoding:
    """Choose the int8 encoding for which no coefficient of this sample saturates.

    Parameters
    ----------
    spectrum_QNChw
        Float coefficients of a sample of training images, in grey levels; a spectral that deviates by less than
        half a grey level in the sample (or an empty sample) takes the widest range that uint8 pixels can reach.

    Returns
    -------
    Encoding
        int8, its scalars rounded to float32 so that every implementation computes with the same numbers.
    """
    if not spectrum_QNChw.numel():
        return calibrate_range(np.full(spec.q, np.inf), np.full(spec.q, -np.inf), spec)
    lowest_Q, highest_Q = (extreme.double().cpu().numpy() for extreme in spectrum_QNChw.flatten(1).aminmax(dim=1))
    return calibrate_range(lowest_Q, highest_Q, spec)


def calibrate_range(
    lowest_Q: npt.NDArray[np.floating], highest_Q: npt.NDArray[np.floating], spec: SpectralSpec
) -> Encoding:
    """Choose the int8 encoding as `calibrate` does, from the extremes of each spectral: ∞ and −∞ where none was seen.

    >>> calibrate_range(np.array([100.0]), np.array([254.0]), SpectralSpec(1, 1)).scale_factor
    (1.0000790357589722,)
    """
    rows = basis(spec)
    offset = MID_GREY * rows.sum(axis=1)
    widest = MID_GREY * np.abs(rows).sum(axis=1)
    lowest, highest = (extreme.astype(np.float64) for extreme in (lowest_Q, highest_Q))
    seen = np.where(lowest <= highest, np.maximum(np.abs(lowest - offset), np.abs(highest - offset)), 0.0)
    reach = np.where(seen > NO_DEVIATION, seen, widest)
    scale = (reach / CALIBRATED).astype(np.float32)
    return Encoding("int8", tuple(map(float, scale)), tuple(map(float, offset.astype(np.float32))))


def with_psnr(encoding: Encoding, coefficients_Qn: npt.NDArray[np.float32], psnr: float) -> Encoding:
    """Return an int8 encoding with the largest common step for which images keep this peak signal-to-noise ratio.

    Where the range of a spectral needs a larger step than the common one, it keeps its own.

    Parameters
    ----------
    encoding
        What `calibrate` returns.
    coefficients_Qn
        Coefficients of a sample of images, as many of each spectral, in grey levels.
    psnr
        In dB, of 8-bit pixels that were put back together and rounded.

    Raises
    ------
    InputError
        If 254 levels for the range of each spectral do not keep that much.

    >>> fine = Encoding("int8", (0.5, 0.1), (0.0, 0.0))
    >>> with_psnr(fine, np.linspace(-12, 12, 10_000, dtype=np.float32).reshape(2, -1), 47.0).scale_factor
    (3.869999885559082, 3.869999885559082)
    """
    import torch

    def coarsened(steps: int) -> Encoding:
        common = float(np.float32(steps / STEPS_A_LEVEL))
        return replace(encoding, scale_factor=tuple(max(scale, common) for scale in encoding.scale_factor))

    sample_Qn111 = torch.from_numpy(coefficients_Qn)[..., None, None, None]

    def kept(steps: int) -> float:
        chosen = coarsened(steps)
        error = (decode(encode(sample_Qn111, chosen), chosen) - sample_Qn111).double()
        return _psnr(error.square().mean().item())

    finest = kept(0)
    if finest < psnr:
        raise InputError(
            "int8 does not keep so much of these images",
            expected=f"--psnr {math.floor(10 * finest) / 10} or less",
            got=psnr,
            run="the same command with such a value, or with --dtype float16, which keeps every pixel",
        )
    low, high = 0, WIDEST_STEP * STEPS_A_LEVEL
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if kept(middle) >= psnr else (low, middle)
    return coarsened(low)


def expected_psnr(encoding: Encoding, energy_Q: Sequence[float]) -> float | None:
    """Return about how much images keep (dB) that are stored so, or a little less; None where every pixel is kept.

    The error of a spectral is that of uniform rounding, or all of its energy (variance, grey levels squared) where
    that is less.

    >>> round(expected_psnr(Encoding("int8", (4.0, 4.0), (0.0, 0.0)), (3000.0, 0.5)), 1)
    48.1
    """
    if encoding.dtype != "int8":
        return None
    errors = np.minimum(np.square(encoding.scale_factor) / 12, energy_Q)
    return _psnr(float(errors.mean()))


def _psnr(coefficient_error: float) -> float:
    return 10 * math.log10(255**2 / (coefficient_error + PIXEL_ROUNDING))


def _along_q(values: tuple[float, ...], like_QNChw: Tensor) -> Tensor:
    import torch

    return torch.tensor(values, dtype=like_QNChw.dtype, device=like_QNChw.device).view(-1, 1, 1, 1, 1)
