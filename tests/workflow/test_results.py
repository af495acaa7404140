"""Every command that docs/results.md says its figures came from is one that the program takes."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from spectral_train.commands import train_command
from spectral_train.recipe.options import OPTIONS, parse_settings
from spectral_train.recipe.recipes import named

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
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


def test_every_table_of_the_benchmark_has_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from train_systems import TABLES

    assert re.findall(r"<!-- table: ([\w-]+) -->", RESULTS.read_text()) == [*TABLES]


def test_all_branches_together_have_the_processor_time_of_the_conventional_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from train_work import Pace, epochs_within

    pace = Pace(branch=10, branches=4, conventional=80)
    assert [pace.epochs(side, 40) for side in ("branches", "conventional")] == [40, 20]  # and 20 and 10 of the search
    assert [epochs_within(each) for each in (0.5, 6, 7, 29.9, 30)] == [1, 1, 2, 19, 20]


def test_figures_have_their_scatter_and_what_is_not_done_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from train_tables import gap, spread, table_of

    assert (spread({0: 0.5}), spread({0: 0.5, 1: 0.52}), spread({})) == ("50.00", "51.00 ± 1.41", "–")
    assert gap({0: 0.5, 1: 0.52, 2: 0.9}, {0: 0.51, 1: 0.51}) == "+0.00 ± 1.41"
    assert gap({0: 0.5}, {0: 0.51}) == "-1.00"
    assert gap({0: 0.5}, {1: 0.5}) == "–"
    assert table_of([{}, {"a": "1", "b": "–"}]).splitlines()[0] == "| a |"
    assert table_of([{}]) == ""


def test_the_figure_has_a_line_over_the_nodes_and_the_conventional_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from worth import Worth, draw

    found = Worth((60.0, 70.0), megabytes=10, minutes=5, conventional=(71.0, 40.0, 20.0))
    drawn = [[np.asarray(line.get_ydata()).tolist() for line in axes.lines] for axes in draw({"a": found}).axes]
    assert drawn == [[[60, 70], [71, 71]], [[10, 10], [40, 40]], [[5, 10], [20, 20]], [[5, 5], [20, 20]]]
