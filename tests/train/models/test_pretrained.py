"""A network of timm begins with the weights of a file, which the plan knows by its hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from timm.models._manipulate import adapt_input_conv

from spectral_prep.errors import InputError
from spectral_prep.places import sha256_of
from spectral_prep.spectrum import SpectralSpec
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import open_shard
from spectral_train.models.pretrained import kept, with_pretrained
from spectral_train.run.paths import RunPaths, default_run
from spectral_train.run.record import read_network
from spectral_train.run.weights import load_model
from spectral_train.training.fit import Training
from spectral_train.training.network import new_network
from spectral_train.training.plan import branch_plan
from tests.support.commands import run as command
from tests.support.runs import QUICK
from tests.support.shards import CLASSES, draw, make_shards

NAME = "timm:test_resnet"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Weights of three colours and 1000 classes, as they are published."""
    torch.manual_seed(7)
    path = tmp_path / "published.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_shards(tmp_path / "data", train=draw(60, 32, 3), test=draw(12, 32, 3, seed=1))


def test_all_but_the_classifier_is_the_files_and_the_first_layer_is_adapted(data: Path, file: Path) -> None:
    shard = open_shard(data, 1, ShardChoice(2))  # 2 spectrals of 3 channels
    recipe = replace(QUICK, model=with_pretrained(NAME, str(file)), model_options={})
    training = Training(branch_plan(shard, recipe), RunPaths(data / "run").branch(1), torch.device("cpu"), print)
    network, published = new_network(training).state_dict(), safetensors.torch.load_file(file)
    first = next(name for name, tensor in published.items() if tensor.ndim == 4)
    assert torch.equal(network[first], adapt_input_conv(6, published[first]))
    assert torch.allclose(network[first][:, :3], published[first] / 2)
    assert torch.equal(network[first][:, :3], network[first][:, 3:])
    heads = {name for name in network if network[name].shape != published[name].shape} - {first}
    assert {network[name].shape[0] for name in heads} == {len(CLASSES)}
    for name in network.keys() - heads - {first}:
        assert torch.equal(network[name], published[name]), name


def test_the_plan_holds_the_hash_and_the_run_needs_no_file(data: Path, file: Path, tmp_path: Path) -> None:
    sha256 = sha256_of(file)
    line = f"spectral-train --shard 1 --data {data} --run {tmp_path / 'run'} --epochs 1 --device cpu"
    trained = command(f"{line} --model {NAME} --set pretrained={file}")
    assert trained.code == 0, trained.err
    paths = RunPaths(tmp_path / "run").branch(1)
    plan = read_network(paths).plan
    assert plan.recipe.model == f"{NAME}@{sha256}"
    other = command(f"{line} --model {NAME}")
    assert (other.code, "recipe.model" in other.err) == (2, True)
    file.unlink()
    kept(sha256).unlink()
    load_model(plan, paths)
    lacking = command(f"{line.replace('--shard 1', '--shard 2')} --model {NAME}@{sha256}")
    assert (lacking.code, "not on this machine" in lacking.err, sha256[:12] in lacking.err) == (2, True, True)


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("fc", "true", "pretrained weights are for networks of timm"),
        (NAME, "true", r"no weights of timm:test_resnet in the hub's cache.*hf download timm/test_resnet"),
        (NAME, "nowhere.safetensors", r"no such file of weights.*nowhere\.safetensors"),
        (NAME, "weights.pth", "NAME.safetensors"),
    ],
)
def test_weights_that_are_not_here_are_a_paragraph(model: str, given: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        with_pretrained(model, given)


def test_weights_of_another_network_are_refused(data: Path, file: Path, tmp_path: Path) -> None:
    line = f"spectral-train --shard 1 --data {data} --run {tmp_path / 'run'} --set pretrained={file}"
    told = command(f"{line} --model timm:test_efficientnet")
    assert (told.code, "the weights are not those of timm:test_efficientnet" in told.err) == (2, True), told.err


def test_the_run_is_called_after_the_weights() -> None:

    assert (
        default_run("x", SpectralSpec(2, 2), f"{NAME}@{'a1' * 32}").root.name
        == "x-q4-timm-test_resnet-pretrained-a1a1a1a1"
    )
