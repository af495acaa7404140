"""`benchmarks/pretrained.py` from weights under other names to its table, on some made images with a tiny network."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest
import safetensors.torch
import timm
import torch
from click.testing import CliRunner

from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from tests.support.commands import done
from tests.support.pages import ROOT
from tests.support.releases import cifar_rows, write_cifar

MODEL = "test_resnet"


@pytest.fixture(autouse=True)
def _benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of a network of timm in its order, under the names of somebody else."""
    torch.manual_seed(7)
    tensors = timm.create_model(MODEL).state_dict().values()
    torch.save({f"theirs.{number}": tensor for number, tensor in enumerate(tensors)}, tmp_path / "published.pth")
    return tmp_path / "published.pth"


def test_both_sides_are_trained_and_one_begins_with_the_weights(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pretrained

    def here(command: str, *words: str) -> float:
        """Run the command in this process; with weights it took twice as long."""
        done(shlex.join([*shlex.split(command), *words]))
        return 12 if "pretrained=" in command else 6

    monkeypatch.setattr(pretrained, "run", here)
    source, work = write_cifar(tmp_path / "data", "cifar10", "binary", cifar_rows(rows=20)), tmp_path / "work"
    given = [str(source), MODEL, str(weights), "--dataset", "cifar10", "--limit", "80", "--work", str(work)]
    printed = CliRunner().invoke(pretrained.main, [*given, "--epochs", "1"], catch_exceptions=False).output
    lines = [line.split(" | ") for line in printed.splitlines()]
    assert [line[0] for line in lines[2:]] == [
        *(f"| branch {number}" for number in range(4)),
        "| all, `learned`",
        "| learning rate",
        "| processor minutes",
    ]
    assert all(re.fullmatch(r"\d+\.\d %", cell.strip(" |")) for line in lines[2:7] for cell in line[1:])
    assert lines[-1][1:] == ["0.2", "0.4 |"]
    models = {
        path.name.rpartition("-")[2]: read_network(RunPaths(path).branch(3)).plan.recipe.model
        for path in work.glob("*-seed-0-*")
    }
    assert models["untrained"] == f"timm:{MODEL}"
    assert models["pretrained"].startswith(f"timm:{MODEL}@")


def test_weights_under_other_names_get_those_of_timm(tmp_path: Path, weights: Path) -> None:
    from pretrained import as_timm

    renamed = as_timm(weights, MODEL, tmp_path)
    found, theirs = safetensors.torch.load_file(renamed), torch.load(weights, weights_only=True)
    network = timm.create_model(MODEL)
    network.load_state_dict(found)
    assert all(torch.equal(*pair) for pair in zip(network.state_dict().values(), theirs.values(), strict=True))
    assert as_timm(renamed, MODEL, tmp_path) == renamed
    with pytest.raises(click.ClickException, match="tensors of other shapes than test_vit"):
        as_timm(weights, "test_vit", tmp_path)


def test_the_processor_time_of_a_command_is_measured() -> None:
    from pretrained import run

    assert run(shlex.quote(sys.executable), "-c", "sum(range(3_000_000))") > 0.01
