"""Every command that docs/results.md says its figures came from is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from spectral_train.commands import train_command
from spectral_train.recipe.options import OPTIONS, parse_settings
from spectral_train.recipe.recipes import named

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"
COMMANDS = dict.fromkeys(line for line in RESULTS.read_text().splitlines() if line.startswith("spectral-train "))


def test_the_tables_say_how_they_came_about() -> None:
    text = RESULTS.read_text()
    tables = re.findall(r"<!-- table: [\w-]+ -->(.*?)<!-- end -->", text, re.DOTALL)
    filled = [table for table in tables if table.strip()]
    assert filled
    assert all("spectral-train " in table for table in filled)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_program_takes_the_command(command: str) -> None:
    options = train_command.make_context("spectral-train", shlex.split(command)[1:]).params
    recipe = named(
        options["recipe"], **{name: options[name] for name in OPTIONS}, **parse_settings(options["settings"])
    )
    assert recipe.name == options["recipe"]
