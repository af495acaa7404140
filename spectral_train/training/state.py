"""Everything that changes while a network trains, and how it becomes the tensors and the JSON of a checkpoint.

| | in the checkpoint |
|---|---|
| the network that is trained | `model.NAME` |
| the moving average of its weights, if the recipe has one | `ema.NAME` |
| the weights of the best epoch so far, if the recipe has patience | `best.NAME` |
| the optimizer's state | `optimizer.INDEX.KEY` |
| the scale of float16's losses | JSON, `scaler` |
| the metrics of the finished epochs | JSON, `history` |

A schedule has no state: the learning rate is a function of progress.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spectral_train.recipe.optimizers import OPTIMIZERS
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.metrics import EpochMetrics
from spectral_train.training.checkpoint import Content

Weights = dict[str, Tensor]
STEP = "step"
"""The state of Adam that is not of its weight's shape."""


@dataclass
class State:
    """The state of one training; it changes in place."""

    model: nn.Module
    averaged: nn.Module | None
    best: Weights | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    history: list[EpochMetrics]

    @classmethod
    def fresh(cls, model: nn.Module, recipe: Recipe, device: torch.device) -> State:
        """Return the state before the first step."""
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)
        averaged = copy.deepcopy(model).requires_grad_(False) if recipe.ema else None
        scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        return cls(model, averaged, None, OPTIMIZERS[recipe.optimizer](model, recipe), scaler, [])

    @property
    def scored(self) -> nn.Module:
        """The network whose outputs count: the average where there is one."""
        return self.model if self.averaged is None else self.averaged

    def average(self, decay: float, step: int) -> None:
        """Move the average towards the weights and buffers after a step, counted from 0.

        The decay grows to its value as (1 + step)/(10 + step), so that the start is soon forgotten. Counters of batches
        are copied.
        """
        if self.averaged is None:
            return
        share = 1 - min(decay, (1 + step) / (10 + step))
        theirs = self.model.state_dict()
        for name, ours in self.averaged.state_dict().items():
            if ours.is_floating_point():
                ours.lerp_(theirs[name], share)
            else:
                ours.copy_(theirs[name])

    def remember(self, metrics: EpochMetrics, patience: int) -> None:
        """Add a finished epoch; with patience its weights are kept if it is the best so far."""
        self.history.append(metrics)
        if patience and kept_epoch(self.history, patience) is metrics:
            self.best = {name: tensor.clone() for name, tensor in self.scored.state_dict().items()}

    def finish(self) -> None:
        """Give the network the weights that are kept: the best epoch's, else the average, else its own."""
        if self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.averaged is not None:
            self.model.load_state_dict(self.averaged.state_dict())

    def tensors(self) -> Weights:
        """Return the tensors of the checkpoint."""
        parts = {
            "model": self.model.state_dict(),
            "ema": {} if self.averaged is None else self.averaged.state_dict(),
            "best": self.best or {},
            "optimizer": {
                f"{index}.{key}": value
                for index, state in self.optimizer.state_dict()["state"].items()
                for key, value in state.items()
                if isinstance(value, Tensor)
            },
        }
        return {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}

    def content(self, plan: Mapping[str, Any]) -> Content:
        """Return the JSON of the checkpoint of a network with this plan, in its plain form."""
        return Content(plan, tuple(self.history), self.scaler.state_dict())

    def restore(self, tensors: Mapping[str, Tensor], content: Content) -> None:
        """Take up what `tensors` and `content` returned, in a fresh state of the same recipe.

        Raises
        ------
        RuntimeError, KeyError, TypeError, ValueError, IndexError
            If it is not that of such a state.
        """
        self.model.load_state_dict(_part(tensors, "model"))
        if self.averaged is not None:
            self.averaged.load_state_dict(_part(tensors, "ema"))
        self.best = _part(tensors, "best") or None
        self._restore_optimizer(_part(tensors, "optimizer"))
        if content.scaler:
            self.scaler.load_state_dict(dict(content.scaler))
        self.history = list(content.history)

    def _restore_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the optimizer its state, laid out in memory as the weights are: fused steps read both in that order.

        They look at no size, so each tensor has to be of its weight's, and none may be missing; `step` is one number.
        """
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        state: dict[int, Weights] = {}
        for name, tensor in tensors.items():
            index, key = name.split(".", 1)
            alike = torch.zeros(()) if key == STEP else torch.empty_like(weights[int(index)])
            if (tensor.shape, tensor.dtype) != (alike.shape, alike.dtype):
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}")
            state.setdefault(int(index), {})[key] = alike.copy_(tensor).detach()
        kept = {"momentum_buffer"} if isinstance(self.optimizer, torch.optim.SGD) else {STEP, "exp_avg", "exp_avg_sq"}
        if other := [index for index, own in state.items() if own.keys() != kept]:
            raise KeyError(f"the optimizer's state of weight {other[0]} has not {', '.join(sorted(kept))}")
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


def kept_epoch(history: Sequence[EpochMetrics], patience: int) -> EpochMetrics:
    """Return the epoch whose weights are kept: with patience the first of the lowest held-out loss, else the last."""
    return min(history, key=lambda epoch: epoch.held_out_loss) if patience else history[-1]


def exhausted(history: Sequence[EpochMetrics], patience: int) -> bool:
    """Whether so many epochs brought no lower held-out loss."""
    return bool(patience and history) and len(history) - kept_epoch(history, patience).epoch >= patience


def _part(tensors: Mapping[str, Tensor], part: str) -> Weights:
    return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
