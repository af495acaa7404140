"""A quick try on a part of a data set, then all of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.commands import done, run

CONVERT = "spectral-prep convert --dataset digits --q 1x2 --workers 1"
TRAIN = "spectral-train --shard all --model fc --set width=8 --set depth=1 --epochs 1 --workers 1"


def test_a_few_images_of_some_classes_first_then_the_whole(tmp_path: Path) -> None:
    assert "72 train, 18 test" in done(f"{CONVERT} --fraction 0.05".replace("convert", "plan")).out
    tried = done(f"{CONVERT} --limit 90 --classes 0,1,2 --out spectral/try")
    assert "76 train, 14 test; 3 classes" in tried.out
    done(TRAIN)
    run_of_try = next((tmp_path / "runs").iterdir()).name
    assert json.loads(done(f"spectral-ensemble evaluate runs/{run_of_try} --json").out)["rows"] == 14
    refused = run(f"{CONVERT} --out spectral/try")
    assert (refused.code, "classes: ['0', '1', '2'] there" in refused.err) == (2, True)
    assert "1,438 train, 359 test; 10 classes" in done(CONVERT).out
    several = run(TRAIN)
    assert (several.code, "spectral/digits-q1x2" in several.err, "Got: digits-q1x2, try" in several.err) == (
        2,
        True,
        True,
    )
    other = run(f"{TRAIN} --data spectral/digits-q1x2")
    assert (other.code, "another --run" in other.err) == (2, True), "the try has its name"
    done(f"{TRAIN} --data spectral/digits-q1x2 --run runs/whole")
    assert json.loads(done("spectral-ensemble evaluate runs/whole --json").out)["rows"] == 359
