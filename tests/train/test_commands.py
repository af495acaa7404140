"""The command line of training and of the ensemble: what it offers stands in tables, and its help costs no torch."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest

from spectral_train.commands import train_command
from spectral_train.data.grouping import GROUPINGS
from spectral_train.device import DEVICES
from spectral_train.ensemble.schemes import SCHEMES
from spectral_train.ensemble_commands import ensemble_group
from spectral_train.training.request import Joint
from spectral_train.training.soup import METHODS

ORDER = ["collect", "evaluate", "predict", "report", "soup", "export"]


@pytest.mark.parametrize("line", ["train --help", "ensemble --help", *(f"ensemble {name} --help" for name in ORDER)])
def test_help_imports_no_torch(line: str) -> None:
    program = """
import sys, cli
name, *arguments = sys.argv[1:]
try:
    getattr(cli, name)(arguments)
finally:
    assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, *line.split()], check=True, cwd=Path(__file__).parents[2])


def test_commands_are_listed_in_the_order_of_the_work() -> None:
    assert ensemble_group.list_commands(click.Context(ensemble_group)) == ORDER


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        (train_command, "grouping", GROUPINGS),
        (train_command, "device", DEVICES),
        (train_command, "joint", get_args(Joint)),
        (ensemble_group.commands["soup"], "method", METHODS),
        (ensemble_group.commands["evaluate"], "schemes", SCHEMES),
        (ensemble_group.commands["predict"], "scheme", SCHEMES),
        (ensemble_group.commands["export"], "scheme", SCHEMES),
    ],
)
def test_what_may_be_chosen_is_what_there_is(command: click.Command, option: str, choices: object) -> None:
    (found,) = (each.type for each in command.params if each.name == option)
    assert isinstance(found, click.Choice)
    assert list(found.choices) == list(choices)  # type: ignore[call-overload]
