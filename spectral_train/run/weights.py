"""The weights of a finished network, and the network that they belong to.

Input: the plan of a network, from its record. Output: a module: with the weights that `model.safetensors` holds, or
fresh ones. Training, soups and the ensemble build their networks here and nowhere else.

A run may come from anybody. `read_network` has proved the file whole and the plan no deeper than the file; here every
tensor's name, shape and dtype is held against the plan, on torch's meta device, before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from spectral_prep.errors import CorruptFileError, InputError, SpectralError
from spectral_prep.places import on_disk
from spectral_train.models import TIMM, build
from spectral_train.models.pretrained import MARK, weights_of
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.record import NetworkPlan, train_again

LONGEST_REASON = 200


def build_network(plan: NetworkPlan) -> nn.Module:
    """Return the network of a plan, initialised from torch's global generator."""
    return build(plan.recipe.model, plan.input_shape, len(plan.classes), **plan.recipe.model_options)


def first_network(plan: NetworkPlan) -> nn.Module:
    """Return the network of a plan as training begins with it: initialised, or pretrained where the plan says so."""
    model = plan.recipe.model
    if (weights := weights_of(model)) is None:
        return build_network(plan)
    from spectral_train.models.any_timm import any_timm

    name = model.removeprefix(TIMM).partition(MARK)[0]
    return any_timm(plan.input_shape, len(plan.classes), name, weights)


def shape_network(plan: NetworkPlan) -> nn.Module:
    """Return the network of a plan without memory: its tensors lie on torch's meta device.

    Raises
    ------
    InputError
        If there is no such network, or it would be larger than numbers of bytes can be.
    """
    try:
        with torch.device("meta"):
            model = build_network(plan)
    except (RuntimeError, OverflowError) as error:
        raise InputError(
            f"the network of {plan.name} cannot be built: its layers are too large",
            got=", ".join(f"{name}={value:g}" for name, value in plan.recipe.model_options.items()) or error,
            run="the same command with a smaller --set width=…",
        ) from error
    return model.to("meta").eval()  # constants that came from numpy are still in memory


def read_weights(plan: NetworkPlan, paths: NetworkPaths) -> dict[str, Tensor]:
    """Return the weights and buffers of a finished network.

    Raises
    ------
    CorruptFileError
        If they are not those of a network of this plan, or are not finite.
    """
    weights = safetensors.torch.load_file(on_disk(paths.model))
    try:
        difference = _difference(shape_network(plan).state_dict(), weights)
    except (SpectralError, TypeError, ValueError, RuntimeError, OverflowError) as error:  # sizes that no tensor has
        difference = f"a plan of no network: {str(error).partition(chr(10))[0]:.{LONGEST_REASON}}"
    if difference:
        raise CorruptFileError(
            f"the weights are not those of {plan.name}", where=paths.model, got=difference, run=train_again(paths)
        )
    return weights


def load_model(plan: NetworkPlan, paths: NetworkPaths) -> nn.Module:
    """Return a finished network ready for use on the CPU; raises what `read_weights` does."""
    weights = read_weights(plan, paths)
    model = build_network(plan)
    model.load_state_dict(weights)
    return model.eval()


def _difference(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> str | None:
    for name in sorted(expected.keys() | got.keys()):
        if name not in got or name not in expected:
            return f"{name} is {'missing' if name in expected else 'not part of it'}"
        if _form(got[name]) != _form(expected[name]):
            return f"{name} is {_form(got[name])}, expected {_form(expected[name])}"
        if not got[name].isfinite().all():
            return f"{name} is not finite"
    return None


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return str(tensor.dtype).removeprefix("torch."), *tensor.shape
