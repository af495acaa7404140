import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError
from spectral_prep.spectrum import SpectralSpec
from spectral_train.commands import train_command
from spectral_train.data.grouping import ShardChoice
from spectral_train.ensemble.combination import DEFAULT_SPACE, SCHEME_NAMES, Combination
from spectral_train.ensemble.evaluate import evaluate, table
from spectral_train.recipe.recipes import named
from spectral_train.run.outputs import HELD_OUT, TEST, Outputs, cross_entropy, read_outputs
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkPlan, NetworkRecord
from spectral_train.training.baseline import train_baseline
from spectral_train.training.branch import train_branches
from tests.support.runs import QUICK, make_run, on_cpu, rewrite_outputs, rewrite_record, without_test
from tests.support.shards import make_shards


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its baseline; the data set is gone."""
    data = make_shards(tmp_path_factory.mktemp("data"))
    run = make_run(data, tmp_path_factory.mktemp("runs") / "shapes")
    train_baseline(on_cpu(data, run))
    shutil.rmtree(data)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "shapes"))


def test_the_ensemble_beats_every_branch(trained: Path) -> None:
    evaluation = evaluate(trained)
    assert evaluation.ensemble["geometric"] > evaluation.best_accuracy > evaluation.mean_accuracy


def test_the_json_says_exactly_what_was_agreed(trained: Path) -> None:
    record = json.loads(json.dumps(evaluate(trained).to_dict()))
    assert list(record) == [
        "branches",
        "mean_accuracy",
        "best_accuracy",
        "ensemble",
        "baseline",
        "weights",
        "measured_on",
        "settings",
        "space",
        "rows",
        "missing",
        "fused_on",
        "calibration",
        "ablation",
    ]
    assert [list(branch) for branch in record["branches"]] == [["shard", "accuracy", "loss"]] * 4
    assert [branch["shard"] for branch in record["branches"]] == [0, 1, 2, 3]
    accuracies = [branch["accuracy"] for branch in record["branches"]]
    assert record["mean_accuracy"] == pytest.approx(sum(accuracies) / 4)
    assert record["best_accuracy"] == max(accuracies)
    assert set(record["ensemble"]) == set(record["weights"]) == set(SCHEME_NAMES)
    assert all(0 <= value <= 1 for value in [*accuracies, *record["ensemble"].values(), record["baseline"]])
    assert all(sum(weights) == pytest.approx(1) for weights in record["weights"].values())
    assert (record["space"], record["rows"], record["measured_on"]) == (DEFAULT_SPACE, 100, "test")


def test_without_a_test_split_weights_are_fitted_to_one_half_of_the_held_out_rows_and_measured_on_the_other(
    run: Path,
) -> None:
    without_test(run)
    evaluation = evaluate(run, ["average"], Combination(space="probabilities"), ablate=True)
    outputs = [read_outputs(paths.outputs, HELD_OUT) for paths in map(RunPaths(run).branch, range(4))]
    labels = outputs[0].labels
    assert evaluation.measured_on == evaluation.to_dict()["measured_on"] == "held_out"
    assert evaluation.rows == len(labels) // 2
    mean = torch.stack([each.log_probabilities.exp() for each in outputs]).mean(0)
    assert evaluation.ensemble["average"] == (mean.argmax(1) == labels)[1::2].double().mean()
    assert [branch.accuracy for branch in evaluation.branches] == [
        (each.log_probabilities.argmax(1) == labels)[1::2].double().mean() for each in outputs
    ]
    assert [branch.loss for branch in evaluation.branches] == pytest.approx(
        [cross_entropy(each.log_probabilities[::2], labels[::2]) for each in outputs]
    )
    baseline = read_outputs(RunPaths(run).baseline.outputs, HELD_OUT)
    assert evaluation.baseline == (baseline.log_probabilities.argmax(1) == labels)[1::2].double().mean()
    told = table(evaluation)
    assert told.startswith(f"No test split: measured on {len(labels) // 2} training rows that were held out")
    assert "Test acc." not in told


def test_the_numbers_are_those_of_the_branches_outputs(trained: Path) -> None:
    evaluation = evaluate(trained, ["average"], Combination(space="probabilities"))
    outputs = [read_outputs(RunPaths(trained).branch(k).outputs, TEST) for k in range(4)]
    held_out = [read_outputs(RunPaths(trained).branch(k).outputs, HELD_OUT) for k in range(4)]
    assert [branch.accuracy for branch in evaluation.branches] == [each.accuracy for each in outputs]
    assert [branch.loss for branch in evaluation.branches] == pytest.approx([each.loss for each in held_out])
    mean = torch.stack([each.log_probabilities.exp() for each in outputs]).mean(0)
    right = (mean.argmax(1) == outputs[0].labels).sum().item()
    assert evaluation.ensemble == {"average": right / 100}


def test_best_is_chosen_by_held_out_loss_not_by_test_accuracy(run: Path) -> None:
    losses = [branch.loss for branch in evaluate(run).branches]
    chosen = losses.index(min(losses))
    other = (chosen + 1) % 4

    def know_everything(outputs: Outputs) -> Outputs:
        return replace(outputs, log_probabilities=torch.nn.functional.one_hot(outputs.labels.long(), 3).float().log())

    rewrite_outputs(run, other, TEST, know_everything)
    evaluation = evaluate(run)
    assert evaluation.best_accuracy == evaluation.branches[other].accuracy == 1
    assert evaluation.weights["best"][chosen] == 1
    assert evaluation.ensemble["best"] == evaluation.branches[chosen].accuracy


def test_test_labels_never_influence_the_weights(run: Path) -> None:
    before = evaluate(run)
    for shard in range(4):
        rewrite_outputs(run, shard, TEST, lambda outputs: replace(outputs, labels=outputs.labels.roll(1)))
    after = evaluate(run)
    assert after.weights == before.weights
    assert after.settings == before.settings
    assert [each.temperature for each in after.calibration.values()] == [
        each.temperature for each in before.calibration.values()
    ]
    assert [branch.loss for branch in after.branches] == [branch.loss for branch in before.branches]
    assert after.ensemble != before.ensemble


def test_held_out_labels_do(run: Path) -> None:
    before = evaluate(run)
    for shard in range(4):
        rewrite_outputs(run, shard, HELD_OUT, lambda outputs: replace(outputs, labels=outputs.labels.roll(1)))
    assert evaluate(run).weights["loss"] != before.weights["loss"]


def test_schemes_and_space_can_be_chosen(trained: Path) -> None:
    evaluation = evaluate(trained, ["top-k", "geometric"], Combination(p=0.5, k=2))
    assert list(evaluation.ensemble) == ["top-k", "geometric"]
    assert evaluation.settings == {"top-k": {"k": 2}, "geometric": {"p": 0.5}}
    assert sorted(evaluation.weights["top-k"]) == [0, 0, 0.5, 0.5]
    assert evaluation.space == "log-probabilities"
    with pytest.raises(InputError, match="unknown ensemble scheme"):
        evaluate(trained, ["median"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="unknown space"):
        evaluate(trained, combination=Combination(space="logits"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="learned combines log-probabilities"):
        evaluate(trained, ["learned"], Combination(space="probabilities"))


def test_what_a_lost_node_costs(run: Path) -> None:
    whole = evaluate(run, ablate=True)
    assert whole.ablation is not None
    assert [shard for shard, _ in whole.ablation.growing] == sorted(range(4), key=lambda k: whole.branches[k].loss)
    assert whole.ablation.growing[-1][1] == whole.ensemble["geometric"] > whole.ablation.growing[0][1]
    without = evaluate(run, combination=Combination(without=(2,)))
    shutil.rmtree(run / "branch-02")
    missing = evaluate(run, combination=Combination(allow_missing=True))
    assert without == missing
    assert missing.missing == (2,)
    assert [branch.shard for branch in missing.branches] == [0, 1, 3]
    assert whole.ablation.lost[2] == missing.ensemble["geometric"]
    assert "Without: 2" in table(missing)
    assert "Lost" in table(whole)


def test_branches_that_cannot_be_left_out_are_refused(run: Path) -> None:
    with pytest.raises(InputError, match=r"--without 4 does not exist.*0 to 3"):
        evaluate(run, combination=Combination(without=(4,)))
    with pytest.raises(InputError, match="no trained branch"):
        evaluate(run, combination=Combination(without=(0, 1, 2, 3)))
    for shard in (1, 2):
        rewrite_record(run, shard, lambda record: replace(record, plan=replace(record.plan, spectrals=(1,))))
    with pytest.raises(PlanMismatchError, match="every spectral once"):
        evaluate(run, combination=Combination(without=(0,)))


def test_without_a_baseline_there_is_none(run: Path) -> None:
    shutil.rmtree(run / "baseline")
    evaluation = evaluate(run)
    assert evaluation.baseline is None
    assert "–" in table(evaluation)


def test_the_table_has_the_form_of_the_posters(trained: Path) -> None:
    evaluation = evaluate(trained)
    lines = table(evaluation).splitlines()
    assert lines[0].split("  ")[0] == "Data set"
    assert [head in lines[0] for head in ("Mean Acc.", "Highest Acc.", "Ens. Acc.", "Baseline")] == [True] * 4
    assert lines[1].startswith("shapes (Q = 4)")
    for value in (evaluation.best_accuracy, evaluation.ensemble["geometric"], evaluation.baseline):
        assert value is not None
        assert f"{100 * value:.2f} %" in lines[1]
    for scheme in SCHEME_NAMES:
        assert any(line.startswith(scheme) for line in lines)


def test_a_missing_branch_is_named_with_the_command_that_trains_it(tmp_path: Path) -> None:
    data = make_shards(tmp_path / "data", spec=SpectralSpec(4, 4))
    recipe = named("paper-fc", epochs=1, seed=3)
    run = tmp_path / "run"
    for shard in range(8):
        if shard != 5:
            train_branches(on_cpu(data, run, recipe, ShardChoice(8, "balanced", (0,))), shard)
    expected = (
        r"branch 5 of 8 not trained.*Run next: spectral-train --shard 5 --shards 8 --grouping balanced --common 0 "
        rf"--recipe paper-fc --epochs 1 --seed 3 --run {run}$"
    )
    with pytest.raises(InputError, match=expected):
        evaluate(run)


def test_what_is_another_branchs_own_is_not_in_the_command_for_a_missing_one(run: Path) -> None:
    shutil.rmtree(run / "branch-02")
    for shard, width in ((0, 31), (1, 16)):
        own = replace(QUICK, lr=0.01 * (shard + 1), model_options={"depth": 2, "width": width})
        rewrite_record(run, shard, lambda record, own=own: replace(record, plan=replace(record.plan, recipe=own)))  # type: ignore[misc]
    with pytest.raises(InputError, match="branch 2 of 4 not trained") as error:
        evaluate(run)
    parts = dict(error.value.parts)
    words = shlex.split(parts["Run next"])
    assert words[:7] == shlex.split("spectral-train --shard 2 --model fc --batch-size 32")
    assert train_command.make_context("spectral-train", words[1:]).params["run"] == run
    assert "--lr" not in words
    assert not any("width" in word for word in words)
    differs = parts["Got"]
    assert differs.startswith("branches 0, 1, 3, which differ in ")
    assert "--lr (branch 0: 0.01, branch 1: 0.02, branch 3: 0.01), or --find-rate" in differs
    assert differs.endswith("--set width (branch 0: 31, branch 1: 16, branch 3: 16), or --width-by energy")
    assert "model_options" not in differs, "nobody can type it"


def test_an_unfinished_branch_is_a_missing_one(run: Path) -> None:
    RunPaths(run).branch(2).record.unlink()
    with pytest.raises(InputError, match="branch 2 of 4 not trained"):
        evaluate(run)


def test_a_folder_without_branches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no trained branch here.*spectral-train --shard all"):
        evaluate(tmp_path)


REFUSED: dict[str, Callable[[NetworkPlan], NetworkPlan]] = {
    "dataset_id": lambda plan: replace(plan, dataset_id="f" * 16),
    "spec.layout": lambda plan: replace(plan, spec=replace(plan.spec, layout="tiles")),
    "spec.transform": lambda plan: replace(plan, spec=replace(plan.spec, transform="none")),
    "hold-out.seed": lambda plan: replace(plan, recipe=replace(plan.recipe, holdout_seed=1)),
    "hold-out.fraction": lambda plan: replace(plan, recipe=replace(plan.recipe, holdout=0.5)),
    "shards": lambda plan: replace(plan, shards=2),
    "grouping": lambda plan: replace(plan, grouping="balanced"),
    "common": lambda plan: replace(plan, common=(0,)),
    "classes": lambda plan: replace(plan, classes=("a", "b", "c")),
}


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_branches_that_do_not_belong_together_are_refused(run: Path, field: str) -> None:
    def change(record: NetworkRecord) -> NetworkRecord:
        return replace(record, plan=REFUSED[field](record.plan))

    rewrite_record(run, 1, change)
    with pytest.raises(PlanMismatchError, match=rf"branch 0 and branch 1 do not belong together.*{field}: "):
        evaluate(run)


def test_branches_may_differ_in_everything_else(run: Path) -> None:
    rewrite_record(run, 2, lambda record: replace(record, plan=replace(record.plan, recipe=replace(QUICK, lr=0.5))))
    assert evaluate(run)


@pytest.mark.parametrize("rows", [HELD_OUT, TEST])
def test_branches_with_other_rows_are_refused(run: Path, rows: str) -> None:
    rewrite_outputs(run, 3, rows, lambda outputs: replace(outputs, ids=outputs.ids + 1))
    with pytest.raises(PlanMismatchError, match="branch 0 and branch 3 have different"):
        evaluate(run)


def test_branches_with_other_labels_are_refused(run: Path) -> None:
    rewrite_outputs(run, 3, TEST, lambda outputs: replace(outputs, labels=outputs.labels.roll(1)))
    with pytest.raises(PlanMismatchError, match="branch 0 and branch 3 have different test rows"):
        evaluate(run)


def test_a_branch_in_the_folder_of_another_is_refused(run: Path) -> None:
    shutil.rmtree(run / "branch-01")
    shutil.copytree(run / "branch-02", run / "branch-01")
    with pytest.raises(PlanMismatchError, match="folder of another"):
        evaluate(run)


def test_the_baseline_of_another_data_set_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "baseline")
    other = make_shards(tmp_path / "other", dataset_id="f" * 16)
    with pytest.raises(PlanMismatchError, match=rf"Run next: spectral-train --baseline .*--run {run}, or"):
        train_baseline(on_cpu(other, run))
    train_baseline(on_cpu(other, tmp_path / "elsewhere"))
    shutil.copytree(tmp_path / "elsewhere/baseline", run / "baseline")
    with pytest.raises(
        PlanMismatchError, match=rf"delete {run}/baseline, then spectral-train --baseline .*--run {run}"
    ):
        evaluate(run)


@pytest.mark.parametrize("name", ["branch.json", "outputs.safetensors", "model.safetensors"])
def test_a_damaged_file_is_named(run: Path, name: str) -> None:
    path = run / "branch-02" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=rf"{path}.*delete {path.parent} .*evaluate {run} then says how"):
        evaluate(run)
    shutil.rmtree(path.parent)
    with pytest.raises(InputError, match=rf"Run next: spectral-train --shard 2 .*--run {run}"):
        evaluate(run)
