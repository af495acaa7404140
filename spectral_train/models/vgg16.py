"""VGG-16, the long paper's [53] (Simonyan and Zisserman 2014), configuration D, without batch norm: 138.4 M weights.

Branches of 0.72 times the width whose maps are averaged to 3×3, what 112-pixel images leave, have the size of the
paper's Table 3: 112 MiB beside 528 MiB.
"""

from __future__ import annotations

from torch import nn

from spectral_train.models.maps import AdaptiveAverage, require_width, scaled, strides

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN = 4096
DROPOUT = 0.5


def vgg16(input_shape: tuple[int, int, int], classes: int, *, width: float, last_map: int, grid: int) -> nn.Sequential:
    """Return VGG-16 with `width` times its channels and hidden neurons; small maps as `maps` says.

    The classifier sees the maps averaged to `grid`×`grid`, 7×7 as published.

    Its halvings are the five poolings, which round up. Weights start as in torchvision's (He et al. 2015, by outputs;
    linear layers at deviation 0.01): without batch norm the default start does not train.

    Raises
    ------
    InputError
        If the map has one pixel, or an option is out of range.
    """
    require_width("vgg16", width)
    channels = input_shape[0]
    layers: list[nn.Module] = []
    for stage, pooling in zip(STAGES, strides(input_shape, len(STAGES), last_map), strict=True):
        for published in stage:
            outputs = scaled(published, width)
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            channels = outputs
        layers += [nn.MaxPool2d(2, ceil_mode=True)] if pooling == 2 else []
    hidden = scaled(HIDDEN, width)
    network = nn.Sequential(
        *layers,
        AdaptiveAverage(grid),
        nn.Flatten(),
        nn.Linear(channels * grid**2, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(DROPOUT),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(DROPOUT),
        nn.Linear(hidden, classes),
    )
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return network
