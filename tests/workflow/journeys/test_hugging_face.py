"""A data set of Hugging Face as it was downloaded: Parquet, and a test set whose labels are all −1."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet

from tests.support.commands import done, run
from tests.support.releases import encoded
from tests.support.shards import CLASSES, draw

IMAGES = draw(90, channels=3)


def write(path: Path, rows: slice, labels: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": encoded(pixels), "path": None} for pixels in IMAGES.pixels[rows]]
    table = pyarrow.table({"image": cells, "label": pyarrow.array(labels, pyarrow.int64())})
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(CLASSES)}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path, row_group_size=16)


def test_it_is_converted_as_it_is_with_a_test_split_of_its_training_rows(tmp_path: Path) -> None:
    labels = IMAGES.labels.tolist()
    write(tmp_path / "shapes/data/train-00000-of-00002-9f.parquet", slice(0, 40), labels[:40])
    write(tmp_path / "shapes/data/train-00001-of-00002-3c.parquet", slice(40, 80), labels[40:80])
    write(tmp_path / "shapes/data/test-00000-of-00001-5b.parquet", slice(80, 90), [-1] * 10)
    convert = "spectral-prep convert --dataset parquet --source shapes --q 4 --workers 1 --test-fraction 0.25"
    refused = run(convert)
    assert (refused.code, "--shuffle none" in refused.err) == (2, True)
    converted = done(f"{convert} --shuffle none")
    assert "no row has a label" in converted.err
    assert "60 train, 20 test; 3 classes" in converted.out
    done("spectral-train --shard all --model fc --set width=8 --set depth=1 --epochs 1 --workers 1 --run runs/a")
    assert json.loads(done("spectral-ensemble evaluate runs/a --json").out)["rows"] == 20
    told = json.loads(done("spectral-ensemble evaluate runs/a --source shapes --json").out)
    assert (told["dataset"], told["rows"], list(told["confusion"])) == ("parquet", 80, list(CLASSES))
