"""What a run says of a network is held to its types, its bounds and itself, though its sha256 is right."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectral_prep.errors import CorruptFileError
from spectral_prep.store.record_file import read_content, write_content
from spectral_train.run.metrics import read_lines
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import read_network
from tests.support.runs import QUICK, make_run
from tests.support.shards import make_shards


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    return make_run(make_shards(root / "data"), root / "run", replace(QUICK, epochs=1))


@pytest.fixture
def branch(trained: Path, tmp_path: Path) -> NetworkPaths[Path]:
    """Return a branch that a test may change."""
    return RunPaths(Path(shutil.copytree(trained, tmp_path / "run"))).branch(0)


PLANS: list[dict[str, Any]] = [
    {"dataset": "../x"},
    {"dataset_id": 7},
    {"classes": []},
    {"classes": [["a"]]},
    {"height": 9},
    {"channels": 10**6},
    {"input_shape": [1, 4, 5]},
    {"input_shape": [1, 4, 4, 4]},
    {"mean": [0.0, 0.0]},
    {"std": [float("nan")]},
    {"shards": 3},
    {"shard": 4},
    {"shard": -1},
    {"grouping": 1},
    {"spectrals": [4]},
    {"spectrals": [0, 0]},
    {"spectrals": []},
    {"common": [99]},
    {"spec": {"q1": 2, "q2": 10**9, "layout": "blocks", "transform": "dct"}},
    {"encoding": {"dtype": "int8", "scale_factor": [1.0], "add_offset": [0.0]}},
    {"recipe": None},
    {"unknown": 1},
]


@pytest.mark.parametrize("change", PLANS, ids=str)
def test_fields_of_a_plan_agree(branch: NetworkPaths[Path], change: dict[str, Any]) -> None:
    content = read_content(branch.record, "branch")
    write_content(branch.record, "branch", {**content, "plan": {**content["plan"], **change}})
    with pytest.raises(CorruptFileError, match=r"the branch record has an unusable field.*branch\.json"):
        read_network(branch)


RECORDS: list[dict[str, Any]] = [
    {"plan": []},
    {"parameters": -1},
    {"seconds": "1"},
    {"seconds": float("nan")},
    {"held_out_loss": None},
    {"held_out_accuracy": 1.5},
    {"rows": {"training": 1, "test": 1}},
    {"rows": {"training": 1, "test": 1, "held_out": 2**31}},
    {"files": []},
    {"ingredients": ["x"]},
]


@pytest.mark.parametrize("change", RECORDS, ids=str)
def test_fields_of_a_record_agree(branch: NetworkPaths[Path], change: dict[str, Any]) -> None:
    content = read_content(branch.record, "branch")
    write_content(branch.record, "branch", {**content, **change})
    with pytest.raises(CorruptFileError, match=r"the branch record has an unusable field.*branch\.json"):
        read_network(branch)


@pytest.mark.parametrize("path", ["/etc/passwd", "../branch-01/model.safetensors", "./model.safetensors"])
def test_no_file_of_another_folder_is_read(branch: NetworkPaths[Path], path: str) -> None:
    content = read_content(branch.record, "branch")
    content["files"][0]["path"] = path
    write_content(branch.record, "branch", content)
    with pytest.raises(CorruptFileError, match="unusable field"):
        read_network(branch)


@pytest.mark.parametrize("name", ["model", "outputs"])
def test_links_and_pipes_are_no_files_of_a_branch(branch: NetworkPaths[Path], name: str) -> None:
    path = getattr(branch, name)
    whole = path.with_suffix(".whole")
    path.rename(whole)
    path.symlink_to(whole)
    with pytest.raises(CorruptFileError, match=rf"missing or damaged.*{name}\.safetensors"):
        read_network(branch)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CorruptFileError, match=rf"missing or damaged.*{name}\.safetensors"):
        read_network(branch)


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[]",
        "null",
        "7",
        "{",
        "[" * 100_000,
        '{"epoch": 1e400}',
        '{"epoch": ' + "9" * 5000 + "}",
        '{"epoch": 1, "train_loss": "x", "held_out_loss": 1, "held_out_accuracy": 1, "lr": 1, "seconds": 1}',
        '{"epoch": 1.5, "train_loss": 1, "held_out_loss": 1, "held_out_accuracy": 1, "lr": 1, "seconds": 1}',
        "\udcff",
    ],
    ids=lambda line: line[:20],
)
def test_lines_that_are_no_metrics_are_refused(branch: NetworkPaths[Path], line: str) -> None:
    branch.metrics.write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(CorruptFileError, match=r"metrics of a network.*metrics\.jsonl.*Run next: delete"):
        read_lines(branch.metrics)
