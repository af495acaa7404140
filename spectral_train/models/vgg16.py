"""VGG-16, the long paper's [53] (Simonyan and Zisserman 2014), configuration D: 138.4 M weights.

It has batch norm behind each convolution (torchvision's `vgg16_bn`), which that paper did not know yet; the sizes of
the long paper's tables fit either. Without it a narrow branch on Tiny-ImageNet-40 was at chance after 200 steps.

Branches of 0.72 times the width whose maps are averaged to 3×3, what 112-pixel images leave, have the size of the
paper's Table 3: 112 MiB beside 528 MiB.
"""

from __future__ import annotations

from torch import nn

from spectral_prep.errors import InputError
from spectral_train.models.maps import AdaptiveAverage, require_width, scaled, strides

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN = 4096
DROPOUT = 0.5


def vgg16(
    input_shape: tuple[int, int, int], classes: int, *, width: float, last_map: int, grid: int, batch_norm: int
) -> nn.Sequential:
    """Return VGG-16 with `width` times its channels and hidden neurons; small maps as `maps` says.

    The classifier sees the maps averaged to `grid`×`grid`, 7×7 as published.

    Its halvings are the five poolings, which round up. `batch_norm` 0 leaves batch norm out, as the paper of 2014 does.
    Weights start as He et al. 2015 have it for ReLU, the output layer's at deviation 0.01: torchvision's 0.01 for all
    linear layers suits the full width alone.

    Raises
    ------
    InputError
        If the map has one pixel, or an option is out of range.
    """
    require_width("vgg16", width)
    if batch_norm not in (0, 1):
        raise InputError("unusable batch_norm", expected="0 or 1", got=batch_norm)
    channels = input_shape[0]
    layers: list[nn.Module] = []
    for stage, pooling in zip(STAGES, strides(input_shape, len(STAGES), last_map), strict=True):
        for published in stage:
            outputs = scaled(published, width)
            layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
            layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            channels = outputs
        layers += [nn.MaxPool2d(2, ceil_mode=True)] if pooling == 2 else []
    hidden = scaled(HIDDEN, width)
    output = nn.Linear(hidden, classes)
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
        output,
    )
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    nn.init.normal_(output.weight, std=0.01)
    return network
