"""Nothing is written through a link that lies in a data set or a run: each command says so and changes nothing."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError
from spectral_train.run.paths import RunPaths
from spectral_train.training.branch import train_branches
from tests.support.runs import QUICK, on_cpu
from tests.support.trees import tree

REQUEST = Request("digits", "4", block_rows=300)
FOLDERS = ("spectral-00/train/y", "spectral-00/train", "spectral-01", "blocks", "rows")


@pytest.mark.parametrize("path", FOLDERS)
def test_a_folder_that_leads_out_is_not_written_through(digits: Path, tmp_path: Path, path: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (digits / path).rename(elsewhere)
    (digits / path).symlink_to(elsewhere)
    (digits / "manifest.json").unlink()
    before = tree(elsewhere)
    refused = rf"the folder holds a symbolic link.*{path}.*Run next: rm "
    with pytest.raises(InputError, match=refused):
        finalize(digits)
    with pytest.raises(InputError, match=refused):
        convert(REQUEST, Path(), digits)
    assert tree(elsewhere) == before
    assert not (digits / "manifest.json").exists()


@pytest.mark.parametrize("name", ["manifest.json", "README.md", "plan.json"])
def test_a_file_that_leads_out_is_not_written_through(digits: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (digits / name).rename(elsewhere)
    (digits / name).symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    with pytest.raises(InputError, match="the folder holds a symbolic link"):
        finalize(digits)
    assert elsewhere.read_bytes() == before


def test_a_pipe_in_a_data_set_is_refused_and_does_not_hang(digits: Path) -> None:
    os.mkfifo(digits / "spectral-00/pipe")
    with pytest.raises(InputError, match="the folder holds a pipe"):
        finalize(digits)


def test_a_data_set_that_is_itself_a_link_is_completed(digits: Path, tmp_path: Path) -> None:
    (digits / "manifest.json").unlink()
    (tmp_path / "link").symlink_to(digits)
    assert finalize(tmp_path / "link").manifest.exists()


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint.safetensors", "tensorboard"])
def test_a_branch_with_a_link_inside_is_not_trained(digits: Path, tmp_path: Path, name: str) -> None:
    elsewhere, request = tmp_path / "elsewhere", on_cpu(digits, tmp_path / "run", replace(QUICK, epochs=1))
    branch = RunPaths(tmp_path / "run").branch(0)
    branch.root.mkdir(parents=True)
    elsewhere.write_bytes(b"mine")
    (branch.root / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=rf"the folder holds a symbolic link.*{name}"):
        train_branches(request, 0)
    assert elsewhere.read_bytes() == b"mine"
    assert sorted(os.listdir(branch.root)) == [name]
    shutil.rmtree(branch.root)
    assert train_branches(request, 0)
