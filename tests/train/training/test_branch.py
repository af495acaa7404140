import json
import math
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import open_shard
from spectral_train.device import Resources
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.outputs import HELD_OUT, TEST, read_outputs
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import read_network
from spectral_train.training.branch import train_branch, train_branches
from spectral_train.training.request import TrainingRequest
from tests.support.runs import CPU, QUICK, equal_weights, on_cpu, weights_of
from tests.support.shards import CLASSES, draw, make_shards, stored
from tests.support.trees import tree

CONV = replace(QUICK, model="conv", model_options={"depth": 3, "width": 4})


class StoppedError(Exception):
    """Raised out of a run by a test."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"), bad=[3, 5, 8])


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> NetworkPaths[Path]:
    return train(data, tmp_path_factory.mktemp("run"))


def train(data: Path, run: Path, recipe: Recipe = QUICK, shard: int = 1) -> NetworkPaths[Path]:
    paths = RunPaths(run).branch(shard)
    train_branch(open_shard(data, shard), recipe, paths, CPU)
    return paths


def train_until(data: Path, run: Path, epoch: int, recipe: Recipe = QUICK) -> None:
    """Train branch 1 and stop dead after an epoch."""

    def stop(line: str) -> None:
        if f"epoch {epoch}/" in line:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_branch(open_shard(data, 1), recipe, RunPaths(run).branch(1), CPU, stop)


def test_a_branch_learns(undisturbed: NetworkPaths[Path]) -> None:
    record = read_network(undisturbed)
    assert record.held_out_accuracy > 0.7
    assert read_outputs(undisturbed.outputs, TEST).accuracy > 0.7


@pytest.mark.parametrize("recipe", [QUICK, CONV, replace(QUICK, optimizer="sgd"), replace(QUICK, schedule="cosine")])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(data: Path, tmp_path: Path, recipe: Recipe) -> None:
    assert equal_weights(train(data, tmp_path / "one", recipe), train(data, tmp_path / "two", recipe))


def test_another_seed_and_another_shard_give_other_weights(
    data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path]
) -> None:
    assert not equal_weights(train(data, tmp_path / "seed", replace(QUICK, seed=1)), undisturbed)
    assert not equal_weights(train(data, tmp_path / "shard", shard=0), undisturbed)


def test_training_leaves_the_callers_random_stream_alone(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train(data, tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "recipe",
    [replace(QUICK, optimizer="adam"), replace(QUICK, optimizer="adamw"), CONV, replace(QUICK, optimizer="sgd")],
    ids=["adam", "adamw", "conv", "sgd"],
)
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_run_gives_the_weights_of_an_undisturbed_one(
    data: Path, tmp_path: Path, recipe: Recipe, epoch: int
) -> None:
    expected = train(data, tmp_path / "undisturbed", recipe)
    train_until(data, tmp_path / "stopped", epoch, recipe)
    assert not RunPaths(tmp_path / "stopped").branch(1).record.exists()
    resumed = train(data, tmp_path / "stopped", recipe)
    assert equal_weights(resumed, expected)
    assert [line["epoch"] for line in metrics(resumed)] == [1, 2, 3, 4]


def test_a_second_training_of_a_branch_is_refused_and_harms_the_first_not(
    data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path]
) -> None:
    refused: list[str] = []

    def second(line: str) -> None:
        if "epoch 2/" in line:
            with pytest.raises(InputError, match="branch 1 is trained already by another process") as error:
                train(data, tmp_path)
            refused.append(str(error.value))

    paths = RunPaths(tmp_path).branch(1)
    train_branch(open_shard(data, 1), QUICK, paths, CPU, second)
    assert f"process {os.getpid()} on " in refused[0]
    assert equal_weights(paths, undisturbed)
    assert not paths.lock.exists()
    train(data, tmp_path)  # a finished one holds nothing


@pytest.mark.parametrize("write", range(1, 12))
def test_a_crash_at_any_write_loses_at_most_an_epoch(
    data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path], monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """4 epochs write a checkpoint and metrics each; then come the weights, the outputs and the record."""
    done = 0
    replace_file = os.replace

    def crash(source: str, target: str) -> None:
        nonlocal done
        done += 1
        if done == write:
            raise StoppedError
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(StoppedError):
        train(data, tmp_path)
    monkeypatch.undo()
    assert not RunPaths(tmp_path).branch(1).record.exists()
    assert equal_weights(train(data, tmp_path), undisturbed)


def test_a_finished_branch_is_not_trained_again(data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path]) -> None:
    shutil.copytree(undisturbed.root, tmp_path / "branch-01")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    lines: list[str] = []
    record = train_branch(open_shard(data, 1), QUICK, RunPaths(tmp_path).branch(1), CPU, lines.append)
    assert record == read_network(undisturbed)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert lines == [f"branch 1: finished already in {tmp_path / 'branch-01'}"]


def test_what_a_killed_write_left_is_removed(data: Path, tmp_path: Path) -> None:
    train_until(data, tmp_path, 1)
    leftover = RunPaths(tmp_path).branch(1).root / "checkpoint.safetensors.0123456789ab.partial"
    leftover.touch()
    train(data, tmp_path)
    assert not leftover.exists()


@pytest.mark.parametrize("finished", [True, False])
def test_another_recipe_in_the_same_place_is_refused_with_a_diff(data: Path, tmp_path: Path, finished: bool) -> None:
    train(data, tmp_path) if finished else train_until(data, tmp_path, 1)
    with pytest.raises(PlanMismatchError, match=r"recipe.lr: 0.01 there, 0.5 here.*--run"):
        train(data, tmp_path, replace(QUICK, lr=0.5))


def test_another_data_set_in_the_same_place_is_refused(data: Path, tmp_path: Path) -> None:
    train_until(data, tmp_path / "run", 1)
    other = make_shards(tmp_path / "other", dataset_id="f" * 16)
    with pytest.raises(PlanMismatchError, match="dataset_id: 0123456789abcdef there, ffffffffffffffff here"):
        train(other, tmp_path / "run")


def test_a_damaged_checkpoint_is_named(data: Path, tmp_path: Path) -> None:
    train_until(data, tmp_path, 1)
    checkpoint = RunPaths(tmp_path).branch(1).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match=f"{checkpoint}"):
        train(data, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "outputs.safetensors", "branch.json"])
def test_a_damaged_file_of_a_finished_branch_is_named(
    data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path], name: str
) -> None:
    path = Path(shutil.copytree(undisturbed.root, tmp_path / "branch-01")) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"{path}"):
        train(data, tmp_path)


def test_a_node_with_its_own_folder_alone_trains_the_same_branch(
    data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path]
) -> None:
    shutil.copytree(data / "spectral-01", tmp_path / "node" / "spectral-01")
    assert equal_weights(train(tmp_path / "node", tmp_path / "run"), undisturbed)


def test_a_flipped_byte_in_the_test_rows_stops_before_the_first_step(data: Path, tmp_path: Path) -> None:
    node = shutil.copytree(data, tmp_path / "node")
    part = node / "spectral-01" / "test" / "x" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(part.read_bytes())
    content[40] ^= 1
    part.write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"{part}"):
        train(node, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_branch_holds_out_the_same_rows_whatever_the_stored_order(tmp_path: Path) -> None:
    held = []
    for order_seed, shard in ((0, 0), (0, 1), (7, 1)):
        data = make_shards(tmp_path / f"{order_seed}", order_seed=order_seed)
        paths = train(data, tmp_path / f"run-{order_seed}", replace(QUICK, epochs=1), shard)
        outputs = read_outputs(paths.outputs, HELD_OUT)
        held.append((outputs.ids.tolist(), outputs.labels.tolist()))
    assert held[0] == held[1] == held[2]
    ids, labels = held[0]
    assert len(ids) == 25
    assert ids == sorted(ids)
    assert labels == draw(300).labels[ids].tolist()


def test_bad_rows_are_neither_trained_on_nor_held_out_nor_tested(data: Path, undisturbed: NetworkPaths[Path]) -> None:
    record = read_network(undisturbed)
    assert record.rows["training"] + record.rows["held_out"] == 297
    assert not {3, 5, 8} & set(read_outputs(undisturbed.outputs, HELD_OUT).ids)


def test_test_rows_have_no_part_in_training(data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path]) -> None:
    other = make_shards(tmp_path / "other", test=draw(50, seed=77, noise=5), bad=[3, 5, 8])
    assert equal_weights(train(other, tmp_path / "run"), undisturbed)


def test_the_record_says_all_that_the_ensemble_needs(data: Path, undisturbed: NetworkPaths[Path]) -> None:
    shard = open_shard(data, 1)
    plan = read_network(undisturbed).plan
    assert (plan.dataset_id, plan.spec, plan.encoding) == (shard.dataset_id, shard.spec, shard.encoding)
    assert (plan.spectrals, plan.shard, plan.shards, plan.grouping, plan.common) == ((1,), 1, 4, "contiguous", ())
    assert (plan.classes, plan.input_shape) == (CLASSES, (1, 4, 4))
    assert (plan.mean, plan.std, plan.recipe) == (shard.mean, shard.std, QUICK)
    record = read_network(undisturbed)
    assert record.parameters == 16 * 16 + 16 + 16 * 3 + 3
    assert record.size_bytes == 4 * record.parameters
    assert record.rows["test"] == 100
    assert record.seconds > 0


def test_the_outputs_are_those_of_the_weights(data: Path, undisturbed: NetworkPaths[Path]) -> None:
    shard = open_shard(data, 1)
    rows = stored(shard, "test")
    weights = weights_of(undisturbed)
    hidden = (shard.standardise(rows.x).flatten(1) @ weights["1.weight"].T + weights["1.bias"]).relu()
    logits = hidden @ weights["3.weight"].T + weights["3.bias"]
    outputs = read_outputs(undisturbed.outputs, TEST)
    torch.testing.assert_close(outputs.log_probabilities, logits.log_softmax(1)[rows.ids.argsort()])
    assert outputs.labels.tolist() == rows.y[rows.ids.argsort()].tolist()


def metrics(paths: NetworkPaths[Path]) -> list[dict[str, float]]:
    return [json.loads(line) for line in paths.metrics.read_text().splitlines()]


def test_metrics_are_a_line_an_epoch(undisturbed: NetworkPaths[Path]) -> None:
    lines = metrics(undisturbed)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert set(lines[0]) == {"epoch", "train_loss", "held_out_loss", "held_out_accuracy", "lr", "seconds"}
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    assert not undisturbed.checkpoint.exists()


def test_what_a_kill_right_after_the_record_left_goes_with_the_next_run(
    data: Path, undisturbed: NetworkPaths[Path], tmp_path: Path
) -> None:
    paths = RunPaths(tmp_path).branch(1)
    shutil.copytree(undisturbed.root, paths.root)
    before = tree(paths.root)
    paths.checkpoint.write_text("an epoch")
    paths.lock.write_text("host 1 2026-01-01 00:00:00")
    train(data, tmp_path)
    assert tree(paths.root) == before


def test_the_learning_rate_follows_the_schedule_step_by_step(data: Path, tmp_path: Path) -> None:
    steps = math.ceil(read_network(train(data, tmp_path / "constant")).rows["training"] / QUICK.batch_size)
    cosine = metrics(train(data, tmp_path / "cosine", replace(QUICK, schedule="cosine")))
    last_steps = [(epoch * steps - 1) / (4 * steps) for epoch in (1, 2, 3, 4)]
    expected = [0.01 * (1 + math.cos(math.pi * progress)) / 2 for progress in last_steps]
    assert [line["lr"] for line in cosine] == pytest.approx(expected)
    assert {line["lr"] for line in metrics(RunPaths(tmp_path / "constant").branch(1))} == {0.01}


def test_tensorboard_has_every_epoch_once(data: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_until(data, tmp_path, 2)
    paths = train(data, tmp_path)
    events = accumulator.EventAccumulator(str(paths.tensorboard)).Reload()
    assert [event.step for event in events.Scalars("held_out_loss")] == [1, 2, 3, 4]
    expected = [line["held_out_loss"] for line in metrics(paths)]
    assert [event.value for event in events.Scalars("held_out_loss")] == pytest.approx(expected)


def test_without_tensorboard_training_is_the_same(
    data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    paths = train(data, tmp_path)
    assert equal_weights(paths, undisturbed)
    assert not paths.tensorboard.exists()


def test_a_network_that_diverges_stops_and_says_what_to_try(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"branch 1 diverged in epoch 1.*--lr 1e\+29"):
        train(data, tmp_path, replace(QUICK, optimizer="sgd", lr=1e30))


def test_bfloat16_and_label_smoothing_train_too(data: Path, tmp_path: Path) -> None:
    paths = train(data, tmp_path, replace(QUICK, precision="bfloat16", label_smoothing=0.1))
    assert read_network(paths).held_out_accuracy > 0.6
    assert {tensor.dtype for tensor in weights_of(paths).values()} == {torch.float32}


@pytest.mark.parametrize("workers", [1, 2])
def test_all_shards_are_trained_by_any_number_of_processes(
    data: Path, tmp_path: Path, undisturbed: NetworkPaths[Path], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("spectral_train.training.processes.usable_cpus", lambda: 2)
    records = train_branches(replace(on_cpu(data, tmp_path), resources=Resources("cpu", workers=workers)))
    assert [record.plan.shard for record in records] == [0, 1, 2, 3]
    assert equal_weights(RunPaths(tmp_path).branch(1), undisturbed)


def test_a_run_goes_to_its_default_place(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = replace(QUICK, epochs=1)
    request = TrainingRequest(data, quick, choice=ShardChoice(2, "balanced", (0,)), resources=CPU)
    train_branches(request, 1)
    assert (tmp_path / "runs" / "shapes-q4-s2-balanced-common0-fc" / "branch-01" / "branch.json").is_file()


def test_a_device_that_is_not_here_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        train_branch(open_shard(data, 0), QUICK, RunPaths(tmp_path).branch(0), Resources("tpu"))
