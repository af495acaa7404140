"""What the networks for 224-pixel images share when their inputs are spectrals: how they take small maps.

The rule: such a network halves its map a published number of times, before 7×7 are left of 224. On smaller maps the
halvings are left out from the first on (a stride or a pooling becomes 1), until the last map has at least `last_map`
pixels along its shorter side, 4 by default: 112×112 keeps all five, 56×56 four, 32×32 three, 16×16 two, 7×7 one. A
first convolution whose stride shrinks gets a kernel to match (`stem`). No parameter but its own depends on this, so
that a network has the same size at every resolution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spectral_prep.errors import InputError


def require_map(input_shape: tuple[int, int, int]) -> None:
    """Refuse maps of one pixel: there is nothing to convolve, and batch norm sees one value a row.

    Raises
    ------
    InputError
        With the model to take instead.
    """
    if math.prod(input_shape[1:]) < 2:
        raise InputError(
            "a map of one pixel has nothing to convolve", got=f"{input_shape[1]}x{input_shape[2]}", run="--model fc"
        )


def strides(input_shape: tuple[int, int, int], halvings: int, last_map: int) -> list[int]:
    """Return 1 or 2 for each of a network's halvings, first to last, by the rule at the top of this file.

    Raises
    ------
    InputError
        If the map has one pixel or `last_map` is less than 1.

    >>> strides((3, 224, 224), 5, 4), strides((12, 56, 56), 5, 4), strides((3, 7, 7), 5, 4)
    ([2, 2, 2, 2, 2], [1, 2, 2, 2, 2], [1, 1, 1, 1, 2])
    """
    require_map(input_shape)
    if last_map < 1:
        raise InputError("unusable last_map", expected="1 or more", got=last_map)
    side = min(input_shape[1:])
    kept = max(count for count in range(halvings + 1) if count == 0 or math.ceil(side / 2**count) >= last_map)
    return [1] * (halvings - kept) + [2] * kept


def stem(input_shape: tuple[int, int, int], outputs: int, stride: int, published: nn.Conv2d) -> nn.Conv2d:
    """Return the first convolution: the published one at its own stride, if it fits into the map.

    Else it is 5×5 at stride 2 and 3×3 at stride 1 (9×9 at 4), padded by the stride.
    """
    kernel, padding = published.kernel_size[0], int(published.padding[0])
    if stride != published.stride[0] or min(input_shape[1:]) < kernel:
        kernel, padding = 2 * stride + 1, stride
    return nn.Conv2d(input_shape[0], outputs, kernel, stride, padding, bias=published.bias is not None)


def scaled(channels: int, width: float, multiple: int = 1) -> int:
    """Return the channels times the width, rounded to a multiple, at least one of it.

    >>> scaled(64, 0.703), scaled(320, 0.45, 8), scaled(3, 0.01)
    (45, 144, 1)
    """
    return max(1, round(channels * width / multiple)) * multiple


def require_width(name: str, width: float) -> None:
    """Refuse a factor that is not positive and finite."""
    if not 0 < width < math.inf:
        raise InputError(f"unusable width of model {name}", expected="more than 0", got=width)


class GlobalAverage(nn.Module):
    """(N, C, h, w) → (N, C); unlike `AdaptiveAvgPool2d` its gradient is deterministic on a GPU."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the mean over both sides."""
        return maps.mean((2, 3))


class AdaptiveAverage(nn.Module):
    """(N, C, h, w) → (N, C, side, side), the values of `AdaptiveAvgPool2d`; its gradient is deterministic on a GPU."""

    def __init__(self, side: int) -> None:
        super().__init__()
        if side < 1:
            raise InputError("unusable grid", expected="1 or more", got=side)
        self.side = side

    def forward(self, maps: Tensor) -> Tensor:
        """Return the means of `side` windows along each side; maps of that size come back as they are."""
        height, width = maps.shape[2:]
        if (height, width) == (self.side, self.side):
            return maps
        return _windows(height, self.side, maps) @ maps @ _windows(width, self.side, maps).T


def _windows(pixels: int, count: int, like: Tensor) -> Tensor:
    """Return the (count, pixels) matrix of means over windows from ⌊i·pixels/count⌋ to ⌈(i+1)·pixels/count⌉."""
    first = torch.arange(count, device=like.device)[:, None] * pixels
    at = torch.arange(pixels, device=like.device)
    inside = (at >= first // count) & (at < (first + pixels + count - 1) // count)
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)
