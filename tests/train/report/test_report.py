import base64
import functools
import io
import re
import shutil
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spectral_prep.errors import CorruptFileError, InputError
from spectral_train.ensemble.combination import Combination
from spectral_train.ensemble.evaluate import evaluate, percent
from spectral_train.recipe.recipe import Recipe
from spectral_train.report.figures import FIGURES
from spectral_train.report.report import HTML, MARKDOWN, compose, report
from spectral_train.report.summary import condensed, summarise
from spectral_train.run.outputs import TEST, read_outputs
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkRecord
from spectral_train.run.widths import WidthRule
from spectral_train.training.baseline import train_baseline
from tests.support.browser import seen
from tests.support.runs import QUICK, make_run, on_cpu, rewrite_record
from tests.support.shards import make_shards


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of one plan, the first with a baseline, under the name of a recipe of the papers."""
    root = tmp_path_factory.mktemp("runs")
    data = make_shards(root / "data")
    recipes = [replace(QUICK, name="poster-mnist", seed=seed) for seed in (0, 1)]
    folders = [make_run(data, root / f"seed{recipe.seed}", recipe) for recipe in recipes]
    train_baseline(on_cpu(data, folders[0], recipes[0]))
    return folders


@pytest.fixture(scope="module")
def written(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(str(report(runs[:1], tmp_path_factory.mktemp("report")).folder))


def lines_with(text: str, start: str) -> list[list[str]]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if row[0].startswith(start)]


def test_the_figures_of_the_papers_stand_beside_ours(runs: list[Path], written: Path) -> None:
    text, found = (written / MARKDOWN).read_text(), evaluate(runs[0])
    ours, paper = lines_with(text, "this run")[0], lines_with(text, "poster, Table 1")[0]
    values = [found.mean_accuracy, found.best_accuracy, found.ensemble["geometric"], found.baseline]
    assert ours[1:] == [percent(value) for value in values if value is not None]
    assert paper[1:] == ["82.74 %", "96.32 %", "98.36 %", "98.71 %"]
    assert [row[1] for row in lines_with(text, "spectral, ")] == [percent(value) for value in found.ensemble.values()]
    compression = summarise(runs[0]).costs.compression
    assert compression is not None
    assert lines_with(text, "Compression ratio, all")[0][1] == f"{compression[0]:.2f}×"
    assert lines_with(text, "training rows")[0][1:] == ["275 (and 25 held out)", "60,000"]
    assert lines_with(text, "epochs")[0][1:] == ["4", "not given"]


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    page = (written / HTML).read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == len(FIGURES)
    for source in sources:
        head, _, content = source.partition(",")
        assert head == "data:image/png;base64"
        width, height = Image.open(io.BytesIO(base64.b64decode(content))).size
        assert min(width, height) > 100
    assert page.count("<table>") == (written / MARKDOWN).read_text().count("|---|\n")
    assert not re.search(r"https?://|<script|@import|url\(", page)


@pytest.mark.parametrize("width", [500, 1400])
def test_a_browser_shows_every_picture_and_nothing_beside_the_page(written: Path, width: int, tmp_path: Path) -> None:
    assert seen(written / HTML, width, tmp_path) == {"pictures": len(FIGURES), "broken": [], "overflow": 0}


def test_seeds_are_averaged(runs: list[Path], tmp_path: Path) -> None:
    text = Path(str(report(runs, tmp_path / "out").folder / MARKDOWN)).read_text()
    means = [100 * evaluate(run).mean_accuracy for run in runs]
    (row,) = lines_with(text, "seed0, seed1")
    assert row[1] == "2"
    assert row[2] == f"{statistics.mean(means):.2f} % ± {statistics.stdev(means):.2f} %"
    assert len(lines_with(text, "seed")) == 3
    assert (tmp_path / "out" / "2-loss.png").exists()
    assert "No ratio: the baseline was not trained" in text
    assert re.search(rf"`spectral-train --baseline --recipe poster-mnist .*--run {runs[1]}`", text)


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(runs: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs[1], tmp_path / "other"))
    rewrite_record(
        other, 3, lambda each: replace(each, plan=replace(each.plan, recipe=replace(each.plan.recipe, lr=0.5)))
    )
    text = Path(str(report([runs[0], other], tmp_path / "out").folder / MARKDOWN)).read_text()
    assert not lines_with(text, "seed0, other")


def test_no_row_and_no_column_is_empty(runs: list[Path], tmp_path: Path) -> None:
    text = Path(str(report(runs[1:], tmp_path / "out").folder / MARKDOWN)).read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows
    assert [row for row in rows if len(row) > 1 and all(cell == "–" for cell in row[1:])] == []
    heads = next(row for row in rows if row[0] == "Run")
    assert "Mean Acc." in heads
    assert not {"Baseline", "Parallel speed-up"} & {*heads}


@pytest.mark.parametrize(("classes", "shown"), [(10, 10), (1000, 31)])
def test_a_confusion_matrix_can_be_read_however_many_classes_there_are(
    runs: list[Path], classes: int, shown: int
) -> None:
    counts = np.diag(np.full(classes, 50))
    counts[classes - 1, 3] = 9
    counts[5, 6] = 7
    kept, few = condensed(counts, 30)
    assert few.shape == (shown, shown)
    assert few.sum() == counts.sum()
    assert {3, 5, 6, classes - 1} <= {*kept}
    summary = summarise(runs[1])
    plan = replace(summary.records[0].plan, classes=tuple(f"class {number}" for number in range(classes)))
    records = (replace(summary.records[0], plan=plan), *summary.records[1:])
    drawn = Image.open(io.BytesIO(FIGURES["confusion"](replace(summary, records=records, confusion=counts))))
    assert drawn.height >= 25 * shown  # pixels a class


def test_classes_are_counted_as_the_branches_see_them(runs: list[Path]) -> None:
    summary = summarise(runs[0])
    outputs = read_outputs(RunPaths(runs[0]).branch(2).outputs, TEST)
    guess, labels = outputs.log_probabilities.argmax(1).numpy(), outputs.labels.numpy()
    assert summary.recall[2].tolist() == pytest.approx([(guess[labels == c] == c).mean() for c in range(3)])
    assert np.diag(summary.confusion).sum() / 100 == summary.evaluation.ensemble["geometric"]
    assert summary.confusion.sum(1).tolist() == np.bincount(labels, minlength=3).tolist()


def test_names_are_text_and_no_markup(runs: list[Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    for shard in range(4):
        rewrite_record(
            run, shard, lambda record: replace(record, plan=replace(record.plan, classes=("<b>|", "b", "c")))
        )
    folder = report([run]).folder
    assert folder == run / "report"
    assert "<b>" not in (folder / HTML).read_text()


def test_what_is_missing_is_said(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    shutil.rmtree(run / "branch-01")
    with pytest.raises(InputError, match="--allow-missing"):
        report([run])
    for number in (0, 2, 3):  # as a release wrote them that did not vouch for metrics
        RunPaths(run).branch(number).metrics.unlink()
        rewrite_record(run, number, lambda record: replace(record, files=record.files[:2]))
    found = report([run], combination=Combination(allow_missing=True))
    assert "Branches that take no part: 1" in Path(str(found.folder / MARKDOWN)).read_text()
    assert "loss.png" not in [path.name for path in found.files]
    RunPaths(run).branch(0).metrics.write_text("{")
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl"):
        report([run], combination=Combination(allow_missing=True))


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_metrics_that_are_not_those_recorded_are_named(runs: list[Path], tmp_path: Path, damage: str) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    metrics = RunPaths(run).branch(2).metrics
    content = bytearray(metrics.read_bytes())
    content[content.index(b"0.") + 2] ^= 1  # another digit
    metrics.write_bytes(content)
    if damage == "gone":
        metrics.unlink()
    with pytest.raises(CorruptFileError, match=r"branch-02/metrics\.jsonl"):
        report([run], tmp_path / "report")


def test_markdown_that_is_not_installed_is_named_with_the_line_that_installs_it(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "markdown", None)
    with pytest.raises(InputError, match=r"Markdown.*spectral-shards\[report\]"):
        report(runs[:1], tmp_path / "none")


def test_settings_of_one_branch_are_not_said_of_all(runs: list[Path], tmp_path: Path) -> None:
    run, widths = Path(shutil.copytree(runs[1], tmp_path / "unequal")), (22, 14, 12, 16)
    for rule in (WidthRule("energy", 16, widths), None):
        for shard, width in enumerate(widths):
            options = {**QUICK.model_options, "width": width}
            own = replace(QUICK, lr=0.01 * (1 + shard % 2), model_options=options)
            change = functools.partial(_changed, recipe=own, rule=rule)
            rewrite_record(run, shard, change)
        text = compose([summarise(run)], {})
        assert "- width of the branches 0, 1, 2, 3: 22, 14, 12, 16" in text
        assert "- lr of the branches 0, 1, 2, 3: 0.01, 0.02, 0.01, 0.02" in text
        assert ("`spectral-train --shard all" in text, "--lr" in text, "width=22" in text) == (True, False, False)
        assert ("--width-by energy`" in text, "--set width=16" in text) == (rule is not None, rule is not None)
        (baseline,) = re.findall("`(spectral-train --baseline [^`]*)`", text)
        assert "--width-by" not in baseline, "that is for branches"
    usual = replace(QUICK, model_options={"depth": QUICK.model_options["depth"]})
    rewrite_record(run, 3, functools.partial(_changed, recipe=usual, rule=None))
    assert "- width of the branches 0, 1, 2, 3: 22, 14, 12, the usual" in compose([summarise(run)], {})


def _changed(record: NetworkRecord, recipe: Recipe, rule: WidthRule | None) -> NetworkRecord:
    return replace(record, plan=replace(record.plan, recipe=recipe), width_rule=rule)
