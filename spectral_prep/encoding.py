"""How a coefficient is stored: int8 with a pair of scalars a spectral, float16 or float32.

Input: a float spectrum (Q, N, C, h, w). Output: the same in the storage dtype, and back.

torch is imported by what computes with tensors: an `Encoding` alone is part of records that are read without it.

int8 stores round((X − add_offset[k]) / scale_factor[k]) in −127..127. The offset of spectral k is its response to a
mid-grey image, so that DC is centred. The scale puts the largest deviation of a calibration sample just under 126.5: it
is stored as 126, and a stored ±127 is therefore beyond the calibrated range, which makes saturation countable. The
names are the CF conventions' (section 8.1, packed data), so xarray decodes the arrays by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

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
    rows = basis(spec)
    offset = MID_GREY * rows.sum(axis=1)
    widest = MID_GREY * np.abs(rows).sum(axis=1)
    reach = widest
    if spectrum_QNChw.numel():
        deviation = (spectrum_QNChw.double() - _along_q(tuple(offset), spectrum_QNChw.double())).abs()
        seen = deviation.flatten(1).amax(1).cpu().numpy()
        reach = np.where(seen > NO_DEVIATION, seen, widest)
    scale = (reach / CALIBRATED).astype(np.float32)
    return Encoding("int8", tuple(map(float, scale)), tuple(map(float, offset.astype(np.float32))))


def _along_q(values: tuple[float, ...], like_QNChw: Tensor) -> Tensor:
    import torch

    return torch.tensor(values, dtype=like_QNChw.dtype, device=like_QNChw.device).view(-1, 1, 1, 1, 1)
