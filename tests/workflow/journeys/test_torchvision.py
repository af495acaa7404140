"""The folder that torchvision downloaded into, its `root`, as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import done, run
from tests.support.releases import cifar_rows, write_cifar, write_mnist

TRAIN = "spectral-train --shard all --model fc --set width=8 --set depth=1 --epochs 1 --workers 1 --run runs/a"


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_its_root_is_a_source_to_convert_and_its_test_files_alone_to_evaluate_on(tmp_path: Path, dataset: str) -> None:
    if dataset == "mnist":
        write_mnist(tmp_path / "root/MNIST/raw", rows=60, test_rows=20)
    else:
        write_cifar(tmp_path / "root", "cifar10", "python", cifar_rows(rows=10))
    done(f"spectral-prep convert --dataset {dataset} --source root --q 1x2 --workers 1")
    done(TRAIN)
    own = json.loads(done("spectral-ensemble evaluate runs/a --scheme average --json").out)
    evaluate = "spectral-ensemble evaluate runs/a --scheme average --source root --json"
    told = json.loads(done(evaluate).out)
    assert (told["dataset"], told["split"], told["rows"]) == (dataset, "test", own["rows"])
    assert told["accuracy"] == pytest.approx(own["ensemble"]["average"])
    train, needed, words = {
        "mnist": ("train-*", "MNIST/raw/t10k-labels-idx1-ubyte.gz", "no file of test labels"),
        "cifar10": ("data_batch_*", "cifar-10-batches-py/batches.meta", "no batches.meta"),
    }[dataset]
    for path in Path("root").rglob(train):
        path.unlink()
    assert json.loads(done(evaluate).out) == told
    Path("root", needed).unlink()
    refused = run(evaluate)
    assert (refused.code, words in refused.err, "--download" in refused.err) == (2, True, False)
