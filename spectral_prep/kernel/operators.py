"""`spectral::split` and `spectral::merge` as torch operators: what they compute, and its shape for `torch.compile`.

A spec and an encoding are taken apart here into the plain types that an operator's schema knows.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from spectral_prep.choices import Layout, Transform
from spectral_prep.encoding import Encoding
from spectral_prep.kernel import dispatch
from spectral_prep.spectrum import SpectralSpec

# Not inferred from annotations: those are strings under `from __future__ import annotations`.
SCHEMA = (
    "(Tensor tensor, int q1, int q2, str layout, str transform, ScalarType dtype, "
    "float[] scale_factor, float[] add_offset) -> Tensor"
)


def _split(
    images_NHWC: Tensor,
    q1: int,
    q2: int,
    layout: str,
    transform: str,
    dtype: torch.dtype,
    scale_factor: list[float],
    add_offset: list[float],
) -> Tensor:
    spec = SpectralSpec(q1, q2, cast(Layout, layout), cast(Transform, transform))
    return dispatch.split(images_NHWC, spec, dtype, _encoding(scale_factor, add_offset))


def _merge(
    spectrum_QNChw: Tensor,
    q1: int,
    q2: int,
    layout: str,
    transform: str,
    dtype: torch.dtype,
    scale_factor: list[float],
    add_offset: list[float],
) -> Tensor:
    spec = SpectralSpec(q1, q2, cast(Layout, layout), cast(Transform, transform))
    return dispatch.merge(spectrum_QNChw, spec, dtype, _encoding(scale_factor, add_offset))


split_operator = torch.library.custom_op("spectral::split", _split, mutates_args=(), schema=SCHEMA)
merge_operator = torch.library.custom_op("spectral::merge", _merge, mutates_args=(), schema=SCHEMA)


@split_operator.register_fake
def _split_shape(
    images_NHWC: Tensor, q1: int, q2: int, layout: str, transform: str, dtype: torch.dtype, *_: object
) -> Tensor:
    n, height, width, c = images_NHWC.shape
    return images_NHWC.new_empty((q1 * q2, n, c, height // q1, width // q2), dtype=dtype)


@merge_operator.register_fake
def _merge_shape(
    spectrum_QNChw: Tensor, q1: int, q2: int, layout: str, transform: str, dtype: torch.dtype, *_: object
) -> Tensor:
    n, c, h, w = spectrum_QNChw.shape[1:]
    return spectrum_QNChw.new_empty((n, h * q1, w * q2, c), dtype=dtype)


def split(
    images_NHWC: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None, out: Tensor | None
) -> Tensor:
    """Split by the operator while torch.compile traces, otherwise at once: a first call of an operator imports torch's
    compiler, seconds and 150 MB that a converter's workers need not spend.
    """
    if not torch.compiler.is_compiling():
        return dispatch.split(images_NHWC, spec, dtype, encoding, out)
    stored_QNChw: Tensor = split_operator(images_NHWC, *_plain(spec), dtype, *_scalars(encoding))
    return stored_QNChw if out is None else out.copy_(stored_QNChw)


def merge(spectrum_QNChw: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None) -> Tensor:
    """Merge by the operator while torch.compile traces, otherwise at once."""
    if not torch.compiler.is_compiling():
        return dispatch.merge(spectrum_QNChw, spec, dtype, encoding)
    images_NHWC: Tensor = merge_operator(spectrum_QNChw, *_plain(spec), dtype, *_scalars(encoding))
    return images_NHWC


def _plain(spec: SpectralSpec) -> tuple[int, int, str, str]:
    return spec.q1, spec.q2, spec.layout, spec.transform


def _scalars(encoding: Encoding | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return ((), ()) if encoding is None else (encoding.scale_factor, encoding.add_offset)


def _encoding(scale_factor: list[float], add_offset: list[float]) -> Encoding | None:
    return Encoding("int8", tuple(scale_factor), tuple(add_offset)) if scale_factor else None
