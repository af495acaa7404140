"""`spectral::split` and `spectral::merge` as torch operators: what they compute, and its shape for `torch.compile`.

A spec and an encoding are taken apart here into the plain types that an operator's schema knows.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from spectral_prep.encoding import Encoding
from spectral_prep.kernel import dispatch
from spectral_prep.spectrum import Layout, SpectralSpec, Transform

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


def split(images_NHWC: Tensor, *arguments: Any) -> Tensor:
    """Split by the operator while torch.compile traces, otherwise at once: a first call of an operator imports torch's
    compiler, seconds and 150 MB that a converter's workers need not spend.
    """
    compute = split_operator if torch.compiler.is_compiling() else _split
    stored_QNChw: Tensor = compute(images_NHWC, *arguments)
    return stored_QNChw


def merge(spectrum_QNChw: Tensor, *arguments: Any) -> Tensor:
    """Merge by the operator while torch.compile traces, otherwise at once."""
    compute = merge_operator if torch.compiler.is_compiling() else _merge
    images_NHWC: Tensor = compute(spectrum_QNChw, *arguments)
    return images_NHWC


def _encoding(scale_factor: list[float], add_offset: list[float]) -> Encoding | None:
    return Encoding("int8", tuple(scale_factor), tuple(add_offset)) if scale_factor else None
