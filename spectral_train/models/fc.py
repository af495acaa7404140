"""The papers' fully connected network: poster, MNIST ("8 fully connected layers", 49 neurons); long paper, 4.2."""

from __future__ import annotations

import itertools
import math

from torch import nn

from spectral_prep.errors import InputError


def fc(input_shape: tuple[int, int, int], classes: int, *, depth: int, width: int) -> nn.Sequential:
    """Return `depth` linear layers, the output layer included, with ReLU between them and `width` hidden neurons.

    Weights start orthogonal, at gain √2 before a ReLU (Saxe et al. 2014): eight narrow layers learn better so.

    Raises
    ------
    InputError
        If depth or width is less than 1.

    >>> sum(isinstance(layer, nn.Linear) for layer in fc((1, 7, 7), 10, depth=8, width=49))
    8
    """
    if depth < 1 or width < 1:
        raise InputError("unusable fc network", expected="depth ≥ 1 and width ≥ 1", got=f"{depth} and {width}")
    sizes = [math.prod(input_shape), *[width] * (depth - 1), classes]
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(sizes[0], sizes[1])]
    for inputs, outputs in itertools.pairwise(sizes[1:]):
        layers += [nn.ReLU(), nn.Linear(inputs, outputs)]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, 1.0 if layer is layers[-1] else math.sqrt(2))
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
