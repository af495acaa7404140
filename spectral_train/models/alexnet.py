"""AlexNet, the long paper's [18] (Krizhevsky et al. 2012), in the one-column form that torchvision has: 61.1 M weights.

Branches of half the width whose maps are averaged to 2×2, what 112-pixel images leave, have the size of the paper's
Table 3: 32 MB beside 244 MB (both in 10⁶ bytes, unlike the table's others).
"""

from __future__ import annotations

import itertools

from torch import nn

from spectral_train.models.maps import AdaptiveAverage, require_width, scaled, stem, strides

KERNELS_AND_CHANNELS = ((11, 64), (5, 192), (3, 384), (3, 256), (3, 256))
POOLED_AFTER = (0, 1, 4)
HIDDEN = 4096
DROPOUT = 0.5


def alexnet(
    input_shape: tuple[int, int, int], classes: int, *, width: float, last_map: int, grid: int
) -> nn.Sequential:
    """Return AlexNet with `width` times its channels and hidden neurons; small maps as `maps` says.

    The classifier sees the maps averaged to `grid`×`grid`, 6×6 as published.

    Its halvings are the stride of 4 of the first convolution (two of them) and three poolings, which round up.

    Raises
    ------
    InputError
        If the map has one pixel, or an option is out of range.
    """
    require_width("alexnet", width)
    first, second, *poolings = strides(input_shape, 5, last_map)
    channels = [input_shape[0], *(scaled(each, width) for _, each in KERNELS_AND_CHANNELS)]
    published = nn.Conv2d(1, 1, KERNELS_AND_CHANNELS[0][0], stride=4, padding=2, device="meta")
    convolutions = [stem(input_shape, channels[1], first * second, published)]
    for (kernel, _), (inputs, outputs) in zip(KERNELS_AND_CHANNELS[1:], itertools.pairwise(channels[1:]), strict=True):
        convolutions.append(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))
    side = _side_after(convolutions[0], min(input_shape[1:]))
    layers: list[nn.Module] = []
    for index, convolution in enumerate(convolutions):
        layers += [convolution, nn.ReLU(inplace=True)]
        if index in POOLED_AFTER and poolings[POOLED_AFTER.index(index)] == 2 and side > 1:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            side //= 2
    hidden = scaled(HIDDEN, width)
    return nn.Sequential(
        *layers,
        AdaptiveAverage(grid),
        nn.Flatten(),
        nn.Dropout(DROPOUT),
        nn.Linear(channels[-1] * grid**2, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(DROPOUT),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, classes),
    )


def _side_after(convolution: nn.Conv2d, side: int) -> int:
    return (side + 2 * int(convolution.padding[0]) - convolution.kernel_size[0]) // convolution.stride[0] + 1
