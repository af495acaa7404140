"""From a folder of one's own photographs to a result, by the commands that the commands themselves print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.support.commands import run
from tests.support.releases import random_images

TRAIN = "--model fc --set width=8 --set depth=1 --epochs 1 --workers 1"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Thirty photographs in two classes, in a folder whose name a shell would take apart."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog", "emu"):
        folder = tmp_path / "my photos" / name
        folder.mkdir(parents=True)
        for number, pixels in enumerate(random_images(20, 8, 8, 3, seed=len(name))):
            Image.fromarray(pixels ^ (ord(name[0]) % 8 * 32)).save(folder / f"{number}.png")
    return "--dataset folder --source 'my photos' --q 4 --workers 1"


def test_photographs_in_class_folders_alone_are_converted_trained_and_evaluated(photos: str) -> None:
    converted = run(f"spectral-prep convert {photos}")
    assert converted.code == 0
    assert re.search(r"my-photos: 60 images.*\nWarning: no test split.*--test-fraction 0\.1", converted.err)
    assert run(f"spectral-train --shard all --data spectral/my-photos-q4 --run runs/a {TRAIN}").code == 0
    evaluated = run("spectral-ensemble evaluate runs/a")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.out.startswith("No test split: measured on 2 training rows")
    assert json.loads(run("spectral-ensemble evaluate --json runs/a").out)["measured_on"] == "held_out"
    assert run("spectral-ensemble report runs/a").code == 0


def test_with_a_test_fraction_and_chosen_classes_they_are_evaluated_on_test_rows(photos: str, tmp_path: Path) -> None:
    (tmp_path / "wanted.txt").write_text("emu\ncat\n")
    line = f"spectral-prep convert {photos} --test-fraction 0.2 --classes wanted.txt --fraction 0.5 --out out"
    line += " --max-pixels 64"
    converted = run(line)
    assert converted.code == 0, converted.err
    assert "Warning" not in converted.err
    assert "16 train, 4 test; 2 classes" in converted.out
    assert run(line.replace("--classes wanted.txt", "--classes emu,cat")).code == 0
    assert run("spectral-prep verify --source 'my photos' out").code == 0
    assert run("spectral-prep show out --row 3 --split test --source 'my photos'").code == 0
    assert (tmp_path / "my-photos-test-3.png").exists()
    assert run(f"spectral-train --shard all --data out --run runs/a {TRAIN}").code == 0
    assert json.loads(run("spectral-ensemble evaluate --json runs/a").out)["measured_on"] == "test"
    Image.new("RGB", (8, 8)).save("as converted.png")
    Image.new("RGB", (9, 8)).save("larger.png")
    assert run("spectral-ensemble predict runs/a 'as converted.png'").code == 0
    refused = run("spectral-ensemble predict runs/a larger.png")
    assert refused.code == 1
    assert "64" in refused.err, "the limit that the conversion had"


def test_a_plan_and_a_beginning_warn_as_well(photos: str) -> None:
    for command in ("plan", "begin"):
        told = run(f"spectral-prep {command} {photos.replace(' --workers 1', '')}")
        assert told.code == 0
        assert "Warning: no test split" in told.err


def test_a_set_that_was_begun_before_it_had_a_name_goes_on_where_it_is(photos: str, tmp_path: Path) -> None:
    assert run(f"spectral-prep convert {photos} --out spectral/folder-q4").code == 0
    assert "Complete: spectral/folder-q4" in run(f"spectral-prep convert {photos}").out
    assert not (tmp_path / "spectral/my-photos-q4").exists()
