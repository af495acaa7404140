"""What can compute a split and a merge: one Protocol, and torch operations, the reference that is always there."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from spectral_prep import spectrum
from spectral_prep.encoding import Encoding, decode, encode
from spectral_prep.spectrum import SpectralSpec


class Backend(Protocol):
    """One implementation; `fused_split` and `fused_merge` have checked what it is given.

    Raises
    ------
    KernelError
        From either method, if it cannot be compiled or run here.
    """

    def split(
        self,
        images_NHWC: Tensor,
        spec: SpectralSpec,
        dtype: torch.dtype,
        encoding: Encoding | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return the stored spectrum (Q, N, C, h, w) in this dtype; it is written into `out` where that is given."""
        ...

    def merge(
        self, spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None = None
    ) -> Tensor:
        """Return the images (N, H, W, C), contiguous, in this dtype."""
        ...


class TorchOperations:
    """Split and merge by torch operations, on any device and for any dtype; a `Backend`."""

    def split(
        self,
        images_NHWC: Tensor,
        spec: SpectralSpec,
        dtype: torch.dtype,
        encoding: Encoding | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return the stored spectrum."""
        spectrum_QNChw = spectrum.split(images_NHWC, spec)
        stored_QNChw = spectrum_QNChw.to(dtype) if encoding is None else encode(spectrum_QNChw, encoding)
        return stored_QNChw.contiguous() if out is None else out.copy_(stored_QNChw)

    def merge(
        self, spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None = None
    ) -> Tensor:
        """Return the images."""
        decoded_QNChw = spectrum_QNChw if encoding is None else decode(spectrum_QNChw, encoding)
        return spectrum.merge(decoded_QNChw, spec, dtype)
