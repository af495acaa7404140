"""The learning rate as a pure function of progress, so that a resumed run needs no schedule's state.

Input: a recipe and the progress, 0 (first step) to 1 (after the last). Output: the factor of its learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from spectral_train.recipe.recipe import Recipe

WARMUP_START = 0.01
"""Where a linear warm-up begins."""
CYCLE_PEAK, CYCLE_START, CYCLE_END = 0.3, 1 / 25, 1 / 25e4
"""When a cycle peaks, and its factors at both ends: those of torch's `OneCycleLR`."""


def factor(recipe: Recipe, progress: float) -> float:
    """Return the factor of the learning rate: a linear warm-up over `recipe.warmup`, then the schedule.

    >>> recipe = Recipe(schedule="cosine", warmup=0.1)
    >>> [round(factor(recipe, progress), 2) for progress in (0, 0.05, 0.1, 0.55, 1)]
    [0.01, 0.51, 1.0, 0.5, 0.0]
    """
    if progress < recipe.warmup:
        return _linear(WARMUP_START, 1, progress / recipe.warmup)
    return SCHEDULES[recipe.schedule](recipe, progress)


def _cosine(recipe: Recipe, progress: float) -> float:
    return _half_wave(1, 0, (progress - recipe.warmup) / (1 - recipe.warmup))


def _step(recipe: Recipe, progress: float) -> float:
    return recipe.gamma ** sum(progress >= milestone for milestone in recipe.milestones)


def _one_cycle(recipe: Recipe, progress: float) -> float:
    """Smith and Topin 2017, of the learning rate alone."""
    if progress < CYCLE_PEAK:
        return _half_wave(CYCLE_START, 1, progress / CYCLE_PEAK)
    return _half_wave(1, CYCLE_END, (progress - CYCLE_PEAK) / (1 - CYCLE_PEAK))


SCHEDULES: Mapping[str, Callable[[Recipe, float], float]] = {
    "constant": lambda recipe, progress: 1.0,
    "cosine": _cosine,
    "step": _step,
    "one-cycle": _one_cycle,
}


def _linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _half_wave(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
