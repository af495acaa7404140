"""The centre of an image whose short side is brought to a length, without the rest of it.

Input: uint8 pixels (H, W, C). Output: uint8 pixels (height, width, C), bit for bit what torch's antialiased
bilinear resize of the whole image and then a crop of the centre give: at most 2 grey levels from Pillow's, and the same
with and without AVX2 and AVX-512, as torch computes in integers.

torch resizes along the width, rounds to uint8, then along the height. It is asked only for what lies above and to the
left of the crop's far corner, and given only the rows that this is made from. What lies before the crop is computed and
dropped: torch has no fractional offset.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
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
    needed_HWC = np.require(pixels_HWC, requirements=["C", "W"])[: _rows_needed(rows / resized[0], top + height, rows)]
    far = _far_corner(needed_HWC, (resized[0] / rows, resized[1] / columns), (top + height, left + width))
    return far[top:, left:]


def _far_corner(
    pixels_HWC: npt.NDArray[np.uint8], scales: tuple[float, float], size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Return the first rows and columns (`size`) of a resized image; `scales` are outputs an input."""
    import torch

    height, width = size
    if scales[0] == 1:
        pixels_HWC = pixels_HWC[:height]
    if scales[1] == 1:
        pixels_HWC = np.ascontiguousarray(pixels_HWC[:, :width])
    # torch takes equal sizes for nothing to do, whatever the scale.
    asked = [
        count + (scale != 1 and count == side)
        for count, scale, side in zip(size, scales, pixels_HWC.shape[:2], strict=True)
    ]
    pixels_1CHW = torch.from_numpy(pixels_HWC.reshape(1, *pixels_HWC.shape).transpose(0, 3, 1, 2))
    # What `interpolate(antialias=True)` calls, which takes either a size or a scale.
    resized_1CHW: Tensor = torch.ops.aten._upsample_bilinear2d_aa.default(pixels_1CHW, asked, False, *scales)
    resized_HWC: npt.NDArray[np.uint8] = resized_1CHW.numpy()[0].transpose(1, 2, 0)
    return resized_HWC[:height, :width]


def _rows_needed(scale: float, last: int, rows: int) -> int:
    """Return how many rows outputs i < last are made from, with one to spare; `scale` is inputs an output."""
    return min(rows, math.ceil(last * scale + max(scale, 1.0) + 1))


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
