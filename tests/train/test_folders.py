"""A wrong folder is called what it is, and the command that is advised for it works as it is typed."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_prep.places.disk import DiskPlace
from spectral_train.folders import kind_of, not_a_data_set, not_a_run, require_run_folder
from tests.support.commands import done, run
from tests.support.releases import write_folder
from tests.support.runs import QUICK, make_run
from tests.support.shards import make_shards
from tests.support.trees import tree

SHORT = "--model fc --set depth=2 --set width=4 --epochs 1 --workers 1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set `data` and the run `mine` of it."""
    root = tmp_path_factory.mktemp("made")
    make_run(make_shards(root / "data"), root / "mine", replace(QUICK, epochs=1))
    return root


@pytest.fixture(autouse=True)
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, as the current folder."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    Path("empty").mkdir()
    Path("unrelated").mkdir()
    Path("unrelated/notes.txt").write_text("")
    return Path()


def advice(error: InputError) -> tuple[str, str]:
    """Return what an error says was found, and what to run next."""
    parts = dict(error.parts)
    return parts["Got"], parts["Run next"]


@pytest.mark.parametrize(
    ("place", "got", "command"),
    [
        ("data", "a converted data set", "spectral-train --shard all --data data"),
        ("data/spectral-01", "a spectral folder", "spectral-train --shard 1 --data data/spectral-01"),
        ("empty", "an empty folder", "spectral-train --shard all --data data --run empty"),
        ("unrelated", "notes.txt", "spectral-train --shard all --data data"),
        ("data/spectral-01/spectral.json", "a file", "spectral-train --shard all --data data"),
        (".", "a folder of runs: mine", "spectral-ensemble runs ."),
        ("typo", "nothing; runs beside it: mine", "spectral-ensemble runs ."),
    ],
)
def test_what_is_no_run_is_called_what_it_is_with_a_command_that_works(place: str, got: str, command: str) -> None:
    for name in ("evaluate", "fuse"):
        refused = run(f"spectral-ensemble {name} {place}")
        assert (refused.code, f"Got: {got}" in refused.err) == (2, True), refused.err
        assert f"Run next: {command}\n" in refused.err
    done(f"{command} {SHORT}" if "train" in command else command)


def test_the_folder_of_a_branch_is_sent_to_its_run(here: Path) -> None:
    for line in ("evaluate mine/branch-00", "report mine/branch-00", "fuse mine/branch-00"):
        refused = run(f"spectral-ensemble {line}")
        assert (refused.code, "Run next: the same command with mine\n" in refused.err) == (2, True), refused.err
    shutil.copytree("mine/branch-02", "alone")
    found, command = advice(not_a_run(Path("alone"), "no trained branch here"))
    assert found == "the folder of one network"
    done(command)
    assert "1 of 4" in done("spectral-ensemble runs runs/collected").out


def test_beside_a_baseline_alone_the_same_options_train_the_branches() -> None:
    baseline = f"spectral-train --baseline --data data --run mine2 {SHORT}"
    done(baseline)
    found, command = advice(not_a_run(Path("mine2"), "no trained branch here"))
    assert found == "the baseline alone"
    assert command == "the command that trained it, with --shard all in the place of --baseline"
    done(baseline.replace("--baseline", "--shard all"))
    done("spectral-ensemble evaluate mine2")


def test_a_run_that_is_begun_goes_on(here: Path) -> None:
    for record in Path("mine").glob("*/branch.json"):
        record.unlink()
    found, command = advice(not_a_run(Path("mine"), "no trained branch here"))
    assert found == "begun and not finished: branch-00, branch-01, branch-02, branch-03"
    assert command.startswith("the same spectral-train again")


def test_without_any_data_one_is_converted_first() -> None:
    shutil.rmtree("data")
    shutil.rmtree("mine")
    assert advice(not_a_run(Path("typo"), "no trained branch here"))[1] == (
        "spectral-prep convert --dataset digits --q 4, then spectral-train --shard all --run typo"
    )


def test_branches_that_are_all_left_out_are_not_trained_again() -> None:
    refused = run("spectral-ensemble evaluate mine --without 0 --without 1 --without 2 --without 3")
    assert "Run next: the same command with fewer --without" in refused.err


@pytest.mark.parametrize("place", ["data", "data/spectral-01", "mine/branch-00", "unfinished"])
def test_a_run_is_not_written_into_what_is_another_thing(here: Path, place: str) -> None:
    Path("unfinished").mkdir()
    Path("unfinished/plan.json").write_text("{}")
    before = tree(here)
    for line in (
        f"spectral-train --shard 0 --data data --run {place} {SHORT}",
        f"spectral-train --shard all --joint always --data data --run {place} {SHORT}",
        f"spectral-train --baseline --data data --run {place} {SHORT}",
        f"spectral-ensemble collect {place} mine",
        f"spectral-ensemble soup mine mine --data data --out {place}",
    ):
        refused = run(line)
        assert (refused.code, "a run cannot be written here" in refused.err) == (2, True), refused.err
    assert tree(here) == before


def test_a_training_begins_without_a_look_into_the_folders_of_where_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, folders = list[Path](), DiskPlace.folders

    def look(here: DiskPlace) -> list[str]:
        looked.append(here.path)
        return folders(here)

    monkeypatch.setattr(DiskPlace, "folders", look)
    require_run_folder(Path(), "--run ")
    assert looked == [Path()]


def test_a_folder_in_it_that_may_not_be_read_is_no_reason_to_say_another_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("unrelated/locked").mkdir()
    names = DiskPlace.names

    def refuse(here: DiskPlace) -> list[str]:
        if here.path.name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(here.path))
        return names(here)

    monkeypatch.setattr(DiskPlace, "names", refuse)
    assert advice(not_a_data_set(Path("unrelated"))) == ("locked, notes.txt", "the same command with --data data")


def test_a_run_that_was_written_into_a_data_set_can_be_saved(here: Path) -> None:
    shutil.copytree("mine/branch-01", "data/branch-01")
    refused = run(f"spectral-train --shard 0 --data data --run data {SHORT}")
    assert "such as --run runs/data, after moving there what an earlier release wrote here: branch-01" in refused.err
    assert "1 of 4" in done("spectral-ensemble runs data").out


@pytest.mark.parametrize(
    ("place", "got", "command"),
    [
        ("dataa", "nothing", "the same command with --data data"),
        ("elsewhere/data", "nothing", "the same command with --data data"),
        ("empty", "an empty folder", "the same command with --data data"),
        ("mine", "a run", "the same command with --data data"),
        ("mine/branch-00", "the folder of one network", "the same command with --data data"),
        (".", "a folder of runs", "the same command with --data data"),
        ("unrelated", "notes.txt", "the same command with --data data"),
        ("photos", "train", "spectral-prep convert --dataset folder --source photos --q 4 --size 224 --resize 256"),
        ("photos-q4", "nothing", "spectral-prep convert --dataset folder --source photos --q 4 --out photos-q4"),
        ("digits-q4", "nothing", "spectral-prep convert --dataset digits --q 4 --out digits-q4"),
    ],
)
def test_a_wrong_data_folder_is_answered_by_what_was_typed(place: str, got: str, command: str) -> None:
    write_folder(Path("photos"), [f"train/{name}/{number}.png" for name in "ab" for number in range(4)])
    refused = run(f"spectral-train --shard 0 --data {place}")
    assert (refused.code, f"Got: {got}\n" in refused.err) == (2, True), refused.err
    assert f"Run next: {command}" in refused.err
    assert "mnist" not in refused.err


def test_the_converters_own_line_makes_what_was_typed() -> None:
    command = advice(not_a_data_set(Path("digits-q4")))[1]
    done(f"{command} --limit 90 --workers 1")
    assert kind_of(Path("digits-q4")) == "a converted data set"


def test_an_unfinished_conversion_and_half_a_copy_are_told() -> None:
    Path("unfinished").mkdir()
    Path("unfinished/plan.json").write_text("{}")
    assert advice(not_a_data_set(Path("unfinished")))[0] == "a conversion that is not finished"
    Path("half/spectral-00").mkdir(parents=True)
    found, command = advice(not_a_data_set(Path("half")))
    assert (found, command.startswith("copy the folders again")) == ("spectral-00", True)
