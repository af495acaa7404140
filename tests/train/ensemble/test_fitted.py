from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from threadpoolctl import threadpool_info

from spectral_prep.system.threads import blas_threads
from spectral_train.ensemble.combiners import Combiner, combine
from spectral_train.ensemble.fitted import MOST_VALUES, learned, stacked
from spectral_train.ensemble.schemes import average_weights
from spectral_train.run.outputs import BranchOutputs, accuracy, cross_entropy

Fit = Callable[[BranchOutputs], Combiner]


def outputs(strengths: list[float], rows: int, classes: int = 4, seed: int = 0, sure: float = 1.0) -> BranchOutputs:
    """Independent branches whose knowledge of the labels has these strengths, 0 for none; `sure` exaggerates."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    truth = torch.nn.functional.one_hot(labels, classes)
    noise = torch.randn(len(strengths), rows, classes, generator=generator)
    knowledge = torch.tensor(strengths).view(-1, 1, 1)
    # The posterior of a class given noise + strength · truth is softmax(strength · evidence).
    return BranchOutputs(list((sure * knowledge * (noise + knowledge * truth)).log_softmax(2)), labels)


def loss(combiner: Combiner, rows: BranchOutputs) -> float:
    return cross_entropy(combiner(rows.log_probabilities).log(), rows.labels)


def test_the_pool_finds_the_weights_that_bayes_gives_independent_branches() -> None:
    pool = learned(outputs([1.5, 1.0, 0.0, 0.5], 6000))
    sums = pool.weights / pool.settings["temperature"]  # evidence of independent branches adds up: each weighs 1
    assert sums[[0, 1, 3]] == pytest.approx([1, 1, 1], abs=0.15)


@pytest.mark.parametrize("fit", [learned, stacked])
def test_few_numbers_are_fitted_on_one_thread_and_blas_has_its_own_again(
    fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blas() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    seen, minimize = [], scipy.optimize.minimize

    def watched(*given: Any, **named: Any) -> Any:
        seen.append(blas())
        return minimize(*given, **named)

    monkeypatch.setattr(scipy.optimize, "minimize", watched)
    with blas_threads(2):
        before = blas()
        fit(outputs([1.0, 0.5], 40))
        assert blas() == before == {2}
    assert seen
    assert all(each == {1} for each in seen)


def test_a_temperature_undoes_exaggeration() -> None:
    pool = learned(outputs([1.0, 1.0], 6000, sure=5))
    assert pool.settings["temperature"] == pytest.approx(2.5, rel=0.1)


@pytest.mark.parametrize("fit", [learned, stacked])
def test_few_rows_do_not_overfit(fit: Fit) -> None:
    fresh = outputs([1.0] * 8, 4000, seed=99)
    average = cross_entropy(combine(fresh.log_probabilities, average_weights(np.ones(8))).log(), fresh.labels)
    losses = [loss(fit(outputs([1.0] * 8, 24, seed=seed)), fresh) for seed in range(4)]
    assert max(losses) < average


def test_the_stack_learns_which_class_a_branch_sees() -> None:
    def half_blind(seed: int) -> BranchOutputs:
        """Branch 0 knows classes 0 and 1 alone, branch 1 classes 2 and 3."""
        rows = outputs([2.0, 2.0], 3000, seed=seed)
        scores = torch.stack(list(rows.log_probabilities))
        generator = torch.Generator().manual_seed(seed + 1)
        scores[0, :, 2:] = torch.randn(3000, 2, generator=generator)
        scores[1, :, :2] = torch.randn(3000, 2, generator=generator)
        return BranchOutputs(list(scores.log_softmax(2)), rows.labels)

    held_out, test = half_blind(0), half_blind(7)
    stack, pool = stacked(held_out), learned(held_out)
    assert loss(stack, test) < 0.9 * loss(pool, test)
    assert accuracy(stack(test.log_probabilities), test.labels) > accuracy(pool(test.log_probabilities), test.labels)
    assert stack.weights.sum() == pytest.approx(1)


def test_where_classes_are_alike_the_stack_is_the_pool() -> None:
    held_out, test = outputs([1.0, 0.5, 0.2], 400), outputs([1.0, 0.5, 0.2], 4000, seed=1)
    assert loss(stacked(held_out), test) == pytest.approx(loss(learned(held_out), test), abs=0.01)


@pytest.mark.parametrize("fit", [learned, stacked])
def test_a_fit_is_a_function_of_the_rows_alone(fit: Fit) -> None:
    held_out = outputs([1.0, 0.5], 100)
    one, other = fit(held_out), fit(held_out)
    assert one.settings == other.settings
    assert torch.equal(one(held_out.log_probabilities), other(held_out.log_probabilities))


@pytest.mark.parametrize("fit", [learned, stacked])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_any_number_of_rows_gives_probabilities(fit: Fit, rows: int) -> None:
    held_out = outputs([1.0, 0.0, 0.5], rows)
    held_out.log_probabilities[0][0] = torch.tensor([0.0, -torch.inf, -torch.inf, -torch.inf])  # certain, maybe wrong
    combiner = fit(held_out)
    torch.testing.assert_close(combiner(held_out.log_probabilities).sum(1), torch.ones(rows, dtype=torch.float64))
    assert (combiner.weights >= 0).all()


def test_branches_that_only_mislead_get_no_say() -> None:
    held_out = outputs([2.0], 2000)
    wrong = BranchOutputs([(-values).log_softmax(1) for values in held_out.log_probabilities], held_out.labels)
    uniform = torch.full((2000, 4), 0.25).double()
    torch.testing.assert_close(learned(wrong)(wrong.log_probabilities), uniform, rtol=0, atol=1e-3)


def test_more_rows_than_memory_should_take_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = outputs([1.0, 0.5], 1000)
    whole = learned(held_out)
    monkeypatch.setattr("spectral_train.ensemble.fitted.MOST_VALUES", 2 * 4 * 100)
    assert MOST_VALUES > 2 * 4 * 1000
    some = torch.from_numpy(np.linspace(0, 999, 100).astype(np.int64))
    thinned = learned(BranchOutputs([values[some] for values in held_out.log_probabilities], held_out.labels[some]))
    assert learned(held_out).weights.tolist() == thinned.weights.tolist() != whole.weights.tolist()
