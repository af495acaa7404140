import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral_prep.errors import InputError
from spectral_train.ensemble import schemes
from spectral_train.ensemble.combination import SPACES, Combination, Space, schemes_in
from spectral_train.ensemble.combiners import Weights, combine
from spectral_train.ensemble.schemes import (
    P_GRID,
    average_weights,
    best_weights,
    geometric_weights,
    loss_weights,
    order_by_loss,
    top_k_weights,
    weigh,
)
from spectral_train.run.outputs import BranchOutputs, accuracy, cross_entropy

LOSSES = [0.5, 0.25, 1.0]


def random_outputs(branches: int = 4, rows: int = 60, classes: int = 3, seed: int = 0) -> BranchOutputs:
    """Branches that know the labels the better the higher their number."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    logits = torch.randn(branches, rows, classes, generator=generator)
    logits += torch.arange(branches).view(-1, 1, 1) * torch.nn.functional.one_hot(labels, classes)
    return BranchOutputs(list(logits.log_softmax(2)), labels)


def test_weights_are_those_of_equation_2() -> None:
    assert average_weights(LOSSES).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert loss_weights(LOSSES).tolist() == pytest.approx([2 / 7, 4 / 7, 1 / 7])
    assert order_by_loss(LOSSES).tolist() == [2, 1, 3]
    assert geometric_weights(LOSSES, 0.5).tolist() == pytest.approx([0.25 / 0.875, 0.5 / 0.875, 0.125 / 0.875])
    assert best_weights(LOSSES).tolist() == [0, 1, 0]
    assert top_k_weights(LOSSES, 2).tolist() == [0.5, 0.5, 0]


@given(
    st.lists(st.floats(0, 50), min_size=1, max_size=20),
    st.floats(0.01, 1),
    st.integers(1, 20),
)
def test_weights_sum_to_one_and_never_prefer_a_worse_branch(losses: list[float], p: float, k: int) -> None:
    for weights in (
        average_weights(losses),
        loss_weights(losses),
        geometric_weights(losses, p),
        best_weights(losses),
        top_k_weights(losses, min(k, len(losses))),
    ):
        assert weights.sum() == pytest.approx(1)
        assert (weights >= 0).all()
        assert (np.diff(weights[np.argsort(losses, kind="stable")]) <= 1e-12).all()


def test_equal_losses_are_ordered_by_number() -> None:
    assert order_by_loss([1.0, 1.0, 0.5]).tolist() == [2, 3, 1]


@pytest.mark.parametrize("space", SPACES)
def test_the_ensemble_gives_probabilities(space: Space) -> None:
    held_out = random_outputs()
    for scheme in schemes_in(space):
        combiner = weigh(held_out, Combination(scheme, space))
        assert combiner.weights.sum() == pytest.approx(1)
        assert (combiner.weights >= 0).all()
        combined = combiner(held_out.log_probabilities)
        torch.testing.assert_close(combined.sum(1), torch.ones(60, dtype=torch.float64))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("rows_at_once", [7, 1000])
def test_p_and_k_are_the_best_on_the_held_out_rows(
    monkeypatch: pytest.MonkeyPatch, space: Space, rows_at_once: int
) -> None:
    """Of the highest accuracy the lowest loss; one branch is certain of all it says."""
    monkeypatch.setattr(schemes, "NUMBERS_AT_ONCE", 3 * rows_at_once)
    held_out = random_outputs()
    certain = torch.nn.functional.one_hot(held_out.log_probabilities[2].argmax(1), 3).float().log()
    held_out = BranchOutputs([*held_out.log_probabilities[:2], certain, held_out.log_probabilities[3]], held_out.labels)

    def merit(weights: Weights) -> tuple[float, float]:
        combined = combine(held_out.log_probabilities, weights, space)
        return accuracy(combined, held_out.labels), -cross_entropy(combined.log(), held_out.labels)

    geometric, top = (weigh(held_out, Combination(scheme, space)) for scheme in ("geometric", "top-k"))
    assert merit(geometric.weights) == max(merit(geometric_weights(held_out.losses, p)) for p in P_GRID)
    assert merit(top.weights) == max(merit(top_k_weights(held_out.losses, k)) for k in range(1, 5))
    assert geometric.weights.tolist() == geometric_weights(held_out.losses, geometric.settings["p"]).tolist()
    assert top.weights.tolist() == top_k_weights(held_out.losses, int(top.settings["k"])).tolist()


def test_a_given_p_or_k_is_used() -> None:
    held_out = random_outputs()
    geometric = weigh(held_out, Combination("geometric", p=0.5))
    assert geometric.weights.tolist() == geometric_weights(held_out.losses, 0.5).tolist()
    assert weigh(held_out, Combination("top-k", k=3)).settings == {"k": 3}


def test_a_p_or_k_out_of_range_is_refused() -> None:
    held_out = random_outputs()
    for p in (0.0, 1.5):
        with pytest.raises(InputError, match="unusable p"):
            weigh(held_out, Combination("geometric", p=p))
    for k in (0, 5):
        with pytest.raises(InputError, match="1 to 4"):
            weigh(held_out, Combination("top-k", k=k))
