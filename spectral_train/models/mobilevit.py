"""MobileViT-XS, the long paper's [56] (Mehta and Rastegari 2021), from timm's blocks: 2.3 M weights.

Branches of 0.42 times the width have the size of the paper's Table 3: 2 MiB beside 9 MiB.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from spectral_train.models.maps import require_width, scaled, strides

HEADS = 4
"""Of each transformer: its width is a multiple of this."""


def mobilevit(input_shape: tuple[int, int, int], classes: int, *, width: float, last_map: int) -> nn.Module:
    """Return MobileViT-XS with `width` times its channels and transformer widths; small maps as `maps` says.

    Its halvings are the first convolution and the first block of the last four stages.

    Raises
    ------
    InputError
        If the map has one pixel, or an option is out of range.
    """
    require_width("mobilevit", width)
    first, *stages = strides(input_shape, 5, last_map)
    from timm.models.byobnet import ByobNet
    from timm.models.mobilevit import model_cfgs

    published = model_cfgs["mobilevit_xs"]
    blocks = tuple(_stage(stage, width, stride) for stage, stride in zip(published.blocks, (1, *stages), strict=True))
    network: Any = ByobNet(
        published,
        classes,
        input_shape[0],
        blocks=blocks,
        stem_chs=scaled(published.stem_chs, width),
        num_features=scaled(published.num_features, width),
    )
    if first == 1:
        network.stem.conv.stride = (1, 1)
    built: nn.Module = network
    return built


def _stage(stage: Any, width: float, stride: int) -> tuple[Any, ...]:
    """Return a stage's blocks with scaled widths; the first of them has the stage's stride."""
    first, *rest = stage if isinstance(stage, tuple) else (stage,)
    return tuple(_block(block, width, each) for block, each in ((first, stride), *((block, 1) for block in rest)))


def _block(block: Any, width: float, stride: int) -> Any:
    changed: dict[str, Any] = dict(block.block_kwargs)
    if "transformer_dim" in changed:
        changed["transformer_dim"] = scaled(changed["transformer_dim"], width, HEADS)
    return dataclasses.replace(block, c=scaled(block.c, width), s=stride, block_kwargs=changed)
