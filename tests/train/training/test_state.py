import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from spectral_prep.store.record_file import decoded, plain
from spectral_train.recipe.recipe import Recipe
from spectral_train.training.checkpoint import Content
from spectral_train.training.state import State, Weights


def test_the_average_is_that_of_its_definition() -> None:
    """Weights and running statistics after each step, by the recurrence; counters of batches are the network's."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    state = State.fresh(model, Recipe(ema=0.5), torch.device("cpu"))
    expected = {name: tensor.double() for name, tensor in copy.deepcopy(model.state_dict()).items()}
    for step in range(20):
        model(torch.randn(5, 3)).square().sum().backward()
        state.optimizer.step()
        state.average(0.5, step)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor
    expected["1.num_batches_tracked"] = torch.tensor(20.0)
    for name, tensor in state.scored.state_dict().items():
        torch.testing.assert_close(tensor.double(), expected[name].double())


def test_the_scale_of_float16_is_part_of_the_checkpoint() -> None:
    recipe = Recipe(precision="float16")
    state, again = (State.fresh(nn.Linear(2, 2), recipe, torch.device("cpu")) for _ in range(2))
    for batch in (torch.ones(1, 2), torch.full((1, 2), torch.inf)):  # the second halves the scale
        state.scaler.scale(state.model(batch).sum()).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
    content = json.loads(json.dumps(plain(state.content({}))))
    again.restore(state.tensors(), decoded(Content, content, Path(), "it"))
    assert again.scaler.state_dict() == state.scaler.state_dict()
    assert again.scaler.get_scale() == 2**15


CHANGED: dict[str, Callable[[Weights], Weights]] = {
    "too short": lambda tensors: {**tensors, "optimizer.0.exp_avg": torch.zeros(1)},
    "of another type": lambda tensors: {**tensors, "optimizer.0.exp_avg": torch.zeros(2, 2, dtype=torch.int64)},
    "several steps": lambda tensors: {**tensors, "optimizer.0.step": torch.zeros(2)},
    "missing": lambda tensors: {name: each for name, each in tensors.items() if name != "optimizer.0.exp_avg_sq"},
    "unknown": lambda tensors: {**tensors, "optimizer.0.momentum_buffer": torch.zeros(2, 2)},
    "of no weight": lambda tensors: {**tensors, "optimizer.9.exp_avg": torch.zeros(2, 2)},
}


@pytest.mark.parametrize("change", CHANGED)
def test_an_optimizer_takes_no_state_that_is_not_of_its_weights(change: str) -> None:
    """The fused steps look at no size: they would read and write beyond a tensor that is too short."""
    state, again = (State.fresh(nn.Linear(2, 2), Recipe(), torch.device("cpu")) for _ in range(2))
    state.model(torch.ones(1, 2)).sum().backward()
    state.optimizer.step()
    content = state.content({})
    again.restore(state.tensors(), content)
    with pytest.raises((KeyError, ValueError, IndexError)):
        again.restore(CHANGED[change](state.tensors()), content)
