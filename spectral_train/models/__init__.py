"""The networks: one file each, one table of names; this module itself does not import torch.

Input: a name, the shape of one input (C, h, w), the number of classes and the network's own options. Output: a
module that turns (N, C, h, w) float32 into (N, classes) logits.

Each network has two forms. As a branch it has the width of its entry in `MODELS`, or the `width` that it is given. As
the conventional network of the comparison it is as much wider as the papers' is (`full_options`): a run with half the
width of the papers' branches is compared with half the papers' network.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from spectral_prep.errors import InputError

if TYPE_CHECKING:
    from torch import nn

InputShape = tuple[int, int, int]
Options = Mapping[str, int | float]


@dataclass(frozen=True)
class Architecture:
    """One network of the table; the module and the function that build it have its name.

    Parameters
    ----------
    branch
        Every option and its default in a branch. `width` is what the builder says: neurons, channels, or a factor of
        the published channels. An integer default wants an integer.
    full
        Those that differ in the conventional network. Without a `width` it is Q times as wide as a branch.
    what
        What it is, in a few words.
    """

    branch: Options
    full: Options
    what: str


MODELS: Mapping[str, Architecture] = {
    # Poster, MNIST: 8 layers of 49 neurons, 784 = 16·49 in the conventional network; long paper, 4.2: 28 and 28·28.
    "fc": Architecture({"depth": 8, "width": 49}, {}, "fully connected layers, the papers' for MNIST"),
    # Poster, CIFAR-10: 10 convolution layers, "the same layers" in the conventional network. The channels are ours.
    "conv": Architecture(
        {"depth": 10, "width": 32, "full_stages": 1},
        {"width": 32},
        "3x3 convolutions in three stages, the papers' for CIFAR-10",
    ),
    # Long paper, 4.2: 8 tensor layers of 28 lateral slices.
    "tnn": Architecture({"depth": 8, "width": 28}, {"width": 28}, "tensor layers, what the long paper compares with"),
    # Long paper, Table 3: these give the sizes of its branches and of its conventional networks.
    "alexnet": Architecture(
        {"width": 0.5, "last_map": 4, "grid": 2}, {"width": 1.0, "grid": 6}, "AlexNet (Krizhevsky et al. 2012)"
    ),
    "vgg16": Architecture(
        {"width": 0.72, "last_map": 4, "grid": 3, "batch_norm": 1},
        {"width": 1.0, "grid": 7},
        "VGG-16 with batch norm (Simonyan and Zisserman 2014)",
    ),
    "resnet34": Architecture({"width": 0.42, "last_map": 4}, {"width": 1.0}, "ResNet-34 (He et al. 2016)"),
    "cyclemlp": Architecture({"width": 0.45, "last_map": 4}, {"width": 1.0}, "CycleMLP-B2 (Chen et al. 2022)"),
    "mobilevit": Architecture(
        {"width": 0.42, "last_map": 4}, {"width": 1.0}, "MobileViT-XS (Mehta and Rastegari 2021)"
    ),
}

AUTO = "auto"
TIMM = "timm:"
SMALLEST_MAP_FOR_CONV = 8
MOST_LAYERS = 1000
"""Of a `depth`: more are built for minutes, or fill the memory, before anything could refuse them."""


def choose_model(name: str, input_shape: InputShape) -> str:
    """Return the name itself, or for `auto` what fits: `fc` for maps with a side under 8 pixels, otherwise `conv`.

    >>> choose_model("auto", (1, 7, 7)), choose_model("auto", (3, 16, 16)), choose_model("auto", (1, 28, 1))
    ('fc', 'conv', 'fc')
    """
    if name != AUTO:
        return name
    return "fc" if min(input_shape[1:]) < SMALLEST_MAP_FOR_CONV else "conv"


def require_model(name: str) -> None:
    """Refuse a name that is neither `auto`, nor in `MODELS`, nor `timm:NAME`.

    Raises
    ------
    InputError
        Listing what there is, the nearest name first.
    """
    if name.startswith(TIMM) or name in (AUTO, *MODELS):
        return
    names = ", ".join(nearest(name, (AUTO, *MODELS)))
    raise InputError(
        "unknown model", expected=f"one of {names}, timm:NAME", got=name, run="spectral-train --list-models"
    )


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names, those most like this one first.

    >>> nearest("momentm", ["lr", "momentum", "epochs"])
    ['momentum', 'epochs', 'lr']
    """
    return sorted(known, key=lambda each: (-difflib.SequenceMatcher(None, name, each).ratio(), each))


def branch_options(name: str, options: Options) -> dict[str, float]:
    """Return every option of a network: those given, the rest as in a branch.

    Raises
    ------
    InputError
        If the network has no such option, one that is counted is not a whole number, or layers are too many.

    >>> branch_options("conv", {"depth": 8})
    {'depth': 8, 'width': 32, 'full_stages': 1}
    """
    require_model(name)
    known = {} if name.startswith(TIMM) else MODELS[name].branch
    if unknown := sorted(set(options) - set(known)):
        raise InputError(
            f"model {name} has no such option",
            expected=", ".join(nearest(unknown[0], known)) or "none",
            got=", ".join(unknown),
            run="spectral-train --list-models",
        )
    for option, value in options.items():
        what, run = f"unusable {option} of model {name}", "spectral-train --list-models"
        if isinstance(known[option], int) and not float(value).is_integer():
            raise InputError(what, expected="a whole number", got=value, run=run)
        if option == "depth" and value > MOST_LAYERS:
            raise InputError(what, expected=f"at most {MOST_LAYERS} layers", got=value, run=run)
    return {**known, **{option: type(known[option])(value) for option, value in options.items()}}


def full_options(name: str, options: Options, q: int) -> dict[str, float]:
    """Return the options of the conventional network beside branches with these: as much wider as in the papers.

    >>> full_options("fc", {}, 16), full_options("conv", {"depth": 8}, 4)
    ({'depth': 8, 'width': 784}, {'depth': 8, 'width': 32, 'full_stages': 1})
    >>> full_options("alexnet", {"width": 0.25}, 4)
    {'width': 0.5, 'last_map': 4, 'grid': 6}
    """
    branch = branch_options(name, options)
    if name.startswith(TIMM):
        return branch
    usual, full = MODELS[name].branch["width"], MODELS[name].full
    width = branch["width"] * full.get("width", q * usual) / usual
    return {**branch, **full, **options, "width": type(usual)(width)}


def build(name: str, input_shape: InputShape, classes: int, **options: float) -> nn.Module:
    """Return a network by name, initialised from torch's global generator.

    Raises
    ------
    InputError
        If the name or one of the options is unknown or out of range, or the network cannot take maps of this size.

    >>> import torch
    >>> build("fc", (1, 7, 7), 10)(torch.zeros(5, 1, 7, 7)).shape
    torch.Size([5, 10])
    """
    complete = branch_options(name, options)
    if name.startswith(TIMM):
        from spectral_train.models.any_timm import any_timm

        return any_timm(input_shape, classes, name.removeprefix(TIMM).partition("@")[0])
    builder = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    return cast("nn.Module", builder(input_shape, classes, **complete))


def parameter_count(model: nn.Module) -> int:
    """Return the number of trained parameters.

    >>> parameter_count(build("fc", (1, 7, 7), 10, depth=2, width=49))
    2950
    """
    return sum(parameter.numel() for parameter in model.parameters())


def size_in_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters and buffers: the size of the network, as the long paper's tables give it."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
