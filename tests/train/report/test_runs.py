"""Runs are listed and compared from what they recorded, and cleaned of nothing that anybody needs."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_prep.places import sole_use
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.report.runs import Comparison, compare, overview, overviews
from spectral_train.report.runs_text import comparison_text
from spectral_train.run.cleaning import leftovers
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from spectral_train.training.branch import train_branches
from tests.support.commands import run as command
from tests.support.runs import QUICK, make_run, on_cpu, rewrite_record
from tests.support.shards import make_shards
from tests.support.trees import tree


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs: `all` with four branches, `one` with one branch of another recipe."""
    root = tmp_path_factory.mktemp("root")
    data = make_shards(root / "data")
    make_run(data, root / "runs" / "all")
    train_branches(on_cpu(data, root / "runs" / "one", replace(QUICK, lr=0.02, epochs=2)), 2)
    return root / "runs"


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def test_each_run_is_listed_with_what_its_records_say(runs: Path) -> None:
    (runs / "no run").mkdir()
    (runs / "one" / "branch-03").mkdir()
    (runs / "one" / "branch-03" / "checkpoint.safetensors").write_bytes(bytes(1000))
    whole, one = overviews(runs)
    assert (whole.dataset, whole.q, whole.model, whole.done, whole.branches) == ("shapes", 4, "fc", 4, 4)
    assert whole.ensemble == evaluate(runs / "all", ["geometric"]).ensemble["geometric"]
    assert whole.size_bytes == sum(map(len, tree(runs / "all").values()))
    assert (one.done, one.branches, one.begun, one.ensemble) == (1, 4, ("branch-03",), None)
    assert overviews(runs / "one") == (one,)
    listed = command(f"spectral-ensemble runs {runs} --json")
    assert [each["run"] for each in json.loads(listed.out)] == [f"{runs}/all", f"{runs}/one"]
    assert "1 of 4, 1 begun" in command(f"spectral-ensemble runs {runs}").out


def test_a_damaged_run_is_listed_and_its_fault_named(runs: Path) -> None:
    (runs / "all" / "branch-01" / "branch.json").write_text("{}")
    told = command(f"spectral-ensemble runs {runs}")
    assert (told.code, "branch.json" in told.err) == (0, True)
    assert [line.split()[0] for line in told.out.splitlines()[1:]] == [f"{runs}/all", f"{runs}/one"]
    assert overview(runs / "all").done == 3


def test_two_runs_are_compared_by_what_differs(runs: Path) -> None:
    found = compare([runs / "all", runs / "one"])
    assert found.settings == {"epochs": (4, 2), "lr": (0.01, 0.02)}
    assert found.figures["branches"] == (4, 1)
    assert found.figures["ensemble"][0] == evaluate(runs / "all", ["geometric"]).ensemble["geometric"]
    told = command(f"spectral-ensemble runs {runs}/all {runs}/one")
    assert any(line.split() == ["lr", "0.01", "0.02"] for line in told.out.splitlines()), told.err
    assert json.loads(command(f"spectral-ensemble runs {runs}/all {runs}/one --json").out)["settings"]["epochs"] == [
        4,
        2,
    ]
    assert "The same settings." in command(f"spectral-ensemble runs {runs}/all {runs}/all").out


def test_settings_of_a_model_are_none_of_the_images(trained: Path, tmp_path: Path) -> None:
    data = make_shards(tmp_path / "data")
    for width in (4, 8):
        recipe = replace(QUICK, model_options={**QUICK.model_options, "width": width}, epochs=1)
        train_branches(on_cpu(data, tmp_path / f"{width}", recipe), 2)
    assert compare([tmp_path / "4", tmp_path / "8"]).settings == {"model_options.width": (4, 8)}
    found = compare([trained / "one", tmp_path / "4"]).settings
    assert "width" not in found, "that of the images, which is the same"


def test_the_settings_of_unequal_branches_are_those_of_all(runs: Path) -> None:
    for shard, width in enumerate((31, 16, 12, 16)):
        own = replace(QUICK, model_options={**QUICK.model_options, "width": width})
        record = read_network(RunPaths(runs / "all").branch(shard))
        changed = replace(record, plan=replace(record.plan, recipe=own))
        rewrite_record(runs / "all", shard, lambda _, changed=changed: changed)  # type: ignore[misc]
    found = compare([runs / "all", runs / "one"])
    assert found.settings["model_options.width"] == ((31, 16, 12, 16), 16)
    told = command(f"spectral-ensemble runs {runs}/all {runs}/one").out
    assert any(line.split() == ["model_options.width", "12", "to", "31", "16"] for line in told.splitlines()), told


def test_rounded_figures_stand_in_the_table() -> None:
    text = comparison_text(Comparison(("a", "b"), {"holdout": (1 / 12, 0.1)}, {}))
    assert text.splitlines()[1].split() == ["holdout", "0.08333", "0.1"]


def test_no_run_is_refused(tmp_path: Path) -> None:
    for nothing in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no run here"):
            overviews(nothing)


def littered(runs: Path) -> None:
    """Leave what kills leave: checkpoints beside a record, parts of writes, and a branch that was begun."""
    trial = runs / "all" / "branch-01" / "rates" / "0.01" / "checkpoint.safetensors"
    trial.parent.mkdir(parents=True)
    for checkpoint in (trial, runs / "all" / "branch-01" / "checkpoint.safetensors"):
        checkpoint.write_bytes(bytes(1000))
    (runs / "all" / "fused-without-02").mkdir()
    (runs / "all" / "fused-without-02" / "model.safetensors.0123.partial").write_bytes(bytes(10))
    (runs / "all" / "branch-02" / "model.safetensors.0123.partial").write_bytes(bytes(10))
    shutil.copytree(runs / "all" / "branch-03", runs / "one" / "branch-03")
    (runs / "one" / "branch-03" / "branch.json").unlink()
    (runs / "one" / "branch-03" / "checkpoint.safetensors").write_bytes(bytes(3000))


def test_cleaning_names_what_goes_and_leaves_every_network_as_it_was(runs: Path) -> None:
    before = tree(runs)
    littered(runs)
    begun = {path: content for path, content in tree(runs).items() if path.startswith("one/branch-03/")}
    told = command(f"spectral-ensemble runs {runs} --clean --yes")
    assert "checkpoint.safetensors: 1.0 kB, checkpoint of a finished network" in told.err
    assert "4 files removed, 2.0 kB" in told.out
    assert tree(runs) == {**before, **begun}
    assert "Nothing to remove" in command(f"spectral-ensemble runs {runs} --clean --yes").out
    told = command(f"spectral-ensemble runs {runs} --clean --unfinished --yes")
    assert "of a network that is not finished, 4 epochs trained" in told.err
    assert tree(runs) == before


def test_cleaning_leaves_what_is_written_by_others(tmp_path: Path) -> None:
    for name in ("exp1/baseline/model.safetensors", "exp1/branch-1/notes.txt", "exp1/branch-1/movie.partial"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("theirs")
    (tmp_path / "exp1/branch-02").mkdir()
    for name in ("rates.json", "notes.txt"):  # one that is begun, with something beside
        (tmp_path / "exp1/branch-02" / name).write_text("{}")
    before = tree(tmp_path)
    assert command(f"spectral-ensemble runs {tmp_path} --clean --unfinished --yes").code == 0
    del before["exp1/branch-02/rates.json"]
    assert tree(tmp_path) == before


def test_a_killed_write_of_any_head_is_found(runs: Path) -> None:
    for lost in ([], [1], [1, 3]):
        head = RunPaths(runs / "all").fused(lost).root
        head.mkdir()
        (head / "model.safetensors.0123456789ab.partial").write_text("x")
    assert len(leftovers(runs / "all")) == 3


def test_cleaning_asks_first(runs: Path) -> None:
    littered(runs)
    before = tree(runs)
    assert command(f"spectral-ensemble runs {runs} --clean").code != 0  # nobody answers
    assert tree(runs) == before
    assert command(f"spectral-ensemble runs {runs} --yes").code == 2


def test_an_answer_of_no_removes_nothing_and_says_so_to_machines(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    littered(runs)
    before = tree(runs)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    told = command(f"spectral-ensemble runs {runs} --clean --json")
    assert (told.code, json.loads(told.out), "Remove 4 files, 2.0 kB?" in told.err) == (0, [], True)
    assert tree(runs) == before


def test_a_network_that_is_being_trained_is_not_cleaned(runs: Path) -> None:
    littered(runs)
    before = tree(runs)
    with sole_use(RunPaths(runs / "one").branch(3).lock, "branch 3 is trained"):
        assert all(each.place.name != "training.lock" for each in leftovers(runs / "one", unfinished=True))
        told = command(f"spectral-ensemble runs {runs}/one --clean --unfinished --yes")
    assert "Kept, a process trains there" in told.err
    assert tree(runs) == before
