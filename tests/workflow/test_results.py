"""Every command that docs/results.md says its figures came from is one that the program takes."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from spectral_prep.spectrum import SpectralSpec
from spectral_prep.store.record_file import write_record
from spectral_train.commands import train_command
from spectral_train.ensemble.evaluate import evaluate, percent
from spectral_train.recipe.options import OPTIONS, parse_settings
from spectral_train.recipe.recipe import override
from spectral_train.recipe.recipes import named
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.rates import Rate, RatesRecord
from spectral_train.run.record import read_network
from spectral_train.training.baseline import train_baseline
from spectral_train.training.rates import FACTORS
from tests.support.runs import QUICK, make_run, on_cpu
from tests.support.shards import draw, make_shards

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

    pace = Pace(branches=[16, 8, 8, 8], conventional=80)
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

    found = Worth([60, 70], [10, 10], [5, 9], [5, 5], conventional=(71, 40, 20))
    slower = Worth([60, 70], [20, 20], [30, 60], [30, 30], conventional=(60, 80, 90))
    figure = draw({"a": found, "b": slower})
    drawn = [[np.asarray(line.get_ydata()).tolist() for line in axes.lines] for axes in figure.axes]
    assert [lines[:2] for lines in drawn] == [
        [[-11, -1], [0, 0]],
        [[10, 10], [40, 40]],
        [[5, 9], [20, 20]],
        [[5, 5], [20, 20]],
    ]
    for axes, lines in zip(figure.axes, drawn, strict=True):
        low, high = axes.get_ylim()
        assert all(low <= value <= high for line in lines for value in line)


CONV = "cifar10-conv"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the work with one system finished: its first seed, as small as can be."""
    root = tmp_path_factory.mktemp("work")
    data = make_shards(root / "spectral/cifar10-q4-dct2", spec=SpectralSpec(2, 2, transform="dct2"))
    recipe = replace(QUICK, epochs=3, patience=10)
    run = make_run(data, root / f"runs/{CONV}/seed-0", recipe)
    train_baseline(on_cpu(data, run, recipe))
    for name, content in {
        f"pace/{CONV}.json": {"branches": [40.0, 30.0, 30.0, 20.0], "conventional": 90.0},
        f"processor/{CONV}/seed-0.jsonl": {"side": "branches", "seconds": 150},
        f"flipped/{CONV}/seed-0.json": {"ensemble": {"learned": 0.75}, "baseline": 0.7},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content) + "\n")
    with (root / f"processor/{CONV}/seed-0.jsonl").open("a") as lines:
        lines.write('{"side": "conventional", "seconds": 60}\n{"side": "branches", "seconds": 30}\n')
    with pytest.MonkeyPatch.context() as path:
        path.syspath_prepend(BENCHMARKS)
        yield root


def test_a_line_of_the_tables_says_what_its_runs_say(finished: Path) -> None:
    from train_systems import systems
    from train_tables import Done, accuracies, costs
    from train_work import Work

    done, run = Done(CONV, systems()[CONV], Work(finished)), finished / f"runs/{CONV}/seed-0"
    found, row = evaluate(run, ["geometric", "learned"]), accuracies(done)
    learned, conventional = found.ensemble["learned"], found.baseline
    assert conventional is not None
    assert row["Seeds"] == "1 / 1"
    assert re.fullmatch(r"3 \([123]\) / 3 \([123]\)", row["Epochs"])
    assert row["Rates"] == "0.01 / 0.01, 1.0 ×"
    assert f"{row['learned']} %" == percent(learned)
    assert f"{row['Conventional']} %" == percent(conventional)
    assert row["learned − conv."] == f"{100 * (learned - conventional):+.2f}"
    assert (row["learned, flipped too"], row["their difference"]) == ("75.00", "+5.00")
    assert (row["fused"], row["Paper"]) == ("–", "89.64 (91.86)")

    cost = costs(done)
    assert (cost["Speed-up of an epoch"], cost["of the training"], cost["with one node"]) == (
        "2.25 ×",
        "2.25 ×",
        "0.75 ×",
    )
    assert (cost["Processor minutes, all branches"], cost["conventional"]) == ("3.0", "1.0")
    size = sum(read_network(RunPaths(run).branch(shard)).size_bytes for shard in range(4))
    assert cost["Compression"] == f"{read_network(RunPaths(run).baseline).size_bytes / size:.2f} ×"


def test_a_system_is_in_the_tables_when_something_of_its_own_is_done(tmp_path: Path, finished: Path) -> None:
    from train_systems import TABLES
    from train_tables import accuracy_table, command_list
    from train_work import Work

    (tmp_path / "runs/tiny-alexnet/seed-1").mkdir(parents=True)
    (tmp_path / "pace").mkdir()
    shutil.copy(finished / f"pace/{CONV}.json", tmp_path / "pace/tiny-alexnet.json")
    shutil.copytree(finished / f"runs/{CONV}/seed-0/baseline", tmp_path / "runs/tiny-alexnet/seed-1/baseline")
    table, work = TABLES["tiny"], Work(tmp_path)
    assert re.findall(r"tiny-[\w-]+", accuracy_table(table, work)) == ["tiny-alexnet"]  # and not -energy, beside it
    assert re.findall(r"^# ([\w-]+)|(--baseline|--shard all)", command_list(table, work), re.MULTILINE) == [
        ("tiny-alexnet", ""),
        ("", "--baseline"),
    ]


def test_tables_go_between_their_marks_and_others_stay(finished: Path, tmp_path: Path) -> None:
    from train_systems import TABLES
    from train_tables import write_tables
    from train_work import Work

    page = tmp_path / "results.md"
    page.write_text("\n".join(f"<!-- table: {name} -->\nas it was\n<!-- end -->" for name in TABLES))
    write_tables(page, Work(finished))
    parts = dict(re.findall(r"<!-- table: ([\w-]+) -->(.*?)<!-- end -->", page.read_text(), re.DOTALL))
    assert parts.pop("cifar10").count(f"\n| {CONV} |") == 2
    assert set(parts.values()) == {"\nas it was\n"}
    assert (
        "# cifar10-conv: --dataset cifar10 --q 4 --transform dct2; a budget of 90 processor minutes" in page.read_text()
    )
    assert "cifar10-narrow" not in page.read_text()
    page.write_text("no marks")
    with pytest.raises(click.ClickException, match="has no <!-- table: mnist -->"):
        write_tables(page, Work(finished))


def test_what_is_not_finished_is_trained_for_as_many_epochs_as_the_budget_is_worth(
    finished: Path, tmp_path: Path
) -> None:
    from train_systems import SIDES, systems
    from train_work import Work, commands, epochs_within, judge

    work, system = Work(tmp_path), systems()[CONV]
    assert not list(commands(CONV, system, 0, Work(finished)))
    shutil.copytree(finished / "pace", tmp_path / "pace")
    found = dict(commands(CONV, system, 2, work))
    assert {side: line[: line.index("--data")] for side, line in found.items()} == {
        "branches": ["spectral-train", "--shard", "all"],
        "conventional": ["spectral-train", "--baseline"],
    }
    for side, epochs in zip(SIDES, (epochs_within(90 / 2), epochs_within(90 / 1.5)), strict=True):
        given = train_command.make_context("spectral-train", found[side][1:]).params
        assert (given["epochs"], given["find_rate"], given["seed"]) == (epochs, True, 2)
    assert [line[:2] for line in judge(CONV, 0, system, work)] == [
        ["spectral-ensemble", "fuse"],
        ["spectral-ensemble", "evaluate"],
    ]


def test_every_branch_and_the_conventional_network_are_measured(finished: Path, tmp_path: Path) -> None:
    from train_systems import systems
    from train_work import Work, plans_of

    system, work = systems()[CONV], Work(finished)
    branches, rows = plans_of("branches", system, work)
    assert [(each.spectrals, each.recipe.model_options["width"]) for each in branches] == [
        ((0,), 13),
        ((0, 1), 13),
        ((0, 2), 13),
        ((0, 3), 13),
    ]
    assert rows == 300
    (conventional,), _ = plans_of("conventional", system, work)
    assert (conventional.shard, conventional.recipe.model_options["width"]) == (None, 32)

    smooth = draw(60)
    smooth = smooth._replace(pixels=smooth.pixels[:, ::2, ::2].repeat(2, 1).repeat(2, 2))
    make_shards(tmp_path / "spectral/cifar10-q4-dct2", train=smooth, spec=SpectralSpec(2, 2, transform="dct2"))
    by_energy = replace(system, branches=f"{system.branches} --width-by energy".replace("--common 0", ""))
    branches, _ = plans_of("branches", by_energy, Work(tmp_path))
    widths = [each.recipe.model_options["width"] for each in branches]
    assert widths[0] > 13 > widths[1]


def test_branches_by_energy_are_beside_the_conventional_network_of_equal_ones(tmp_path: Path, finished: Path) -> None:
    from train_systems import systems
    from train_work import Work, commands

    equal, energy, work = systems()["tiny-alexnet"], systems()["tiny-alexnet-energy"], Work(tmp_path)
    assert (energy.beside, energy.budget) == ("tiny-alexnet", equal.budget)
    (tmp_path / "pace").mkdir()
    shutil.copy(finished / f"pace/{CONV}.json", tmp_path / "pace/tiny-alexnet-energy.json")
    ((side, line),) = commands("tiny-alexnet-energy", energy, 0, work)
    assert (side, line[1:3], line[line.index("--width-by") + 1]) == ("branches", ["--shard", "all"], "energy")


def searched(paths: NetworkPaths[Path], losses: Sequence[float | None]) -> None:
    """Let a network have tried as many rates, an epoch each, with these losses."""
    plan = read_network(paths).plan
    rates = [Rate(plan.recipe.lr * factor, loss, None) for factor, loss in zip(FACTORS, losses, strict=False)]
    record = RatesRecord(replace(plan, recipe=override(plan.recipe, epochs=1)), tuple(rates))
    write_record(paths.rates_record, record)


def test_what_nodes_are_worth_is_of_the_runs_and_the_measured_epochs(tmp_path: Path, finished: Path) -> None:
    from train_systems import systems
    from train_tables import Done
    from train_work import Work
    from worth import worth

    finished = Path(shutil.copytree(finished, tmp_path / "work"))
    searched(RunPaths(finished / f"runs/{CONV}/seed-0").branch(0), [3, 2, 1])
    searched(RunPaths(finished / f"runs/{CONV}/seed-0").baseline, [1, 2])

    done, run = Done(CONV, systems()[CONV], Work(finished)), finished / f"runs/{CONV}/seed-0"
    found, evaluation = worth(done), evaluate(run, ["learned"])
    assert len(found.accuracy) == 4
    assert found.accuracy[-1] == pytest.approx(100 * evaluation.ensemble["learned"])
    assert found.accuracy[0] == pytest.approx(100 * min(evaluation.branches, key=lambda each: each.loss).accuracy)
    order = [each.shard for each in sorted(evaluation.branches, key=lambda each: each.loss)]
    minutes = [(6 * 40, 3 * 30, 3 * 30, 3 * 20)[shard] / 60 for shard in order]
    assert found.minutes == pytest.approx([max(minutes[:count]) for count in (1, 2, 3, 4)])
    assert found.processor == pytest.approx([sum(minutes[:count]) for count in (1, 2, 3, 4)])
    branch = read_network(RunPaths(run).branch(0))
    assert found.megabytes == pytest.approx([(300 * 16 + branch.size_bytes) / 1e6] * 4)
    assert evaluation.baseline is not None
    size = read_network(RunPaths(run).baseline).size_bytes
    expected = (100 * evaluation.baseline, (300 * 64 + size) / 1e6, 5 * 90 / 60)
    assert found.conventional == pytest.approx(expected)
    with pytest.raises(click.ClickException, match="cifar10-narrow: branches and conventional network are not done"):
        worth(Done("cifar10-narrow", systems()["cifar10-narrow"], Work(finished)))


def test_a_search_is_repeated_from_what_all_five_rates_came_to(tmp_path: Path, finished: Path) -> None:
    from rates import main

    for number, losses in enumerate(((5, 4, 3, 2, 1), (1, 4, 3, 2, 5), (5, 4, 3, 2, None), (5, 4, 3, 3.5, 5))):
        branch = shutil.copytree(finished / f"runs/{CONV}/seed-0/branch-00", tmp_path / f"branch-{number:02}")
        searched(NetworkPaths(Path(branch)), losses)
    said = CliRunner().invoke(main, [str(tmp_path)]).output
    assert said.splitlines() == [
        "4 searches: 3.00 trials, 3 at most, instead of 5",
        "3 come to the same rate; of the others the loss is 1.000 higher",
    ]
    assert "no search of all five rates" in CliRunner().invoke(main, [str(finished / f"runs/{CONV}/seed-0")]).output


def test_a_form_of_an_exported_network_is_set_beside_the_exact_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from half import Form, measured, table

    said = np.array([[0.7, 0.3], [0.4, 0.6], [0.1, 0.9]], np.float32)
    exact = Form("float32", said, 0.0414, 520_000)
    other = Form("half", said + np.array([[0, 0], [0.3, 0], [0, 0]], np.float32), 1.0, 415_000)
    assert table([exact, other], np.array([0, 1, 0])).splitlines()[2:] == [
        "| float32 | 66.67 % |  |  | 0.041 | 0.52 |",
        "| half | 33.33 % | 0.3 | 1 | 1 | 0.41 |",
    ]
    images = np.arange(250, dtype=np.uint8).reshape(250, 1, 1, 1)
    (tmp_path / "file").write_bytes(bytes(7))
    form = measured("x", tmp_path / "file", lambda some: some[:, 0, 0].astype(np.float32), images)
    assert (form.size, form.probabilities[:, 0].tolist()) == (7, list(range(250)))
