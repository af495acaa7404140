"""docs/format.md is what lies on disk: its reader reads real data sets and a run, and it explains every field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.sources import open_source
from tests.support.releases import cifar_rows, write_cifar
from tests.support.runs import make_run

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
KINDS = {"plan": "plan.json", "block": "blocks/00000.json", "spectral": "spectral-00/spectral.json"}
NAMED_BY_DATA = ("splits", "model_options")
"""Objects whose keys are names of splits and of a model's options, not fields."""


def test_every_block_is_found() -> None:
    assert len(BLOCKS) == 6


CASES: dict[str, dict[str, Any]] = {
    "as it comes": {"dataset": "digits", "q": "4", "block_rows": 300},
    "colour, two views, floats, tiles": {
        "dataset": "cifar10",
        "q": "2x4",
        "dtype": "float16",
        "transform": "dct2",
        "layout": "tiles",
        "views": 1,
        "compression": "none",
        "block_rows": 150,
    },
    "in canonical order": {
        "dataset": "digits",
        "q": "2x2",
        "dtype": "float32",
        "transform": "none",
        "shuffle": "none",
        "block_rows": 2000,
    },
}


def read(requested: dict[str, Any], source: Path, tmp_path: Path) -> dict[str, Any]:
    """Convert a data set as the page calls it, train a run, and return the names that the page's reader leaves."""
    tars = {**requested, "format": "webdataset", "compression": None}
    for name, options in {"digits-q4": requested, "digits-tars": tars}.items():
        convert(Request(**options), source, tmp_path / "spectral" / name, Execution(workers=1))
    make_run(tmp_path / "spectral/digits-q4", tmp_path / "runs/digits")
    names: dict[str, Any] = {"__name__": "reader"}
    for block in BLOCKS:
        exec(compile(block, "docs/format.md", "exec"), names)
    return names


@pytest.mark.parametrize("case", CASES)
def test_the_reader_of_the_page_gets_the_images_back(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_cifar(tmp_path, "cifar10", "binary", cifar_rows(rows=50))
    names = read(CASES[case], path, tmp_path)
    rows = len(names["index"])
    source = open_source(CASES[case]["dataset"], path, tmp_path / "staging")
    given = source.index()["train"]
    ids = names["ids"][:rows].tolist()
    expected = np.stack([np.asarray(source.read("train", i, given.names[i])) for i in ids])
    error = np.abs(names["images"][:rows].astype(int) - expected)  # of view 0, the images themselves
    assert error.max() <= (3 if names["plan"]["encoding"]["dtype"] == "int8" else 0)
    assert np.array_equal(names["labels"][:rows], given.labels[ids])
    spectral = names["content_of"](Path("spectral/digits-q4/spectral-01/spectral.json"), "spectral")
    assert spectral["mean"] == pytest.approx(names["spectrum"][1].mean((0, 2, 3)), abs=1e-3)
    assert spectral["std"] == pytest.approx(names["spectrum"][1].std((0, 2, 3)), rel=1e-4)
    assert spectral["energy"] == pytest.approx(names["spectrum"].var((1, 3, 4)).mean(1), rel=1e-4)


def fields(content: Any) -> Iterator[str]:
    """Yield the name of every field of a JSON value, at any depth."""
    if isinstance(content, list):
        for each in content:
            yield from fields(each)
    if isinstance(content, dict):
        for name, value in content.items():
            yield name
            yield from fields(list(value.values()) if name in NAMED_BY_DATA else value)


def section(kind: str) -> str:
    """Return what the page says of a kind of record, and of what several kinds have."""
    found = re.search(rf"^### {kind}\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, kind
    return PAGE[PAGE.index("## Records") : PAGE.index("### plan")] + found[1]


def unexplained(path: Path, kind: str) -> set[str]:
    explained = "".join(map(section, {kind, "plan", *(["spectral"] if kind == "branch" else [])}))
    return {name for name in fields(json.loads(path.read_bytes())) if f"`{name}`" not in explained}


def test_the_page_explains_every_field(digits: Path, tmp_path: Path) -> None:
    for kind, name in KINDS.items():
        assert not unexplained(digits / name, kind), kind
    assert not unexplained(digits / "manifest.json", "manifest")
    run = make_run(digits, tmp_path / "run")
    assert not unexplained(run / "branch-00/branch.json", "branch")
    line = json.loads((run / "branch-00/metrics.jsonl").read_text().splitlines()[0])
    assert not {name for name in line if f"`{name}`" not in PAGE}
