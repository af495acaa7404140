import math

import numpy as np
import pytest
import torch

from spectral_train.ensemble.calibration import Quality, calibrated, calibration_error
from spectral_train.ensemble.combination import SPACES
from spectral_train.ensemble.combiners import Tempered, WeightedSum
from spectral_train.run.outputs import BranchOutputs, accuracy


def test_the_calibration_error_is_that_of_guo_et_al() -> None:
    confidence = torch.tensor([0.95, 0.95, 0.65, 0.65, 0.55], dtype=torch.float64)
    probabilities = torch.stack([confidence, 1 - confidence], 1)
    labels = torch.tensor([0, 1, 0, 0, 1])
    # Bins of 1/15: (0.93, 1] holds two rows, one right; (0.6, 0.67] two, both right; (0.53, 0.6] one, wrong.
    expected = (2 * abs(0.5 - 0.95) + 2 * abs(1 - 0.65) + abs(0 - 0.55)) / 5
    assert calibration_error(probabilities, labels) == pytest.approx(expected)


def test_the_loss_is_finite_though_a_branch_is_certain_and_wrong() -> None:
    certain = BranchOutputs([torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])], torch.tensor([0, 0]))
    for space in SPACES:
        tempered = calibrated(WeightedSum(np.ones(1), space, {}), certain)
        assert math.isfinite(tempered.temperature)
        assert Quality.of(tempered(certain.log_probabilities), certain.labels).loss == pytest.approx(50)


def test_a_temperature_within_a_temperature_is_their_product() -> None:
    outputs = [torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).log_softmax(1)]
    once = Tempered(WeightedSum(np.ones(1), "log-probabilities", {}), 6.0)
    twice = Tempered(Tempered(once.combiner, 2.0), 3.0)
    torch.testing.assert_close(twice(outputs), once(outputs))
    assert twice.settings == once.settings == {"temperature": 6.0}


def test_few_rows_that_are_all_right_do_not_make_a_network_certain() -> None:
    labels = torch.arange(50) % 2
    values = torch.stack([labels == 0, labels == 1], 1) * 2.0
    right = BranchOutputs([values.log_softmax(1)], labels)
    plain = WeightedSum(np.ones(1), "log-probabilities", {})
    often = BranchOutputs([right.log_probabilities[0].repeat(1000, 1)], labels.repeat(1000))
    few, many = calibrated(plain, right), calibrated(plain, often)
    assert 0.2 < few.temperature < 1
    assert many.temperature < few.temperature / 1.5


def test_a_temperature_makes_confidence_the_truth_and_keeps_every_decision() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8000, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]  # as often right as it says
    overconfident = (3 * logits).log_softmax(1)
    halves = [BranchOutputs([overconfident[at]], labels[at]) for at in (slice(4000), slice(4000, None))]
    plain = WeightedSum(np.ones(1), "log-probabilities", {})
    tempered = calibrated(plain, halves[0])
    assert tempered.temperature == pytest.approx(3, rel=0.05)
    before, after = (Quality.of(c(halves[1].log_probabilities), halves[1].labels) for c in (plain, tempered))
    assert after.ece < 0.04 < 0.2 < before.ece
    assert after.loss < before.loss
    assert after.accuracy == before.accuracy == accuracy(halves[1].log_probabilities[0], halves[1].labels)
