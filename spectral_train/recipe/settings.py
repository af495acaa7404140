"""What can be set of a recipe and of a model, each with what it means and the values that it takes.

Input: nothing. Output: `SETTINGS`, which the checks of a recipe quote and `spectral-train --list-settings` prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from spectral_prep.system.limits import LARGEST_SEED

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["constant", "cosine", "step", "one-cycle"]
Precision = Literal["float32", "bfloat16", "float16"]


LIST_SETTINGS = "spectral-train --list-settings"
"""What tells all of them."""


class Setting(NamedTuple):
    """The values that a setting takes, and what it means, in words."""

    values: str
    meaning: str


SETTINGS: Mapping[str, Setting] = {
    "model": Setting("see --list-models", "the network"),
    "optimizer": Setting(", ".join(get_args(Optimizer)), "what moves the weights"),
    "lr": Setting("more than 0", "learning rate, the highest of the schedule"),
    "momentum": Setting("0 to less than 1", "of sgd"),
    "weight_decay": Setting("0 or more", "decay of the weights a step; with adamw apart from the gradient"),
    "batch_size": Setting("1 or more", "rows a step"),
    "epochs": Setting("1 or more", "passes over the rows that are not held out"),
    "schedule": Setting(", ".join(get_args(Schedule)), "how the learning rate goes, step by step"),
    "warmup": Setting("0 to less than 1", "fraction of the training in which the rate rises; not with one-cycle"),
    "milestones": Setting(
        "ascending fractions of the training, 0 to 1", "where schedule=step multiplies the rate by gamma: 0.5,0.75"
    ),
    "gamma": Setting("more than 0, at most 1", "factor of schedule=step"),
    "clip": Setting("0 or more", "largest norm of the gradient; 0: no limit"),
    "ema": Setting("0 to less than 1", "decay of the moving average of the weights that is kept; 0: none"),
    "patience": Setting("0 or more", "epochs without a lower held-out loss before training stops; 0: never"),
    "noise": Setting("0 to 1000", "deviation of Gaussian noise added to standardised inputs"),
    "augment": Setting("names, see --help", "what is done to training batches: flip,shift=2,mixup=0.2"),
    "label_smoothing": Setting("0 to less than 1", "of the training loss"),
    "holdout": Setting("more than 0, less than 1", "fraction of the training rows that is held out"),
    "holdout_seed": Setting(f"0 to {LARGEST_SEED}", "which rows are held out"),
    "seed": Setting(f"0 to {LARGEST_SEED}", "of weights, order and noise"),
    "precision": Setting(
        ", ".join(get_args(Precision)), "of the arithmetic; weights stay float32; float16 on CUDA only"
    ),
    "channels_last": Setting("true, false", "keep maps channels last in memory: often faster for convolutions"),
}

MODEL_SETTINGS: Mapping[str, Setting] = {
    "width": Setting("more than 0", "neurons (fc, tnn), channels (conv), else a factor of the published channels"),
    "depth": Setting("1 or more; conv 3 or more", "layers, the last one included"),
    "last_map": Setting("1 or more", "side in pixels below which maps are not halved"),
    "grid": Setting("1 or more", "side of the grid to which the last maps are averaged"),
    "pretrained": Setting(
        "true, false, FILE.safetensors", "weights that a timm:NAME begins with; true: the hub's cache"
    ),
    "full_stages": Setting("1 to 3", "stages of conv, the first ones, before which maps are not halved"),
    "batch_norm": Setting("0 or 1", "batch normalisation behind each convolution"),
}
