"""The papers' network for CIFAR-10: plain 3×3 convolutions in three stages (poster: 10 layers; long paper, 4.2: 8).

They give no widths; 32, 64 and 128 channels are ours. Pooling happens only along sides of at least 4, so that
the same network takes 7×7 and 56×56 maps, and the 28×1 vectors of Q = 1×28.
"""

from __future__ import annotations

from torch import nn

from spectral_prep.errors import InputError
from spectral_train.models.maps import GlobalAverage, require_map

STAGES = 3
SMALLEST_POOLED = 4


def conv(input_shape: tuple[int, int, int], classes: int, *, depth: int, width: int, full_stages: int) -> nn.Sequential:
    """Return `depth` 3×3 convolutions with batch norm and ReLU at width, 2·width, 4·width channels, and a linear layer.

    The stages share the depth as evenly as it goes, later ones first: 10 is 3, 3, 4. Between stages a 2×2 max-pool
    halves each side that is at least 4, but not before `full_stages` of them have seen the whole map: with 2 a branch
    of Q = 4 ends with the map that the conventional network has, for the same weights and three times the operations.

    Raises
    ------
    InputError
        If depth is less than 3, width less than 1, there are not so many stages, or a map has one pixel.

    >>> sum(isinstance(layer, nn.Conv2d) for layer in conv((3, 16, 16), 10, depth=10, width=32, full_stages=1))
    10
    """
    if depth < STAGES or width < 1:
        raise InputError("unusable conv network", expected="depth ≥ 3 and width ≥ 1", got=f"{depth} and {width}")
    if not 1 <= full_stages <= STAGES:
        raise InputError("unusable full_stages", expected=f"1 to {STAGES}", got=full_stages)
    channels, *sides = input_shape
    require_map(input_shape)
    layers: list[nn.Module] = []
    for stage, stage_depth in enumerate(_shares(depth)):
        if stage >= full_stages:
            window = tuple(2 if side >= SMALLEST_POOLED else 1 for side in sides)
            sides = [side // step for side, step in zip(sides, window, strict=True)]
            layers += [nn.MaxPool2d((window[0], window[1]))] if max(window) > 1 else []
        for _ in range(stage_depth):
            outputs = width * 2**stage
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            channels = outputs
    return nn.Sequential(*layers, GlobalAverage(), nn.Linear(channels, classes))


def _shares(depth: int) -> list[int]:
    least, rest = divmod(depth, STAGES)
    return [least + (stage >= STAGES - rest) for stage in range(STAGES)]
