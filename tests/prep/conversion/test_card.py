"""The card says what the data set is, and every line of code in it runs where it lies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectral_prep.choices import Format, Storage
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_content, read_record
from tests.support.commands import run
from tests.support.releases import write_mnist

CASES = [("zarr", "int8"), ("zarr", "float16"), ("webdataset", "int8"), ("webdataset", "float16")]

# webdataset leaves its tars open
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", card, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("format", "dtype"), CASES)
def test_all_code_of_the_card_runs_and_gives_back_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Format, dtype: Storage
) -> None:
    written = write_mnist(tmp_path / "mnist", rows=90, test_rows=30)
    request = Request("mnist", "2x4", format=format, dtype=dtype, block_rows=32, layout="tiles", transform="dct2")
    out = convert(request, tmp_path / "mnist", tmp_path / "out")
    monkeypatch.chdir(out.root)
    card = out.card.read_text()
    results: list[dict[str, Any]] = []
    for block in blocks(card, "python"):
        results.append({})
        exec(compile(block, "card", "exec"), results[-1])
    ids = read_record(out.plan, Plan).ids("train")[:8]
    expected = written["train"][0][ids]
    off = np.abs(results[-1]["images"].numpy()[..., 0].astype(int) - expected)
    assert off.max() <= (0 if dtype == "float16" else 6)
    for result in results[:-1]:
        assert np.abs(result["x"]).max() > 50  # grey levels, not steps of int8
    for block in blocks(card, "sh"):
        for line in block.splitlines():
            finished = run(f"{line} --run {tmp_path / 'run'} --epochs 1" if "train" in line else line)
            assert finished.code == 0, finished.err


def test_the_card_says_what_the_data_set_is(digits: Path) -> None:
    card = DatasetPaths(digits).card.read_text()
    manifest = read_content(DatasetPaths(digits).manifest, "manifest")
    sizes = {entry["path"]: entry["size"] for entry in manifest["files"]}
    parts = [size for path, size in sizes.items() if re.match(r"spectral-02/\w+/x/c/", path)]
    assert "| rows | 1,438 train, 359 test |" in card
    assert "| classes | 10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 |" in card
    assert f"`{manifest['dataset_id']}`" in card
    assert re.search(rf"\| 2 \| \d+\.\d\d \| \d+\.\d\d \| {sum(parts):,} \|", card)
    energy = [float(value) for value in re.findall(r"^\| \d+ \| (\d+\.\d\d) \|", card, re.MULTILINE)]
    assert len(energy) == 4
    assert sum(energy) == pytest.approx(100, abs=0.03)


def test_the_card_names_no_place(digits: Path) -> None:
    assert str(digits.parent) not in DatasetPaths(digits).card.read_text()
    assert str(Path.home()) not in DatasetPaths(digits).card.read_text()
