"""deploy/imagenet: a release is converted, networks train, all is stopped and goes on, the paper's table is written.

At a tenth of the size, on the CPU: a few images, and the ImageNet sample where SPECTRAL_TEST_DATA names it.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from spectral_prep.spectrum import SpectralSpec
from spectral_prep.system.resources import usable_cpus
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import open_shard
from spectral_train.device import Resources
from spectral_train.models import parameter_count
from spectral_train.recipe.recipes import named
from spectral_train.report.papers import OURS
from spectral_train.run.metrics import silent
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import NetworkRecord
from spectral_train.run.weights import shape_network
from spectral_train.training import processes
from spectral_train.training.branch import train_branches
from spectral_train.training.fit import Training
from spectral_train.training.plan import baseline_plan, branch_plan
from spectral_train.training.request import TrainingRequest
from tests.support.pages import ROOT, shell
from tests.support.releases import imagenet_files, write_files
from tests.support.runs import QUICK, equal_weights, make_run, rewrite_record
from tests.support.services import wait_until
from tests.support.shards import draw, make_shards

REAL = os.environ.get("SPECTRAL_TEST_DATA")
(LINE,) = [block for block in shell("docs/imagenet.md", "On one machine") if "run.sh" in block]
EPOCHS = 20
SMALL = {"width": 0.05, "last_map": 1}
RUNS = Path("runs/imagenet")
SCRIPT = runpy.run_path(str(ROOT / "deploy/imagenet/tables.py"))
TABLES, MAIN = SCRIPT["tables"], SCRIPT["main"]


@pytest.fixture
def release(clone: Path) -> Path:
    """The sample, or a few images in the folders of the release."""
    if REAL:
        return Path(REAL) / "imagenet/folder"
    train, val = imagenet_files(train=6, val=3)
    for split, files in (("train", train), ("val", val)):
        write_files(clone / "data/imagenet" / split, files)
    return clone / "data/imagenet"


def environment(release: Path, python: str) -> Mapping[str, str]:
    settings = " ".join(f"--set {name}={value}" for name, value in SMALL.items())
    return {
        **os.environ,
        "PYTHON": python,
        "SOURCE": str(release),
        "DEVICES": "cpu",
        "MODELS": "alexnet",
        "SHARDS": "2",
        "CONVERT_OPTIONS": f"--size 24 --resize 24 {'--fraction 0.1' if REAL else ''}",
        "TRAIN_OPTIONS": f"--epochs {EPOCHS} --set precision=float32 --set holdout=0.2 {settings}",
    }


def test_what_is_stopped_goes_on_to_the_paper_s_table(
    clone: Path, python: str, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, metrics = environment(release, python), RUNS / "alexnet/branch-00/metrics.jsonl"
    line = re.sub(r"SOURCE=\S+ ", "", LINE.strip())
    with subprocess.Popen(["bash", "-c", f"exec {line}"], env=given, stderr=subprocess.PIPE, text=True) as stopped:
        wait_until(lambda: metrics.exists() or stopped.poll() is not None, lambda: "no epoch is done", 150)
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait(60) == 130, stopped.stderr and stopped.stderr.read()
    run = RunPaths(RUNS / "alexnet")
    assert run.baseline.record.exists()
    assert run.branch(0).checkpoint.exists()
    assert run.finished() == ()
    begun = len(metrics.read_text().splitlines())

    done = subprocess.run(["bash", "-c", line], env=given, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "baseline: finished already in runs/imagenet/alexnet/baseline" in done.stderr
    assert f"branch 0: epoch {begun + 1}/{EPOCHS}:" in done.stderr
    assert f"branch 0: epoch {begun}/{EPOCHS}:" not in done.stderr
    assert done.stdout.endswith((RUNS / "tables.md").read_text())
    table = (RUNS / "tables.md").read_text()
    assert table.startswith("# Table 3 of the long paper, on imagenet\n")
    assert re.search(r"\| alexnet \| \S+ % \| \S+ MB \| \S+ h \| 63.44 % \| 244 MB \| 40.8 h \|", table)
    assert re.search(r"\| alexnet-spectral \(geometric\) \| .*\| 62.26 % \| 130 MB \| 31.9 h \|", table)
    assert re.search(r"\| alexnet \|( \d\S* × \|){6} 1.88 × \| 7.62 × \| 1.28 × \|", table)

    recipe = named("imagenet-alexnet", epochs=EPOCHS, precision="float32", holdout=0.2, model_options=SMALL)
    asked = TrainingRequest(
        Path("spectral/imagenet-q16"), recipe, Path("whole"), ShardChoice(2), Resources("cpu", workers=1)
    )
    monkeypatch.setattr(processes, "usable_cpus", usable_cpus)  # on as many threads as the commands
    train_branches(asked, 0)
    assert equal_weights(run.branch(0), RunPaths(Path("whole")).branch(0))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("0", "--baseline --lr 0.001 --shards 4 --data d --run r/alexnet --recipe imagenet-alexnet"),
        ("4", "--shard 3 --shards 4 --data d --run r/alexnet --recipe imagenet-alexnet"),
        ("24", "--shard 3 --shards 4 --data d --run r/mobilevit --recipe imagenet-mobilevit"),
    ],
)
def test_a_task_of_the_array_is_a_network(tmp_path: Path, number: str, expected: str) -> None:
    said = tmp_path / "spectral-train"
    said.write_text('#!/bin/sh\necho "$@"\n')
    said.chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "DATA": "d", "RUNS": "r"}
    done = subprocess.run(
        [ROOT / "deploy/imagenet/train.sh"],
        env={**env, "SLURM_ARRAY_TASK_ID": number},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == f"{expected} --device auto"


@pytest.mark.parametrize(("number", "shards"), [("3", "2"), ("7", "2"), ("one", "2"), ("0", "two")])
def test_a_task_that_is_no_network_is_refused_in_words(tmp_path: Path, number: str, shards: str) -> None:
    env = {"PATH": os.environ["PATH"], "DATA": "d", "RUNS": "r", "MODELS": "alexnet", "SHARDS": shards}
    done = subprocess.run(
        [ROOT / "deploy/imagenet/train.sh", number], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    expected = (
        f"no such network. Expected: 0 to 2, .*Got: {number}" if shards == "2" else "no number of branches.*Got: two"
    )
    assert done.returncode == 2
    assert re.search(f"^Error: {expected}\\. Run next: the same line with ", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MODELS", "alexnet alexnt", "some of alexnet vgg16 resnet34 cyclemlp mobilevit. Got: alexnt"),
        ("SHARDS", "3", "one of 1, 2, 4, 8, 16. Got: 3"),
        ("SHARDS", "x", "one of 1, 2, 4, 8, 16. Got: x"),
        ("AT_ONCE", "0", "1 or more. Got: 0"),
        ("AT_ONCE", "08", "1 or more. Got: 08"),
        ("DEVICES", "cpu cuda:99", "cuda:99: no "),
        ("DEVICES", "0", "0: unknown device"),
    ],
)
def test_what_cannot_be_trained_with_is_refused_before_anything_is_converted(
    tmp_path: Path, python: str, variable: str, value: str, expected: str
) -> None:
    done = subprocess.run(
        [ROOT / "deploy/imagenet/run.sh"],
        env={**environment(tmp_path, python), "PATH": fakes(tmp_path), variable: value},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert expected in done.stderr
    assert done.stderr.endswith(f"Run next: the same line with another {variable}\n")
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize("stage", ["spectral-prep", "spectral-train"])
def test_an_interrupt_ends_all_that_run_sh_began_and_says_how_to_go_on(tmp_path: Path, python: str, stage: str) -> None:
    env = {**environment(tmp_path, python), "PATH": fakes(tmp_path, waiting=stage), "DEVICES": "cpu cpu"}
    script, wanted = ROOT / "deploy/imagenet/run.sh", 2 if stage == "spectral-train" else 1

    def processes() -> list[int]:
        begun = tmp_path / "begun"
        return [int(line) for line in begun.read_text().split()] if begun.exists() else []

    with subprocess.Popen(
        [script],
        env=env,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as stopped:
        assert stopped.stderr is not None
        wait_until(lambda: len(processes()) >= wanted or stopped.poll() is not None, lambda: f"only {processes()}", 150)
        assert stopped.poll() is None, stopped.stderr.read()
        os.killpg(stopped.pid, signal.SIGINT)
        assert stopped.wait(20) == 130
        assert stopped.stderr.read().endswith("Run next: the same line; it goes on where it stopped.\n")
    for process in processes():
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def fakes(folder: Path, waiting: str | None = None) -> str:
    """Return a PATH with commands that do nothing; the one that waits writes its process id first, and heeds TERM."""
    for name in ("spectral-prep", "spectral-train"):
        waits = "echo $$ >> begun; trap 'exit 143' TERM; while :; do sleep 0.1; done" if name == waiting else "exit 0"
        if waiting is None:
            waits = "echo $$ >> begun"
        (folder / name).write_text(f"#!/bin/bash\n{waits}\n")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("name", OURS)
def test_each_recipe_is_of_networks_that_can_be_built_on_flipped_shards(tmp_path: Path, name: str) -> None:
    data = make_shards(tmp_path / "data", train=draw(24, 24, 3), spec=SpectralSpec(2, 2, transform="dct2"))
    recipe = named(name, model_options=SMALL)
    plan = branch_plan(open_shard(data, 3), recipe)
    whole = baseline_plan(open_shard(data, 0, ShardChoice(shards=1)), recipe)
    assert parameter_count(shape_network(plan)) < parameter_count(shape_network(whole))
    assert Training(plan, NetworkPaths(tmp_path), torch.device("cpu"), silent).augmenter.flips


@pytest.mark.parametrize(("names", "got"), [([], "no folder in it"), (["vgg16"], "vgg16 is left out: ")])
def test_without_a_finished_run_no_table_is_written_and_an_older_one_stays(
    tmp_path: Path, names: list[str], got: str
) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "tables.md").write_text("older")
    refused = CliRunner().invoke(MAIN, [str(tmp_path)])
    assert refused.exit_code == 1
    assert refused.output.startswith(f"Error: {tmp_path}: no run here has all its branches. ")
    assert got in refused.output
    assert (tmp_path / "tables.md").read_text() == "older"


def test_a_data_set_without_test_rows_has_a_table_of_its_own_that_says_so(tmp_path: Path) -> None:
    empty = draw(0)
    for name, images in (("imagenet", draw(100, seed=1)), ("imagenet21k", empty)):
        data = make_shards(tmp_path / name, test=images)
        run = make_run(data, tmp_path / "runs" / name, replace(QUICK, epochs=1))
        for shard in range(4):
            rewrite_record(run, shard, lambda record, of=name: replace(record, plan=replace(record.plan, dataset=of)))  # type: ignore[misc]
    (tmp_path / "runs/vgg16").mkdir()
    table = TABLES([tmp_path / "runs/imagenet", tmp_path / "runs/imagenet21k", tmp_path / "runs/vgg16"])
    assert "- vgg16 is left out: " in table
    of_1k, of_21k = re.split("# Table 4 of the long paper, on imagenet21k\n", table)
    assert of_1k.startswith("# Table 3 of the long paper, on imagenet\n")
    assert "top-1 on the test split." in of_1k
    assert "top-1 on half of the held-out rows, as the data set has no test split." in of_21k
    assert "- imagenet: the conventional network is not trained\n- imagenet21k: the conventional" in of_21k


def of_the_poster(record: NetworkRecord) -> NetworkRecord:
    return replace(record, plan=replace(record.plan, recipe=replace(record.plan.recipe, name="poster-mnist")))


def test_a_network_of_which_the_paper_has_no_table_stands_without_its_figures(tmp_path: Path) -> None:
    run = make_run(make_shards(tmp_path / "mnist"), tmp_path / "runs/fc", replace(QUICK, epochs=1))
    for shard in range(4):
        rewrite_record(run, shard, of_the_poster)
    assert re.search(r"\| fc \|( – \|){3}", TABLES([run]))


@pytest.mark.parametrize(("dataset", "fraction"), [("imagenet", ""), ("imagenet21k", "--test-fraction 0.01 ")])
def test_a_release_without_test_images_has_some_set_apart(
    tmp_path: Path, python: str, dataset: str, fraction: str
) -> None:
    said = tmp_path / "spectral-prep"
    said.write_text('#!/bin/sh\necho "$@"\nexit 1\n')
    said.chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "DATASET": dataset, "SOURCE": "s", "DEVICES": "cpu"}
    done = subprocess.run(
        [ROOT / "deploy/imagenet/run.sh"],
        env={**env, "CONVERT_OPTIONS": "--views 4", "PYTHON": python},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    places = f"--dataset {dataset} --source s --q 16 --out spectral/{dataset}-q16"
    assert done.stdout.strip() == f"convert {places} --transform dct2 {fraction}--views 4"
