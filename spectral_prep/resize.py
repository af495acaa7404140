"""The centre of an image whose short side is brought to a length, without the rest of it.

Goes in: uint8 pixels (H, W, C). Comes out: uint8 pixels (height, width, C), bit for bit what torch's antialiased
bilinear resize of the whole image and then a crop of the centre give: at most 2 grey levels from Pillow's, and the same
with and without AVX2 and AVX-512, as torch computes in integers.

torch resizes along the width, rounds to uint8, then along the height. Each pass is done here only as far as the crop
needs it: of the rows those above and below are left out, of the outputs those to the right of and below the crop. Those
to its left and above it are computed and dropped: torch has no fractional offset.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

_FARTHEST = 8
"""Crop sizes between the edge and the crop from which on Pillow resizes: it has a fractional offset, but is slower."""


def resize_and_crop(pixels_HWC: npt.NDArray[np.uint8], short: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return the centre, height × width, of an image after its short side was brought to `short` ≥ both, in pixels.

    Antialiased bilinear; the long side is rounded down, and the centre found, as torchvision's `Resize` and
    `CenterCrop` do.

    >>> resize_and_crop(np.zeros((375, 500, 3), np.uint8), 256, 224, 224).shape
    (224, 224, 3)
    """
    rows, columns = pixels_HWC.shape[:2]
    resized = [short * side // min(rows, columns) for side in (rows, columns)]
    top, left = (round((whole - part) / 2) for whole, part in zip(resized, (height, width), strict=True))
    if top > _FARTHEST * height or left > _FARTHEST * width:
        return _by_pillow(pixels_HWC, resized, (top, left), (height, width))
    first, last = _rows_needed(rows / resized[0], top, top + height, rows)
    pixels_CHW = torch.from_numpy(np.require(pixels_HWC, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
    wide = _along(3, pixels_CHW[:, :, first:last], columns / resized[1], left + width)[..., left:]
    # The rows above `first` keep what was in memory: no pixel of the crop is made from them.
    tall = torch.empty((1, pixels_HWC.shape[2], last, width), dtype=torch.uint8, memory_format=torch.channels_last)
    tall[:, :, first:] = wide
    return _along(2, tall, rows / resized[0], top + height)[0, :, top:].permute(1, 2, 0).numpy()


def _along(dimension: int, pixels_1CHW: Tensor, scale: float, count: int) -> Tensor:
    """Return the first `count` outputs, or one more, of a resize along one dimension; `scale` is inputs an output."""
    if scale == 1:
        return pixels_1CHW.narrow(dimension, 0, count)
    size, factors = list(pixels_1CHW.shape[2:]), [1.0, 1.0]
    # torch takes equal sizes for nothing to do, whatever the scale.
    size[dimension - 2] = count + (count == size[dimension - 2])
    factors[dimension - 2] = 1 / scale
    # What `interpolate(antialias=True)` calls, which takes either a size or a scale.
    resized: Tensor = torch.ops.aten._upsample_bilinear2d_aa(pixels_1CHW, size, False, *factors)
    return resized.narrow(dimension, 0, count)


def _rows_needed(scale: float, first: int, last: int, rows: int) -> tuple[int, int]:
    """Return the range of rows that outputs first ≤ i < last are made from, with one to spare on either side."""
    reach = max(scale, 1.0) + 1
    return max(0, math.floor(first * scale - reach)), min(rows, math.ceil(last * scale + reach))


def _by_pillow(
    pixels_HWC: npt.NDArray[np.uint8], resized: list[int], start: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Compute the crop alone from its source box: for images so long that what is left of the crop outweighs it."""
    sides = pixels_HWC.shape[:2]
    top, left = (at * side / whole for at, side, whole in zip(start, sides, resized, strict=True))
    ends = zip(start, size, sides, resized, strict=True)
    bottom, right = (min((at + part) * side / whole, side) for at, part, side, whole in ends)
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)
    cut = image.resize(size[::-1], Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.array(cut).reshape(*size, pixels_HWC.shape[2])
