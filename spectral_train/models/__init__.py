"""The networks: one file each, one table of names.

Goes in: a name, the shape of one input (C, h, w), the number of classes and the network's own options. Comes out: a
module that turns (N, C, h, w) float32 into (N, classes) logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from spectral_prep.errors import InputError
from spectral_train.models.conv import conv
from spectral_train.models.fc import fc

InputShape = tuple[int, int, int]


class ModelBuilder(Protocol):
    """Makes one network; `depth` and `width` are what every network has, defaults are its own."""

    def __call__(self, input_shape: InputShape, classes: int, *, depth: int = ..., width: int = ...) -> nn.Module:
        """Return the network, initialised from torch's global generator."""
        ...


MODELS: Mapping[str, ModelBuilder] = {"fc": fc, "conv": conv}

AUTO = "auto"
SMALLEST_MAP_FOR_CONV = 8


def choose_model(name: str, input_shape: InputShape) -> str:
    """Return the name itself, or for `auto` what fits: `fc` for maps with a side under 8 pixels, otherwise `conv`.

    >>> choose_model("auto", (1, 7, 7)), choose_model("auto", (3, 16, 16)), choose_model("auto", (1, 28, 1))
    ('fc', 'conv', 'fc')
    """
    if name != AUTO:
        return name
    return "fc" if min(input_shape[1:]) < SMALLEST_MAP_FOR_CONV else "conv"


def build(name: str, input_shape: InputShape, classes: int, **options: Any) -> nn.Module:
    """Return a network by name.

    Raises
    ------
    InputError
        If the name or one of the options is unknown or out of range.

    >>> import torch
    >>> build("fc", (1, 7, 7), 10)(torch.zeros(5, 1, 7, 7)).shape
    torch.Size([5, 10])
    """
    if name not in MODELS:
        raise InputError("unknown model", expected=f"one of {', '.join(MODELS)}", got=name)
    if unknown := set(options) - {"depth", "width"}:
        raise InputError(f"model {name} has no such option", expected="depth, width", got=", ".join(sorted(unknown)))
    return MODELS[name](input_shape, classes, **options)


def parameter_count(model: nn.Module) -> int:
    """Return the number of trained parameters.

    >>> parameter_count(build("fc", (1, 7, 7), 10, depth=2, width=49))
    2950
    """
    return sum(parameter.numel() for parameter in model.parameters())


def size_in_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters and buffers: the size of the network, as the long paper's tables give it."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
