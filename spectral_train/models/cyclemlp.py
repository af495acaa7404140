"""CycleMLP-B2, the long paper's [55] (Chen et al., ICLR 2022), written from that paper: 26.8 M weights.

A Cycle FC layer is a linear layer over the channels whose input channel c is taken from a neighbouring pixel: the
offset cycles through 0, +1, −1 with c. A block adds one along the height, one along the width and a plain linear layer,
weighted by a softmax over the three that depends on the mean of the map.

Branches of 0.45 times the width have the size of the paper's Table 3: 22 MiB beside 102 MiB.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectral_train.models.maps import require_width, scaled, stem, strides

DIMENSIONS = (64, 128, 320, 512)
BLOCKS = (2, 3, 10, 3)
MLP_RATIO = 4
REWEIGHT_RATIO = 4
MULTIPLE = 8
"""Widths are rounded to it."""


def cyclemlp(input_shape: tuple[int, int, int], classes: int, *, width: float, last_map: int) -> nn.Sequential:
    """Return CycleMLP-B2 with `width` times its channels; small maps as `maps` says.

    Its halvings are the stride of 4 of the 7×7 patch embedding (two of them) and the 3×3 convolutions between the four
    stages.

    Raises
    ------
    InputError
        If the map has one pixel, or an option is out of range.
    """
    require_width("cyclemlp", width)
    first, second, *between = strides(input_shape, 5, last_map)
    channels, *wider = [scaled(each, width, MULTIPLE) for each in DIMENSIONS]
    published = nn.Conv2d(1, 1, 7, stride=4, padding=2, device="meta")
    layers: list[nn.Module] = [stem(input_shape, channels, first * second, published), ChannelsLast()]
    layers += [CycleBlock(channels) for _ in range(BLOCKS[0])]
    for outputs, stride, blocks in zip(wider, between, BLOCKS[1:], strict=True):
        layers += [ChannelsFirst(), nn.Conv2d(channels, outputs, 3, stride, padding=1), ChannelsLast()]
        layers += [CycleBlock(outputs) for _ in range(blocks)]
        channels = outputs
    network = nn.Sequential(*layers, nn.LayerNorm(channels), MeanOfMap(), nn.Linear(channels, classes))
    network.apply(_start)
    return network


class CycleBlock(nn.Module):
    """(N, h, w, C) → the same shape: spatial mixing, then an MLP over the channels, each behind a norm, with skips."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.LayerNorm(channels), CycleMixing(channels))
        self.mlp = nn.Sequential(nn.LayerNorm(channels), _mlp(channels, MLP_RATIO * channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps, mixed."""
        maps = maps + self.mix(maps)
        mixed: Tensor = maps + self.mlp(maps)
        return mixed


class CycleMixing(nn.Module):
    """(N, h, w, C) → the same shape: Cycle FC along height and width and a linear layer, weighted by the map's mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.height, self.width = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.channel = nn.Linear(channels, channels, bias=False)
        self.reweight = _mlp(channels, max(1, channels // REWEIGHT_RATIO), 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weighted sum of the three, projected."""
        parts = (self.height(cycled(maps, 1)), self.width(cycled(maps, 2)), self.channel(maps))
        mean = (parts[0] + parts[1] + parts[2]).mean((1, 2))
        weights = self.reweight(mean).unflatten(1, (-1, 3)).softmax(2)[:, None, None]
        mixed = sum(part * weight for part, weight in zip(parts, weights.unbind(-1), strict=True))
        projected: Tensor = self.project(mixed)
        return projected


def cycled(maps: Tensor, side: int) -> Tensor:
    """Return (N, h, w, C) with channel c taken (0, +1, −1)[c mod 3] pixels further along `side`, 1 or 2; zeros beyond.

    >>> cycled(torch.arange(9.0).view(1, 3, 1, 3), 1)[0, :, 0].tolist()
    [[0.0, 4.0, 0.0], [3.0, 7.0, 2.0], [6.0, 0.0, 5.0]]
    """
    length = maps.shape[side]
    padded = nn.functional.pad(maps, (0, 0, *((1, 1, 0, 0) if side == 2 else (0, 0, 1, 1))))
    taken = (padded.narrow(side, start, length)[..., group::3] for group, start in enumerate((1, 2, 0)))
    out = torch.empty_like(maps)
    for group, values in enumerate(taken):
        out[..., group::3] = values
    return out


class ChannelsLast(nn.Module):
    """(N, C, h, w) → (N, h, w, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the permuted maps."""
        return maps.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    """(N, h, w, C) → (N, C, h, w)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the permuted maps."""
        return maps.permute(0, 3, 1, 2)


class MeanOfMap(nn.Module):
    """(N, h, w, C) → (N, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the mean over both sides."""
        return maps.mean((1, 2))


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def _start(layer: nn.Module) -> None:
    """Start linear layers as the published network does: a truncated normal of deviation 0.02, no bias."""
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
