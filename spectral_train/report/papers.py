"""What the two papers report, as they print it: the figures that a report sets beside a run's.

Input: the name of a recipe and of a data set. Output: the results that were published for it. Where a paper
contradicts itself (Table 3 of the long paper is the number of two tables, and its MNIST text says 98.36 % where the
table says 99.01 %), the table is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spectral_prep.errors import InputError
from spectral_train.recipe.recipes import IMAGENET_MODELS

OURS: Mapping[str, str] = {f"imagenet-{model}": f"paper-{model}-imagenet" for model in IMAGENET_MODELS}
"""Recipes of ours for what a paper trained, and the paper's."""

POSTER = "poster"
LONG = "long paper"
DGX = "DGX-2: two 64-core AMD CPUs, 8 NVIDIA A100"


@dataclass(frozen=True)
class Published:
    """One network on one data set: accuracies as fractions, sizes in MB, times in hours; None is not printed.

    `schemes` are accuracies by our names of the papers' schemes: its "weighted sum" is `loss`, "select-the-best"
    `best`; `ensemble` is the poster's one. `setting` is what the paper says of the training, as (word, value).
    """

    recipe: str
    dataset: str
    source: str
    baseline: float
    schemes: Mapping[str, float] = field(default_factory=dict)
    ensemble: float | None = None
    mean: float | None = None
    highest: float | None = None
    baseline_mb: float | None = None
    ensemble_mb: float | None = None
    best_mb: float | None = None
    baseline_hours: float | None = None
    ensemble_hours: float | None = None
    setting: Mapping[str, str] = field(default_factory=dict)

    @property
    def quoted(self) -> float | None:
        """The ensemble's accuracy: the poster's, or that of the long paper's best scheme."""
        return self.schemes.get("geometric") if self.ensemble is None else self.ensemble

    @property
    def compression(self) -> float | None:
        """Size of the conventional network over that of the whole spectral network."""
        return _ratio(self.baseline_mb, self.ensemble_mb)

    @property
    def compression_best(self) -> float | None:
        """The same for select-the-best, which keeps one branch."""
        return _ratio(self.baseline_mb, self.best_mb)

    @property
    def speedup(self) -> float | None:
        """Training time of the conventional network over that of all branches in parallel."""
        return _ratio(self.baseline_hours, self.ensemble_hours)


def published(recipe: str, dataset: str) -> tuple[Published, ...]:
    """Return the results of a recipe on this data set; where there are none, those on the papers' own.

    >>> [found.source for found in published("paper-fc", "cifar10")]
    ['long paper, Table 3 (small data sets)']
    """
    of_recipe = tuple(found for found in PUBLISHED if found.recipe == OURS.get(recipe, recipe))
    return tuple(found for found in of_recipe if found.dataset == dataset) or of_recipe


@dataclass(frozen=True)
class Bounds:
    """Table 1 of the long paper, orders without their constants: for all branches, and for select-the-best."""

    formula: tuple[str, str]
    compression: tuple[float, float]
    speedup: float

    @classmethod
    def of(cls, model: str, inputs: int, neurons: int, branches: int) -> Bounds:
        """Return those of a network with so many inputs and at most so many neurons a layer in each branch.

        >>> Bounds.of("fc", inputs=49, neurons=49, branches=16).compression
        (8.0, 128.0)
        """
        if min(inputs, neurons, branches) < 1:
            raise InputError("no network has none", got=f"{inputs} inputs, {neurons} neurons, {branches} branches")
        if model in ("fc", "tnn"):
            ratio = inputs * branches / (2 * neurons)
            return cls(("nQ/2r", "nQ²/2r"), (ratio, ratio * branches), branches)
        return cls(("B", "B²"), (branches, branches**2), branches)


def _ratio(over: float | None, under: float | None) -> float | None:
    return None if over is None or under is None else over / under


_POSTER_ADAM = {"optimizer": "adam", "learning rate": "0.001", "batch size": "128", "epochs": "not given"}
_LONG_SMALL = {"optimizer": "adam", "learning rate": "0.01", "batch size": "64", "epochs": "not given", "hardware": DGX}
_LONG_IMAGENET = {
    "optimizer": "not given",
    "learning rate": "0.01",
    "batch size": "128",
    "epochs": "not given",
    "hardware": DGX,
}
_MNIST = {"data set": "MNIST", "training rows": "60,000", "test rows": "10,000"}
_CIFAR = {"data set": "CIFAR-10", "training rows": "50,000", "test rows": "10,000"}
_IMAGENET = {"data set": "ImageNet-1K", "training rows": "1,281,167", "test rows": "50,000"}
_IMAGENET_21K = {"data set": "ImageNet-21K", "training rows": "ten times ImageNet-1K", "test rows": "not given"}


def _schemes(average: float, loss: float, geometric: float, best: float | None = None) -> dict[str, float]:
    percent = {"average": average, "loss": loss, "geometric": geometric, "best": best}
    return {name: value / 100 for name, value in percent.items() if value is not None}


def _large(
    recipe: str,
    table: int,
    baseline: tuple[float, float, float],
    schemes: tuple[float, float, float, float],
    spectral: tuple[float, float, float],
) -> Published:
    """Return one architecture of Table 3 or 4: (accuracy, MB, hours) and (MB, MB of the best, hours)."""
    larger = table == 4
    return Published(
        recipe,
        "imagenet21k" if larger else "imagenet",
        f"{LONG}, Table {table} (ImageNet-{'21K' if larger else '1K'})",
        baseline[0] / 100,
        _schemes(*schemes),
        baseline_mb=baseline[1],
        ensemble_mb=spectral[0],
        best_mb=spectral[1],
        baseline_hours=baseline[2],
        ensemble_hours=spectral[2],
        setting={**(_IMAGENET_21K if larger else _IMAGENET), **_LONG_IMAGENET},
    )


PUBLISHED: tuple[Published, ...] = (
    Published(
        "poster-mnist",
        "mnist",
        f"{POSTER}, Table 1",
        0.9871,
        mean=0.8274,
        highest=0.9632,
        ensemble=0.9836,
        setting={**_MNIST, **_POSTER_ADAM, "hardware": "not given"},
    ),
    Published(
        "poster-cifar10",
        "cifar10",
        f"{POSTER}, Table 1",
        0.9186,
        mean=0.8167,
        highest=0.8554,
        ensemble=0.8964,
        setting={**_CIFAR, **_POSTER_ADAM, "hardware": "not given"},
    ),
    Published(
        "paper-fc",
        "mnist",
        f"{LONG}, Table 3 (small data sets)",
        0.9871,
        _schemes(97.43, 98.02, 99.01),
        setting={**_MNIST, **_LONG_SMALL},
    ),
    Published(
        "paper-fc",
        "cifar10",
        f"{LONG}, Table 3 (small data sets)",
        0.5919,
        _schemes(47.24, 48.13, 48.33),
        setting={**_CIFAR, **_LONG_SMALL},
    ),
    Published(
        "paper-conv-cifar10",
        "cifar10",
        f"{LONG}, Table 2",
        0.9207,
        _schemes(97.25, 98.81, 99.95, 97.25),
        baseline_mb=203,
        ensemble_mb=125,
        best_mb=33,
        baseline_hours=6.2,
        ensemble_hours=2.7,
        setting={**_CIFAR, **_LONG_SMALL},
    ),
    _large("paper-alexnet-imagenet", 3, (63.44, 244, 40.8), (61.26, 58.01, 62.26, 56.45), (130, 32, 31.9)),
    _large("paper-vgg16-imagenet", 3, (71.25, 527, 81.7), (67.39, 69.57, 72.62, 68.66), (436, 112, 64.0)),
    _large("paper-resnet34-imagenet", 3, (74.90, 83, 76.4), (70.68, 73.66, 74.11, 72.19), (69, 15, 50.3)),
    _large("paper-cyclemlp-imagenet", 3, (83.23, 103, 93.6), (78.80, 77.54, 83.20, 72.45), (76, 22, 60.4)),
    _large("paper-mobilevit-imagenet", 3, (72.90, 9, 192.4), (70.99, 71.22, 72.06, 72.10), (7, 2, 137.2)),
    _large("paper-alexnet-imagenet", 4, (54.52, 289, 42.9), (50.44, 49.54, 53.35, 48.99), (156, 41, 32.7)),
    _large("paper-vgg16-imagenet", 4, (60.66, 592, 82.8), (56.88, 58.62, 61.99, 59.31), (472, 132, 65.9)),
    _large("paper-resnet34-imagenet", 4, (63.81, 103, 80.1), (61.98, 62.33, 63.56, 61.25), (76, 19, 56.2)),
    _large("paper-cyclemlp-imagenet", 4, (74.56, 135, 97.2), (69.23, 67.88, 72.45, 63.11), (82, 26, 63.9)),
    _large("paper-mobilevit-imagenet", 4, (63.79, 13, 199.5), (58.11, 60.67, 62.35, 61.56), (9, 2, 143.9)),
)
