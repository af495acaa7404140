"""How a branch is trained: everything that decides the weights, apart from the shard, in one frozen value.

Input: a name of `RECIPES` and the options that the user gave. Output: a `Recipe`. The figures of a named recipe
stand here and nowhere else; change them here. This module does not import torch: `--help` lists the recipes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from spectral_prep.errors import InputError
from spectral_train.models import AUTO, MODELS, InputShape, Options, choose_model, require_model
from spectral_train.recipe.augmentation import Augmentation

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["constant", "cosine", "step", "one-cycle"]
Precision = Literal["float32", "bfloat16", "float16"]
LARGEST_SEED = 2**32 - 1  # of numpy's RandomState, which chooses the held-out rows
SWITCH: Mapping[str, bool] = {"true": True, "false": False}


@dataclass(frozen=True)
class Recipe:
    """All that is chosen about training one branch.

    Parameters
    ----------
    name
        Of the entry in `RECIPES` that it started from.
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
                raise InputError(f"unknown {name}", expected=f"one of {', '.join(known)}", got=getattr(self, name))
        for name, allowed, expected in (
            ("lr", 0 < self.lr < math.inf, "more than 0"),
            ("momentum", 0 <= self.momentum < 1, "0 to less than 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("epochs", self.epochs >= 1, "1 or more"),
            ("warmup", 0 <= self.warmup < 1, "0 to less than 1"),
            ("warmup", not (self.warmup and self.schedule == "one-cycle"), "0: one-cycle begins with its own"),
            ("milestones", _ascending(self.milestones), "ascending fractions of the training, 0 to 1"),
            ("milestones", bool(self.milestones) == (self.schedule == "step"), "some for schedule step, else none"),
            ("gamma", 0 < self.gamma <= 1, "more than 0, at most 1"),
            ("clip", 0 <= self.clip < math.inf, "0 or more"),
            ("ema", 0 <= self.ema < 1, "0 to less than 1"),
            ("patience", self.patience >= 0, "0 or more"),
            ("noise", 0 <= self.noise < math.inf, "0 or more"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "0 to less than 1"),
            ("holdout_seed", 0 <= self.holdout_seed <= LARGEST_SEED, f"0 to {LARGEST_SEED}"),
            ("holdout", 0 < self.holdout < 1, "more than 0, less than 1"),
            ("seed", 0 <= self.seed <= LARGEST_SEED, f"0 to {LARGEST_SEED}"),
        ):
            if not allowed:
                raise InputError(f"unusable {name}", expected=expected, got=getattr(self, name))


def _ascending(milestones: Sequence[float]) -> bool:
    return sorted({0.0, *milestones, 1.0}) == [0.0, *milestones, 1.0]


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(),
        # Poster: Adam 1e-3, batch 128, 8 layers of 49 neurons. It gives neither epochs nor schedule nor noise: ours,
        # chosen on held-out rows.
        Recipe(
            name="poster-mnist",
            model="fc",
            model_options={"depth": 8, "width": 49},
            optimizer="adam",
            weight_decay=0.0,
            noise=0.2,
        ),
        # Poster: Adam 1e-3, batch 128, 10 convolution layers. Channels, epochs, schedule and noise are ours.
        Recipe(
            name="poster-cifar10",
            model="conv",
            model_options={"depth": 10, "width": 32},
            optimizer="adam",
            weight_decay=0.0,
            epochs=20,
        ),
        # Long paper, section 4.2: 8 layers of 28 neurons (MNIST, Q = 28), Adam 0.01, batch 64. Epochs are ours. For
        # CIFAR-10 at Q = 32 the layers have 32: --set width=32.
        Recipe(
            name="paper-fc",
            model="fc",
            model_options={"depth": 8, "width": 28},
            optimizer="adam",
            lr=0.01,
            batch_size=64,
            schedule="constant",
            weight_decay=0.0,
            noise=0.0,
        ),
        # Long paper, section 4.2, the baseline [51]: 8 tensor layers of 28 slices, Adam 0.01, batch 64; it sees whole
        # images: --baseline. Epochs are ours. For CIFAR-10: --set width=32.
        Recipe(
            name="paper-tnn-mnist",
            model="tnn",
            model_options={"depth": 8, "width": 28},
            optimizer="adam",
            lr=0.01,
            batch_size=64,
            schedule="constant",
            weight_decay=0.0,
            noise=0.0,
        ),
        # Long paper, section 4.2: 8 convolution layers, Adam 0.01, batch 64; Q = 4. Its "C = 16" channels and the 33 MB
        # of its Table 2 contradict each other: the channels are those of poster-cifar10, as are epochs and schedule.
        Recipe(
            name="paper-conv-cifar10",
            model="conv",
            model_options={"depth": 8, "width": 32},
            optimizer="adam",
            lr=0.01,
            batch_size=64,
            weight_decay=0.0,
            epochs=20,
            noise=0.0,
        ),
        # Long paper, section 4.3, for all five: lr 0.01, batch 128; Q = 16 in 4 shards. It names no optimizer, no
        # epochs, schedule or decay. Those of AlexNet, VGG-16 and ResNet-34 are from their own papers ([18], [53], [54]:
        # SGD with momentum 0.9, about 90 epochs, the rate divided by 10 as it stalls).
        *(
            Recipe(
                name=f"paper-{model}-imagenet",
                model=model,
                optimizer="sgd",
                lr=0.01,
                batch_size=128,
                weight_decay=decay,
                epochs=90,
                schedule="step",
                milestones=(1 / 3, 2 / 3),
                noise=0.0,
            )
            for model, decay in (("alexnet", 5e-4), ("vgg16", 5e-4), ("resnet34", 1e-4))
        ),
        # The papers of CycleMLP and MobileViT ([55], [56]) use AdamW at rates of 0.001 and 0.002, which 0.01 does not
        # suit: SGD here too, a limit to the gradient, and of their papers 300 epochs, cosine, label smoothing, a
        # warm-up (5 epochs; 3000 of 375,000 steps), MobileViT's averaging, and a decay of the same rate · decay.
        *(
            Recipe(
                name=f"paper-{model}-imagenet",
                model=model,
                optimizer="sgd",
                lr=0.01,
                batch_size=128,
                weight_decay=decay,
                epochs=300,
                warmup=warmup,
                noise=0.0,
                label_smoothing=0.1,
                ema=ema,
                clip=1.0,
            )
            for model, decay, warmup, ema in (("cyclemlp", 5e-3, 1 / 60, 0.0), ("mobilevit", 2e-3, 0.008, 0.9995))
        ),
    )
}

OPTIONS = ("model", "optimizer", "lr", "batch_size", "epochs", "augment", "seed")
"""What the command line has an option of its own for; the rest goes through `--set`."""


def named(name: str, **given: Any) -> Recipe:
    """Return a recipe of `RECIPES` with the options that were given.

    >>> named("poster-mnist", epochs=5, lr=None).epochs
    5
    """
    if name not in RECIPES:
        raise InputError("unknown recipe", expected=f"one of {', '.join(RECIPES)}", got=name)
    return override(RECIPES[name], **given)


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


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return the fields that `NAME=VALUE` texts give a recipe; options of models go into `model_options`.

    Raises
    ------
    InputError
        If there is no such name, or the value is not of its type; the message lists the names.

    >>> parse_settings(["schedule=step", "milestones=0.5,0.75", "channels_last=true", "width=0.25"])
    {'schedule': 'step', 'milestones': (0.5, 0.75), 'channels_last': True, 'model_options': {'width': 0.25}}
    """
    fields = {known.name: known.default for known in dataclasses.fields(Recipe)}
    fields = {name: default for name, default in fields.items() if name not in ("name", "model_options")}
    options = {name for model in MODELS.values() for name in model.branch}
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in {*fields, *options}:
            names = ", ".join(sorted({*fields, *options}))
            raise InputError("no such setting", expected=f"NAME=VALUE, NAME one of {names}", got=setting)
        try:
            if name in fields:
                parsed[name] = _parsed(text, fields[name])
            else:
                parsed.setdefault("model_options", {})[name] = float(text)
        except (ValueError, KeyError) as error:
            usual = fields.get(name, 1.0)
            raise InputError(f"unusable {name}", expected=f"a value such as {_text(usual)!r}", got=text) from error
    return parsed


def resolve(recipe: Recipe, input_shape: InputShape) -> Recipe:
    """Return the recipe with `auto` replaced by the network for inputs of this shape (C, h, w)."""
    return override(recipe, model=choose_model(recipe.model, input_shape))


def command_options(recipe: Recipe) -> str:
    """Return the options of `spectral-train` that give this recipe again.

    >>> command_options(named("poster-mnist", epochs=5, ema=0.99))
    '--recipe poster-mnist --epochs 5 --set ema=0.99'
    """
    origin = RECIPES.get(recipe.name, Recipe())
    options = [] if recipe.name == Recipe().name else ["--recipe", recipe.name]
    for name in OPTIONS:
        if getattr(recipe, name) != getattr(origin, name):
            options += [f"--{name.replace('_', '-')}", str(getattr(recipe, name))]
    rest = [known.name for known in dataclasses.fields(Recipe) if known.name not in ("name", "model_options", *OPTIONS)]
    changed = {name: getattr(recipe, name) for name in rest if getattr(recipe, name) != getattr(origin, name)}
    usual = override(origin, model=recipe.model).model_options
    changed |= {name: value for name, value in recipe.model_options.items() if usual.get(name) != value}
    return " ".join([*options, *(f"--set {name}={_text(value)}" for name, value in changed.items())])


def _parsed(text: str, default: object) -> object:
    if isinstance(default, bool):
        return SWITCH[text]
    if isinstance(default, tuple):
        return tuple(float(part) for part in text.split(",") if part)
    return type(default)(text)  # type: ignore[call-arg]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return next(text for text, meant in SWITCH.items() if meant is value)
    return ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)
