"""A finished run on labelled images that it never saw: Parquet with several images and labels a row, then a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.support.commands import done, run
from tests.support.releases import encoded
from tests.support.shards import CLASSES, Images, draw

TRAIN = "spectral-train --shard all --model fc --set width=16 --set depth=2 --epochs 4 --lr 0.01 --run runs/a"


def write(path: Path, images: Images, **more: list[Any]) -> None:
    """Write rows with two images, a photograph and a black one, and two labels, a number and a name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "photo": [encoded(pixels) for pixels in images.pixels],
        "thumbnail": [encoded(pixels * 0) for pixels in images.pixels],
        "number": [(label + 1) % len(CLASSES) for label in images.labels.tolist()],
        "kind": [CLASSES[label] for label in images.labels],
        **more,
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=50)


def test_every_row_is_evaluated_and_written_into_a_table(tmp_path: Path) -> None:
    write(tmp_path / "shapes/train.parquet", draw(300, channels=3))
    convert = "spectral-prep convert --dataset parquet --source shapes --q 4 --workers 1 --shuffle none"
    refused = run(convert)
    assert (refused.code, "--image-column photo or thumbnail" in refused.err) == (2, True)
    refused = run(f"{convert} --image-column photo")
    assert (refused.code, "--label-column number or kind" in refused.err) == (2, True)
    done(f"{convert} --image-column photo --label-column kind")
    done(TRAIN)

    unseen = draw(70, channels=3, seed=1)  # more than are read at once
    pixels, names = list(map(encoded, unseen.pixels)), [CLASSES[label] for label in unseen.labels]
    pixels[7], names[11] = b"no picture", "hexagon"
    write(tmp_path / "new/test-0.parquet", unseen, photo=pixels, kind=names)
    evaluate = "spectral-ensemble evaluate runs/a --source new --json"
    refused = run(f"{evaluate} --image-column photo")
    assert (refused.code, "--label-column number or kind" in refused.err) == (2, True)
    columns = "--image-column photo --label-column kind"
    told = done(f"{evaluate} {columns} --predictions said.csv")
    assert "1 rows of classes that the run does not know are left out: hexagon" in told.err
    assert "test-0/7" in told.err
    found = json.loads(told.out)
    assert (found["rows"], found["unknown"], found["bad_rows"]) == (68, {"hexagon": 1}, 1)
    assert found["accuracy"] > 0.5
    done(f"{evaluate} {columns} --predictions said.parquet")
    black = json.loads(done(f"{evaluate} --image-column thumbnail --label-column kind").out)
    assert len({guess for row in black["confusion"].values() for guess in row}) == 1
    refused = run(f"{evaluate} --image-column photo --label-column number")
    assert (refused.code, "knows none of these classes" in refused.err) == (2, True)

    for number, content in enumerate(pixels):
        (tmp_path / f"{number:02}.png").write_bytes(content)
    predicted = run("spectral-ensemble predict runs/a '??.png' --json")
    assert (predicted.code, "07.png" in predicted.err) == (1, True)
    expected = {each["path"]: each["classes"] for each in map(json.loads, predicted.out.splitlines())}
    with open("said.csv", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert [row["true"] for row in rows] == names
    for number, (row, same) in enumerate(
        zip(rows, pyarrow.parquet.read_table("said.parquet").to_pylist(), strict=True)
    ):
        classes = expected.get(f"{number:02}.png", {})
        assert row["id"] == same["id"] == f"test-0/{number}"
        assert (row["predicted"] or None) == same["predicted"] == next(iter(classes), None)
        assert bool(row["reason"]) == bool(same["reason"]) == (number == 7)
        for name, share in classes.items():
            assert float(row[f"p_{name}"]) == pytest.approx(share, rel=1e-4, abs=2e-6)
            assert same[f"p_{name}"] == pytest.approx(share, rel=1e-4, abs=2e-6)
