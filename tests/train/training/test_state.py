import copy
import json
from pathlib import Path

import torch
from torch import nn

from spectral_prep.store.record_file import decoded, plain
from spectral_train.recipe.recipe import Recipe
from spectral_train.training.checkpoint import Content
from spectral_train.training.state import State


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
