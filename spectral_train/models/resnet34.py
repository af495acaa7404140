"""ResNet-34, the long paper's [54] (He et al. 2016), from timm: 21.8 M weights.

Branches of 0.42 times the width have the size of the paper's Table 3: 15 MiB beside 83 MiB.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from spectral_train.models.maps import require_width, scaled, stem, strides

CHANNELS = (64, 128, 256, 512)


def resnet34(input_shape: tuple[int, int, int], classes: int, *, width: float, last_map: int) -> nn.Module:
    """Return ResNet-34 with `width` times the channels of its four stages; small maps as `maps` says.

    Its halvings are the first convolution, the pooling, and the first block of the last three stages. The first
    convolution keeps its 64 channels.

    Raises
    ------
    InputError
        If the map has one pixel, or an option is out of range.
    """
    require_width("resnet34", width)
    first, pooling, *stages = strides(input_shape, 5, last_map)
    import timm

    network: Any = timm.create_model(
        "resnet34",
        pretrained=False,
        in_chans=input_shape[0],
        num_classes=classes,
        channels=tuple(scaled(each, width) for each in CHANNELS),
    )
    if first == 1:
        network.conv1 = stem(input_shape, network.conv1.out_channels, first, network.conv1)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    if pooling == 1:
        network.maxpool = nn.Identity()
    for stage, stride in zip((network.layer2, network.layer3, network.layer4), stages, strict=True):
        for layer in stage[0].modules():
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                layer.stride = (stride, stride)
    built: nn.Module = network
    return built
