"""Outputs say what a network is worth, and are held against the rows that its record counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectral_prep.errors import CorruptFileError, SpectralError
from spectral_prep.store.record_file import read_content, write_content
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.report.summary import summarise
from spectral_train.run.outputs import HELD_OUT, TEST, BranchOutputs, Outputs
from spectral_train.run.paths import RunPaths
from tests.support.runs import QUICK, make_run, rewrite_outputs
from tests.support.shards import make_shards

Change = Callable[[Outputs], Outputs]


def test_the_loss_is_the_mean_cross_entropy() -> None:
    probabilities = torch.tensor([[[0.5, 0.5], [0.2, 0.8]]])
    held_out = BranchOutputs(list(probabilities.log()), torch.tensor([0, 1]))
    assert held_out.losses.tolist() == pytest.approx([-(np.log(0.5) + np.log(0.8)) / 2])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    return make_run(make_shards(root / "data"), root / "run", replace(QUICK, epochs=1))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a run that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def first_label(value: int) -> Change:
    return lambda outputs: replace(outputs, labels=torch.cat([torch.tensor([value]), outputs.labels[1:]]))


def first_value(value: float) -> Change:
    def change(outputs: Outputs) -> Outputs:
        values = outputs.log_probabilities.clone()
        values[0, 0] = value
        return replace(outputs, log_probabilities=values)

    return change


def require_refused(run: Path, rows: str, changed: tuple[Change, str], what: str) -> None:
    """Fail unless outputs that are changed so are refused in these words."""
    change, told = changed
    rewrite_outputs(run, 2, rows, change)
    for read in (evaluate, summarise):
        with pytest.raises(CorruptFileError, match=rf"{what}\. Where: .*branch-02/outputs.*{told}.*Run next"):
            read(run)


CHANGES: dict[str, tuple[Change, str]] = {
    "a label too high": (first_label(3), "labels 0 to 3, expected 0 to 2"),
    "a label too low": (first_label(-1), "labels -1 to 2, expected 0 to 2"),
    "fewer labels": (lambda each: replace(each, labels=each.labels[1:]), "labels are not"),
    "fewer ids": (lambda each: replace(each, ids=each.ids[1:]), "row ids are not"),
    "ids not ascending": (lambda each: replace(each, ids=each.ids[::-1].copy()), "row ids are not .* ascending"),
    "fewer rows": (lambda each: Outputs(each.log_probabilities[1:], each.ids[1:], each.labels[1:]), "log-prob"),
    "no rows": (lambda each: Outputs(each.log_probabilities[:0], each.ids[:0], each.labels[:0]), "log-prob"),
    "more classes": (lambda each: replace(each, log_probabilities=each.log_probabilities.repeat(1, 2)), "log-prob"),
    "doubles": (lambda each: replace(each, log_probabilities=each.log_probabilities.double()), "float64"),
    "no number": (first_value(float("nan")), "not a number"),
    "infinite": (first_value(float("inf")), "above 0"),
    "a probability above 1": (first_value(0.5), "above 0"),
}


@pytest.mark.parametrize("rows", [HELD_OUT, TEST])
@pytest.mark.parametrize("name", CHANGES)
def test_outputs_that_cannot_be_a_networks_own_are_refused(run: Path, rows: str, name: str) -> None:
    require_refused(run, rows, CHANGES[name], "branch 2 cannot be its own")


OF_OTHER_TYPES: dict[str, tuple[Change, str]] = {
    "long ids": (lambda each: replace(each, ids=each.ids.astype(np.int64)), "ids .* are torch.int64, expected int32"),
    "float labels": (lambda each: replace(each, labels=each.labels.float()), "labels .* are torch.float32"),
    "complex labels": (
        lambda each: replace(each, labels=each.labels.to(torch.complex64)),
        "labels .* are torch.complex64",
    ),
    "labels that torch cannot compare": (
        lambda each: replace(each, labels=each.labels.to(torch.uint16)),
        "labels .* are torch.uint16, expected whole numbers",
    ),
}


@pytest.mark.parametrize("rows", [HELD_OUT, TEST])
@pytest.mark.parametrize("name", OF_OTHER_TYPES)
def test_outputs_of_other_types_are_refused(run: Path, rows: str, name: str) -> None:
    require_refused(run, rows, OF_OTHER_TYPES[name], "cannot be read")


def test_a_class_that_is_impossible_is_bounded_and_no_fault(run: Path) -> None:
    rewrite_outputs(run, 0, TEST, first_value(float("-inf")))
    assert np.isfinite(evaluate(run).ensemble["geometric"])


def test_a_file_without_the_tensors_is_refused(run: Path) -> None:
    rewrite_outputs(run, 1, TEST, lambda outputs: outputs)
    paths = RunPaths(run).branch(1)
    shutil.copy(paths.model, paths.outputs)
    content = read_content(paths.record, "branch")
    model = next(entry for entry in content["files"] if entry["path"] == "model.safetensors")
    write_content(paths.record, "branch", {**content, "files": [model, {**model, "path": "outputs.safetensors"}]})
    with pytest.raises(CorruptFileError, match=r"the outputs of a branch cannot be read.*branch-01"):
        evaluate(run)


@pytest.mark.parametrize("counts", [{"test": 0}, {"test": 10**9}, {"held_out": 1}, {"test": -1}, {"more": 1}])
def test_counts_of_other_rows_are_refused(run: Path, counts: dict[str, Any]) -> None:
    for number in range(4):
        paths = RunPaths(run).branch(number)
        content = read_content(paths.record, "branch")
        write_content(paths.record, "branch", {**content, "rows": {**content["rows"], **counts}})
    with pytest.raises(SpectralError):
        evaluate(run)
