"""The command line of training and of the ensemble: what it offers stands in tables, and its help costs no torch."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, get_args

import click
import pytest

import cli
from spectral_train.commands import train_command
from spectral_train.data.grouping import GROUPINGS
from spectral_train.device import DEVICES
from spectral_train.ensemble.combination import FUSED
from spectral_train.ensemble.schemes import SCHEMES
from spectral_train.ensemble_commands import ensemble_group
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from spectral_train.training.request import Joint
from spectral_train.training.soup import METHODS
from tests.support.commands import run
from tests.support.shards import make_shards

ORDER = ["runs", "collect", "evaluate", "predict", "report", "soup", "export", "fuse"]


@pytest.mark.parametrize("program", [cli.prep, cli.train, cli.ensemble])
def test_threads_of_every_command_sleep_while_they_wait_unless_the_user_says_otherwise(
    program: Callable[[list[str]], NoReturn], monkeypatch: pytest.MonkeyPatch
) -> None:
    for before, after in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.setenv("OMP_WAIT_POLICY", before or "")
        if before is None:
            monkeypatch.delenv("OMP_WAIT_POLICY")
        with pytest.raises(SystemExit):
            program(["--version"])
        assert os.environ["OMP_WAIT_POLICY"] == after


def test_help_imports_no_torch() -> None:
    program = """
import sys, cli
for line in sys.argv[1:]:
    name, *arguments = line.split()
    try:
        getattr(cli, name)(arguments)
    except SystemExit as ended:
        assert ended.code == 0
    assert "torch" not in sys.modules, line
"""
    lines = ["train --help", "ensemble --help", *(f"ensemble {name} --help" for name in ORDER)]
    subprocess.run([sys.executable, "-c", program, *lines], check=True, cwd=Path(__file__).parents[2])


def test_commands_are_listed_in_the_order_of_the_work() -> None:
    assert ensemble_group.list_commands(click.Context(ensemble_group)) == ORDER


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        (train_command, "grouping", GROUPINGS),
        (train_command, "device", DEVICES),
        (train_command, "joint", get_args(Joint)),
        (ensemble_group.commands["soup"], "method", METHODS),
        (ensemble_group.commands["evaluate"], "schemes", (*SCHEMES, FUSED)),
        (ensemble_group.commands["predict"], "scheme", (*SCHEMES, FUSED)),
        (ensemble_group.commands["export"], "scheme", (*SCHEMES, FUSED)),
    ],
)
def test_what_may_be_chosen_is_what_there_is(command: click.Command, option: str, choices: object) -> None:
    (found,) = (each.type for each in command.params if each.name == option)
    assert isinstance(found, click.Choice)
    assert list(found.choices) == list(choices)  # type: ignore[call-overload]


def test_one_object_says_what_came_of_a_training(tmp_path: Path) -> None:
    data, place = make_shards(tmp_path / "data"), tmp_path / "run"
    line = f"spectral-train --data {data} --run {place} --set epochs=2 --device cpu --json"
    trained = run(f"{line} --shard all")
    found = json.loads(trained.out)
    assert (found["run"], found["shards"], len(found["networks"])) == (str(place), 4, 4), trained.err
    branch, record = found["networks"][2], read_network(RunPaths(place).branch(2))
    assert (branch["name"], branch["folder"], branch["epochs"]) == ("branch 2", f"{place}/branch-02", 2)
    assert branch["held_out_accuracy"] == record.held_out_accuracy
    assert json.loads(run(f"{line} --shard 2").out)["networks"] == [branch]
    (baseline,) = json.loads(run(f"{line} --baseline").out)["networks"]
    assert (baseline["shard"], baseline["folder"]) == (None, f"{place}/baseline")


def test_a_device_may_be_one_of_several_gpus() -> None:
    told = run("spectral-train --shard 0 --device cuda:x")
    assert (told.code, "auto" in told.err) == (2, True)
    (device,) = (each.type for each in train_command.params if each.name == "device")
    assert device.convert("cuda:1", None, None) == "cuda:1"
