import numpy as np
import pytest
import torch

from spectral_train.ensemble.combination import SPACES, Space
from spectral_train.ensemble.combiners import combine


def test_combination_in_both_spaces() -> None:
    one, two = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.2, 0.8]])
    outputs = [one.log(), two.log()]
    assert combine(outputs, [0.25, 0.75], "probabilities")[0].tolist() == pytest.approx([0.375, 0.625])
    product = np.array([0.9**0.25 * 0.2**0.75, 0.1**0.25 * 0.8**0.75])
    assert combine(outputs, [0.25, 0.75], "log-probabilities")[0].tolist() == pytest.approx(product / product.sum())


@pytest.mark.parametrize("space", SPACES)
def test_a_branch_of_no_weight_has_no_say_even_when_it_is_certain(space: Space) -> None:
    certain = torch.tensor([[0.0, -torch.inf]])
    outputs = [certain, torch.tensor([[0.3, 0.7]]).log()]
    assert combine(outputs, [0, 1], space)[0].tolist() == pytest.approx([0.3, 0.7])


def test_a_row_whose_every_class_is_ruled_out_by_some_branch_is_undecided() -> None:
    two = [
        torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]).log(),
        torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]).log(),
    ]
    assert combine(two, [0.5, 0.5]).tolist() == [[1 / 3] * 3, [0, 1, 0]]
