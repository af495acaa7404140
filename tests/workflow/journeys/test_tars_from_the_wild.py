"""WebDataset as it is found: compressed tars, names of classes as labels, several images a sample."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.support.commands import done, run
from tests.support.releases import encoded, tar_bytes
from tests.support.shards import CLASSES, Images, draw

CONVERT = "spectral-prep convert --dataset webdataset --source tars --q 4 --workers 1 --shuffle none"


def tar(images: Images) -> bytes:
    """Return a compressed tar of samples with a left and a right image and the name of their class."""
    members = {
        f"{number:03}.{suffix}": content
        for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True))
        for suffix, content in (
            ("left.png", encoded(pixels)),
            ("right.png", encoded(pixels * 0)),
            ("cls", CLASSES[label].encode()),
        )
    }
    return gzip.compress(tar_bytes(members), 1, mtime=0)


def test_the_image_that_is_meant_is_converted_trained_on_and_evaluated(tmp_path: Path) -> None:
    train, test = draw(300, channels=3), draw(40, channels=3, seed=1)
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars/shapes-train-0000.tgz").write_bytes(tar(train))
    (tmp_path / "tars/shapes-test-0000.tgz").write_bytes(tar(test))
    refused = run(CONVERT)
    assert (refused.code, "choose one by --image-key" in refused.err) == (1, True)
    assert "300 train, 40 test; 3 classes" in done(f"{CONVERT} --image-key left.png").out
    done("spectral-train --shard all --model fc --set width=16 --set depth=2 --epochs 4 --lr 0.01 --run runs/a")
    own = json.loads(done("spectral-ensemble evaluate runs/a --scheme geometric --json").out)["ensemble"]["geometric"]
    assert own > 0.5
    (tmp_path / "tars/shapes-train-0000.tgz").unlink()
    told = json.loads(done("spectral-ensemble evaluate runs/a --source tars --image-key left.png --json").out)
    assert (told["dataset"], told["split"], told["rows"]) == ("webdataset", "test", 40), "a test set alone"
    assert told["accuracy"] == pytest.approx(own)
    other = json.loads(done("spectral-ensemble evaluate runs/a --source tars --image-key right.png --json").out)
    assert other["accuracy"] < own
    refused = run("spectral-ensemble evaluate runs/a --source . --dataset folder --image-key left.png")
    assert (refused.code, "nothing to choose from" in refused.err) == (2, True)
    refused = run(f"{CONVERT} --image-key left.png --out another")
    assert (refused.code, "training files" in refused.err) == (2, True), "nothing to train on"
