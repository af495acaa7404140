"""How a branch is trained: everything that decides the weights, apart from the shard, in one frozen value.

Input: fields, or a recipe and what is to differ. Output: a `Recipe`, whose every value can be used. This module does
not import torch: `--help` lists the choices.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from spectral_prep.errors import InputError
from spectral_prep.system.limits import LARGEST_SEED
from spectral_train.models import AUTO, InputShape, Options, choose_model, require_model
from spectral_train.recipe.augmentation import Augmentation
from spectral_train.recipe.settings import LIST_SETTINGS, SETTINGS, Optimizer, Precision, Schedule

MOST_NOISE = 1000.0
"""Deviations of standardised inputs: far beyond any use, and a number that float32 has."""


@dataclass(frozen=True)
class Recipe:
    """All that is chosen about training one branch.

    Parameters
    ----------
    name
        Of the entry in `recipes.RECIPES` that it started from.
    model, model_options
        A name of `MODELS`, `timm:NAME` or `auto` (see `models.choose_model`), and that network's own options in a
        branch; the baseline's follow from them (`models.full_options`).
    optimizer, lr, momentum, weight_decay
        Momentum is SGD's alone.
    batch_size, epochs
        Rows a step; passes over the rows that are not held out.
    schedule, warmup, milestones, gamma
        Followed step by step (`schedules`). The warm-up is a fraction of the training, before any schedule but
        `one-cycle`, which has its own; `step` multiplies the rate by gamma at each milestone, a fraction too.
    clip
        Largest norm of the gradient of all weights together; 0 is no limit.
    ema
        Decay a step of the moving average of the weights, which is then what is scored and kept; 0 is none.
    patience
        Epochs without a lower held-out loss after which training stops; the best epoch's weights are then kept,
        stopped or not. 0 is never, and the last epoch's weights.
    noise
        Deviation of Gaussian noise added to the standardised inputs of training.
    augment
        What is done to training batches, for example "flip,shift=2,mixup=0.2" (see `augmentation.Augmentation`).
    label_smoothing
        Of the training loss, 0 to 1.
    holdout
        Fraction of the training rows that is held out.
    holdout_seed
        Which rows are held out. It is not `seed`: networks of several seeds are scored on the same rows.
    seed
        Of everything random, 0 to 2³²−1.
    precision
        `float32`, or `bfloat16` or (on CUDA) `float16` for autocast; weights stay float32.
    channels_last
        Keep maps and weights channels last in memory: often faster for convolutions.

    Raises
    ------
    InputError
        If a name or a number is not one of these.
    """

    name: str = "default"
    model: str = AUTO
    model_options: Options = field(default_factory=dict)
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.1
    batch_size: int = 128
    epochs: int = 40
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    clip: float = 0.0
    ema: float = 0.0
    patience: int = 0
    noise: float = 0.1
    augment: str = ""
    label_smoothing: float = 0.0
    holdout: float = 1 / 12
    holdout_seed: int = 0
    seed: int = 0
    precision: Precision = "float32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        require_model(self.model)
        Augmentation.parse(self.augment)
        for name, known in (
            ("optimizer", get_args(Optimizer)),
            ("schedule", get_args(Schedule)),
            ("precision", get_args(Precision)),
        ):
            if getattr(self, name) not in known:
                one = f"one of {', '.join(known)}"
                raise InputError(f"unknown {name}", expected=one, got=getattr(self, name), run=LIST_SETTINGS)
        for name, allowed in (
            ("lr", 0 < self.lr < math.inf),
            ("momentum", 0 <= self.momentum < 1),
            ("weight_decay", 0 <= self.weight_decay < math.inf),
            ("batch_size", self.batch_size >= 1),
            ("epochs", self.epochs >= 1),
            ("warmup", 0 <= self.warmup < 1),
            ("milestones", _ascending(self.milestones)),
            ("gamma", 0 < self.gamma <= 1),
            ("clip", 0 <= self.clip < math.inf),
            ("ema", 0 <= self.ema < 1),
            ("patience", self.patience >= 0),
            ("noise", 0 <= self.noise <= MOST_NOISE),
            ("label_smoothing", 0 <= self.label_smoothing < 1),
            ("holdout_seed", 0 <= self.holdout_seed <= LARGEST_SEED),
            ("holdout", 0 < self.holdout < 1),
            ("seed", 0 <= self.seed <= LARGEST_SEED),
        ):
            if not allowed:
                values, got = SETTINGS[name].values, getattr(self, name)
                raise InputError(f"unusable {name}", expected=values, got=got, run=LIST_SETTINGS)
        if self.warmup and self.schedule == "one-cycle":
            raise InputError("unusable warmup", expected="0: one-cycle begins with its own", got=self.warmup)
        if bool(self.milestones) != (self.schedule == "step"):
            raise InputError("unusable milestones", expected="some for schedule step, else none", got=self.milestones)


def _ascending(milestones: Sequence[float]) -> bool:
    return sorted({0.0, *milestones, 1.0}) == [0.0, *milestones, 1.0]


def override(recipe: Recipe, **given: Any) -> Recipe:
    """Return the recipe with the fields that are not None.

    Model options join those of the recipe; another model drops the options of a former named one first.

    Raises
    ------
    InputError
        If there is no such field or a value is unusable.
    """
    changes = {key: value for key, value in given.items() if value is not None}
    if unknown := set(changes) - {known.name for known in dataclasses.fields(Recipe)}:
        raise InputError("a recipe has no such field", got=", ".join(sorted(unknown)))
    keeps = recipe.model in (AUTO, changes.get("model", recipe.model))
    options = {**(recipe.model_options if keeps else {}), **changes.pop("model_options", {})}
    return dataclasses.replace(recipe, **changes, model_options=options)


def resolve(recipe: Recipe, input_shape: InputShape) -> Recipe:
    """Return the recipe with `auto` replaced by the network for inputs of this shape (C, h, w)."""
    return override(recipe, model=choose_model(recipe.model, input_shape))
