"""The weights of a finished network, and the network that they belong to.

Input: the plan of a network, from its record. Output: a module: with the weights that `model.safetensors` holds, or
fresh ones. Training, soups and the ensemble build their networks here and nowhere else.
"""

from __future__ import annotations

import safetensors.torch
from torch import Tensor, nn

from spectral_train.models import build
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.record import NetworkPlan


def build_network(plan: NetworkPlan) -> nn.Module:
    """Return the network of a plan, initialised from torch's global generator."""
    return build(plan.recipe.model, plan.input_shape, len(plan.classes), **plan.recipe.model_options)


def read_weights(paths: NetworkPaths) -> dict[str, Tensor]:
    """Return the weights and buffers of a finished network; `read_network` has proved their file whole."""
    return safetensors.torch.load_file(paths.model)


def load_model(plan: NetworkPlan, paths: NetworkPaths) -> nn.Module:
    """Return a finished network ready for use on the CPU; `read_network` has proved its file whole."""
    model = build_network(plan)
    model.load_state_dict(read_weights(paths))
    return model.eval()
