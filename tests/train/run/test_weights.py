"""Weights are those of their plan by name, shape, dtype and value, and nothing is built before that is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from spectral_prep.errors import SpectralError
from spectral_prep.store.record_file import read_content, write_content, write_record
from spectral_prep.store.records import FileEntry
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.ensemble.network import open_network
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import read_network
from spectral_train.run.weights import load_model, read_weights
from tests.support.runs import QUICK, make_run, weights_of
from tests.support.shards import make_shards

ONE_EPOCH = replace(QUICK, epochs=1)
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    return make_run(make_shards(root / "data"), root / "run", ONE_EPOCH)


@pytest.fixture
def branch(trained: Path, tmp_path: Path) -> NetworkPaths[Path]:
    """Return a branch that a test may change."""
    return RunPaths(Path(shutil.copytree(trained, tmp_path / "run"))).branch(0)


def write_weights(paths: NetworkPaths[Path], weights: Weights) -> None:
    """Let a branch have other weights, that its record vouches for."""
    record = read_network(paths)
    safetensors.torch.save_file(weights, paths.model)
    files = tuple(FileEntry.of(paths.root, paths.root / entry.path) for entry in record.files)
    write_record(paths.record, replace(record, files=files))


def without(weights: Weights) -> Weights:
    return {name: tensor for name, tensor in weights.items() if name != "1.bias"}


CHANGES: dict[str, Callable[[Weights], Weights]] = {
    "1.bias is missing": lambda weights: {**without(weights), "1.gain": weights["1.bias"]},
    "9.weight is not part of it": lambda weights: {**weights, "9.weight": torch.zeros(3)},
    r"1.bias is \('float32', 17\), expected \('float32', 16\)": lambda weights: {**weights, "1.bias": torch.zeros(17)},
    r"1.bias is \('float32', 16, 1\)": lambda weights: {**weights, "1.bias": torch.zeros(16, 1)},
    r"1.bias is \('float64', 16\)": lambda weights: {**weights, "1.bias": torch.zeros(16).double()},
    r"1.bias is \('int32', 16\)": lambda weights: {**weights, "1.bias": torch.zeros(16, dtype=torch.int32)},
    "1.bias is not finite": lambda weights: {**weights, "1.bias": torch.full((16,), float("nan"))},
    "3.weight is not finite": lambda weights: {**weights, "3.weight": weights["3.weight"] / 0},
}


@pytest.mark.parametrize("told", CHANGES)
def test_weights_that_are_not_those_of_the_plan_are_refused(branch: NetworkPaths[Path], told: str) -> None:
    write_weights(branch, CHANGES[told](weights_of(branch)))
    with pytest.raises(
        SpectralError, match=rf"the weights are not those of branch 0\. .*model\.safetensors\. Got: {told}.*Run next"
    ):
        load_model(read_network(branch).plan, branch)


def test_a_file_of_no_weights_at_all_is_refused(branch: NetworkPaths[Path]) -> None:
    for weights in ({"x": torch.zeros(2000), "y": torch.zeros(1)}, {}):
        write_weights(branch, weights)
        with pytest.raises(SpectralError, match="the weights are not those of branch 0"):
            load_model(read_network(branch).plan, branch)
    branch.model.write_bytes(b"\xff" * 100)
    entries = tuple(FileEntry.of(branch.root, path) for path in (branch.model, branch.outputs))
    content = read_content(branch.record, "branch")
    write_content(branch.record, "branch", {**content, "files": [vars(entry) for entry in entries]})
    with pytest.raises(SpectralError, match="the weights cannot be read"):
        read_network(branch)


GIANTS: dict[str, dict[str, Any]] = {
    "depth": {"model_options": {"depth": 10**9, "width": 16}},
    "depth, no whole number": {"model_options": {"depth": 1e300, "width": 16}},
    "width": {"model_options": {"depth": 2, "width": 10**7}},
    "width beyond an int64": {"model_options": {"depth": 2, "width": 10**30}},
    "not finite": {"model_options": {"depth": 2, "width": float("inf")}},
    "negative": {"model_options": {"depth": -1, "width": -1}},
    "a giant of timm": {"model": "timm:vit_giant_patch14_clip_224", "model_options": {}},
    "no name of timm": {"model": "timm:" + "x" * 10_000, "model_options": {}},
    "another network": {"model": "conv", "model_options": {}},
    "deep convolutions": {"model": "conv", "model_options": {"depth": 10**9}},
}


@pytest.mark.parametrize("recipe", GIANTS.values(), ids=list(GIANTS))
def test_a_giant_of_a_plan_costs_nothing(branch: NetworkPaths[Path], recipe: dict[str, Any]) -> None:
    content = read_content(branch.record, "branch")
    content["plan"]["recipe"].update(recipe)
    write_content(branch.record, "branch", content)
    with pytest.raises(SpectralError) as refused:
        read_weights(read_network(branch).plan, branch)
    assert len(str(refused.value)) < 20_000
    with pytest.raises(SpectralError):
        open_network(branch.root.parent)


@pytest.mark.parametrize(
    ("field", "value"), [("size_bytes", 10**15), ("parameters", 2**63), ("size_bytes", -1), ("parameters", "7")]
)
def test_sizes_that_do_not_fit_are_refused(branch: NetworkPaths[Path], field: str, value: object) -> None:
    content = read_content(branch.record, "branch")
    write_content(branch.record, "branch", {**content, field: value})
    with pytest.raises(SpectralError):
        evaluate(branch.root.parent)
