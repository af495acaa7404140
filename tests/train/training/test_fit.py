"""Each feature of the training loop: what it does to the weights, and that stopping and resuming does not show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectral_prep.errors import CorruptFileError, InputError
from spectral_train.data.shard import open_shard
from spectral_train.device import Resources
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.outputs import HELD_OUT, read_outputs
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.record import NetworkRecord, read_network
from spectral_train.training import fit
from spectral_train.training.branch import train_branch
from spectral_train.training.fit import Training
from spectral_train.training.state import State
from tests.support.compiling import plain_loops
from tests.support.runs import CPU, QUICK, equal_weights, weights_of
from tests.support.shards import draw, make_shards

CONV = replace(QUICK, model="conv", model_options={"depth": 3, "width": 4})
FEATURES = {
    "warm-up": replace(QUICK, schedule="cosine", warmup=0.4),
    "step": replace(QUICK, optimizer="sgd", schedule="step", milestones=(0.3, 0.7)),
    "one-cycle": replace(QUICK, schedule="one-cycle"),
    "ema": replace(CONV, ema=0.9),
    "patience": replace(QUICK, patience=1),
    "patience and ema": replace(CONV, patience=3, ema=0.8),
    "clip": replace(QUICK, clip=0.1),
    "channels_last": replace(CONV, channels_last=True, optimizer="adam"),
    "dropout": replace(QUICK, model="alexnet", model_options={"width": 0.05}, lr=3e-3),
    "bfloat16": replace(CONV, precision="bfloat16"),
    "float16": replace(QUICK, precision="float16", clip=1.0),
}
STEPS = 3
"""An epoch: 275 rows in batches of 100."""


class KilledError(Exception):
    """Raised out of a step by a test."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread on a busy machine makes these small networks many times slower."""
    monkeypatch.setattr("spectral_train.training.processes.usable_cpus", lambda: 1)


@pytest.fixture
def any_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let float16 train on the CPU, which is refused because it is slow and coarse, not because it fails."""
    monkeypatch.setattr(Training, "__post_init__", lambda training: None)


def train(data: Path, root: Path, recipe: Recipe, resources: Resources = CPU) -> NetworkPaths[Path]:
    train_branch(open_shard(data, 1), recipe, NetworkPaths(root), resources)
    return NetworkPaths(root)


def lines(paths: NetworkPaths[Path]) -> list[dict[str, float]]:
    return [json.loads(line) for line in paths.metrics.read_text().splitlines()]


@pytest.mark.usefixtures("any_precision")
@pytest.mark.parametrize("name", FEATURES)
def test_stopped_at_any_step_and_resumed_the_weights_are_those_of_an_undisturbed_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    recipe = replace(FEATURES[name], epochs=2, batch_size=100)
    expected = train(data, tmp_path / "undisturbed", recipe)
    for last in range(2 * STEPS):
        root = tmp_path / f"{last}"
        with monkeypatch.context() as patched:
            patched.setattr(fit, "move", stopping_after(last))
            with pytest.raises(KilledError):
                train(data, root, recipe)
        assert NetworkPaths(root).checkpoint.exists() == (last >= STEPS)
        assert equal_weights(train(data, root, recipe), expected), f"stopped after step {last}"


def stopping_after(steps: int) -> Callable[..., None]:
    move, left = fit.move, iter(range(steps))

    def stopping(*arguments: object) -> None:
        if next(left, None) is None:
            raise KilledError
        move(*arguments)  # type: ignore[arg-type]

    return stopping


@pytest.mark.usefixtures("any_precision")
@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_changes_the_weights_and_still_learns(data: Path, tmp_path: Path, name: str) -> None:
    recipe = FEATURES[name]
    paths = train(data, tmp_path / "with", recipe)
    assert lines(paths)[-1]["train_loss"] < lines(paths)[0]["train_loss"]
    plain = replace(QUICK, model=recipe.model, model_options=recipe.model_options, lr=recipe.lr)
    if name not in ("dropout", "patience"):
        assert not equal_weights(train(data, tmp_path / "without", plain), paths)


@pytest.mark.usefixtures("any_precision")
@pytest.mark.parametrize("name", FEATURES)
def test_what_is_stored_is_what_was_scored(data: Path, tmp_path: Path, name: str) -> None:
    """The record's held-out loss, measured while training, is that of the outputs, made from the stored weights."""
    paths = train(data, tmp_path, FEATURES[name])
    outputs = read_outputs(paths.outputs, HELD_OUT)
    record = read_network(paths)
    assert record.held_out_loss == pytest.approx(outputs.loss, rel=1e-5)
    assert record.held_out_accuracy == pytest.approx(outputs.accuracy)
    assert {tensor.dtype for tensor in weights_of(paths).values()} <= {torch.float32, torch.int64}


def scripted(losses: list[float]) -> Callable[..., tuple[float, float]]:
    left: Iterator[float] = iter(losses)
    return lambda *arguments: (next(left), 0.5)


def test_patience_stops_and_keeps_the_best_epoch(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = train(data, tmp_path / "two", replace(QUICK, epochs=2))
    monkeypatch.setattr(fit, "score", scripted([0.9, 0.5, 0.7, 0.6, 0.5, 0.1]))
    stopped = train(data, tmp_path / "stopped", replace(QUICK, epochs=9, patience=3))
    assert len(lines(stopped)) == 5
    assert equal_weights(stopped, two)
    assert read_network(stopped).held_out_loss == 0.5


def test_a_run_that_patience_ended_does_not_go_on_when_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(QUICK, epochs=9, patience=1)
    best = train(data, tmp_path / "best", replace(QUICK, epochs=1))
    monkeypatch.setattr(fit, "score", scripted([0.5, 0.7, 0.1]))
    with monkeypatch.context() as patched:
        patched.setattr("spectral_train.training.network.write_network", stopping_after(0))
        with pytest.raises(KilledError):
            train(data, tmp_path / "stopped", recipe)
    resumed = train(data, tmp_path / "stopped", recipe)
    assert len(lines(resumed)) == 2
    assert equal_weights(resumed, best)


def test_the_norm_of_the_gradient_is_limited(data: Path, tmp_path: Path) -> None:
    """Plain SGD without momentum moves by at most lr · clip a step."""
    recipe = replace(QUICK, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1.0, epochs=1, batch_size=999)
    moved = {}
    for clip in (0.0, 1e-3):
        start = train(data, tmp_path / f"start-{clip}", replace(recipe, lr=1e-12, clip=clip))
        end = train(data, tmp_path / f"end-{clip}", replace(recipe, clip=clip))
        moved[clip] = sum((weights_of(end)[name] - tensor).square().sum() for name, tensor in weights_of(start).items())
    assert moved[1e-3] ** 0.5 == pytest.approx(1e-3, rel=0.01)
    assert moved[0.0] > moved[1e-3]


def test_float16_is_refused_without_cuda(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"float16 trains on CUDA only.*--set precision=bfloat16"):
        train(data, tmp_path, FEATURES["float16"])


def test_a_compiled_network_reads_the_checkpoints_of_a_plain_one(data: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, batch_size=90)  # all batches are alike: each size is compiled anew
    plain = train(data, tmp_path / "plain", recipe)

    def stop(line: str) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train_branch(open_shard(data, 1), recipe, NetworkPaths(tmp_path / "both"), CPU, stop)
    with plain_loops():
        compiled = train(data, tmp_path / "both", recipe, Resources("cpu", compiled=True))
    assert [line["epoch"] for line in lines(compiled)] == [1, 2, 3, 4]
    for name, tensor in weights_of(compiled).items():
        torch.testing.assert_close(tensor, weights_of(plain)[name], rtol=1e-3, atol=1e-4)


def test_a_checkpoint_without_its_average_is_damaged(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = FEATURES["ema"]
    tensors = State.tensors
    with monkeypatch.context() as patched:
        patched.setattr(State, "tensors", lambda state: {k: v for k, v in tensors(state).items() if k[:4] != "ema."})
        patched.setattr(fit, "move", stopping_after(10))
        with pytest.raises(KilledError):
            train(data, tmp_path, recipe)
    with pytest.raises(CorruptFileError, match=r"checkpoint\.safetensors"):
        train(data, tmp_path, recipe)


def test_a_batch_of_one_row_is_left_out_where_batch_norm_could_not_take_it(tmp_path: Path) -> None:
    """275 rows in batches of 137, and a network that ends in maps of one pixel."""
    data = make_shards(tmp_path / "data", train=draw(300))
    recipe = replace(QUICK, model="timm:test_resnet", model_options={}, epochs=1, batch_size=137)
    record: NetworkRecord = read_network(train(data, tmp_path / "run", recipe))
    assert record.rows["training"] == 275
