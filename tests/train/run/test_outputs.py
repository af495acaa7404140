import numpy as np
import pytest
import torch

from spectral_train.run.outputs import BranchOutputs


def test_the_loss_is_the_mean_cross_entropy() -> None:
    probabilities = torch.tensor([[[0.5, 0.5], [0.2, 0.8]]])
    held_out = BranchOutputs(list(probabilities.log()), torch.tensor([0, 1]))
    assert held_out.losses.tolist() == pytest.approx([-(np.log(0.5) + np.log(0.8)) / 2])
