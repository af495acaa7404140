"""The optimizers by name, each from a recipe; torch's own, fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from spectral_train.recipe.recipe import Recipe


def _adam(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def _sgd(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


def _adamw(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Decay weights alone: biases and norms have one dimension."""
    groups = [
        {"params": [each for each in model.parameters() if (each.ndim > 1) == decays], "weight_decay": decay}
        for decays, decay in ((True, recipe.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


OPTIMIZERS: Mapping[str, Callable[[nn.Module, Recipe], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}
