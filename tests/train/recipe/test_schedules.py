import math
from typing import get_args

import pytest
import torch

from spectral_train.recipe.optimizers import OPTIMIZERS
from spectral_train.recipe.recipe import Recipe, override
from spectral_train.recipe.schedules import SCHEDULES, factor
from spectral_train.recipe.settings import Optimizer, Schedule


def test_every_name_has_its_optimizer_and_its_schedule() -> None:
    assert set(OPTIMIZERS) == set(get_args(Optimizer))
    assert set(SCHEDULES) == set(get_args(Schedule))


def curve(*at: float, **fields: object) -> list[float]:
    return [factor(override(Recipe(), **fields), progress) for progress in at]


def test_schedules() -> None:
    assert curve(0, 0.5, 1, schedule="constant") == [1, 1, 1]
    assert curve(0, 0.5, 1, schedule="cosine") == pytest.approx([1, 0.5, 0])
    assert curve(0, 0.05, 0.1, 0.55, 1, schedule="cosine", warmup=0.1) == pytest.approx([0.01, 0.505, 1, 0.5, 0])
    steps = curve(0, 0.49, 0.5, 0.75, 1, schedule="step", milestones=(0.5, 0.75), gamma=0.2)
    assert steps == pytest.approx([1, 1, 0.2, 0.04, 0.04])
    assert curve(0.1, 0.2, schedule="step", milestones=(0.5,), warmup=0.2) == pytest.approx([0.505, 1])


def test_one_cycle_is_torchs() -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1, total_steps=101, cycle_momentum=False)
    for step in range(100):
        peak = 0.3 * 101 - 1  # torch counts to the last step, and its peak comes one step early
        progress = 0.3 * step / peak if step < peak else 0.3 + 0.7 * (step - peak) / (100 - peak)
        assert curve(progress, schedule="one-cycle") == pytest.approx(theirs.get_last_lr())
        optimizer.step()
        theirs.step()
    assert curve(1, schedule="one-cycle") == pytest.approx([1 / 25e4])
    assert math.isclose(max(curve(*(step / 100 for step in range(101)), schedule="one-cycle")), 1)
