"""Any network of timm by its name there, as it is published: no option, no stem for small maps.

It begins untrained, or with weights from a file (`pretrained`); it never asks the internet for any. Vision
transformers are built for the size of the map.
"""

from __future__ import annotations

import copy
import difflib
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

from spectral_prep.errors import InputError

TRIED_ROWS = 2


def any_timm(input_shape: tuple[int, int, int], classes: int, name: str, weights: Path | None = None) -> nn.Module:
    """Return timm's network of that name for inputs of this shape, with these weights or untrained.

    Raises
    ------
    InputError
        If timm has no such network, or it cannot take maps of this size: it is tried on two rows, on torch's `meta`
        device, which costs no memory. Also if the weights are not its own.

    >>> any_timm((3, 32, 32), 10, "resnet18").get_classifier()
    Linear(in_features=512, out_features=10, bias=True)
    """
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.3)
        raise InputError("timm has no such model", expected=", ".join(f"timm:{each}" for each in near), got=name)
    options: dict[str, Any] = {"pretrained": False, "in_chans": input_shape[0], "num_classes": classes}
    if weights is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights), "custom_load": False}}
    try:
        try:
            network = timm.create_model(name, **options, img_size=input_shape[1:])
        except TypeError:  # most networks take any size and have no such option
            network = timm.create_model(name, **options)
        tried = copy.deepcopy(network).to("meta").train()(torch.empty(TRIED_ROWS, *input_shape, device="meta"))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        if weights is not None and "state_dict" in str(error):
            raise InputError(f"the weights are not those of timm:{name}", where=weights, got=error) from error
        raise InputError(
            f"timm:{name} cannot take these maps",
            expected="a network for small images",
            got=f"{input_shape[0]} channels of {input_shape[1]}x{input_shape[2]}: {error}",
        ) from error
    if tried.shape != (TRIED_ROWS, classes):
        raise InputError(f"timm:{name} does not classify", expected=(TRIED_ROWS, classes), got=tuple(tried.shape))
    if weights is not None:
        _require_its_own(network, weights, name)
    return network


def _require_its_own(network: nn.Module, weights: Path, name: str) -> None:
    """Refuse weights that lack some of the network's: timm would leave those as they were."""
    config: Any = network.default_cfg
    classifier = config.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    with safetensors.safe_open(weights, "pt") as file:
        lacking = network.state_dict().keys() - set(file.keys())
    if lacking := {each for each in lacking if each.rpartition(".")[0] not in heads}:
        raise InputError(f"the weights are not those of timm:{name}", where=weights, got=f"no {min(lacking)}")
