"""What lies in examples/ runs as it stands; its server and its script are parts of journeys."""

from __future__ import annotations

import json
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from spectral_prep.spectrum import SpectralSpec
from tests.support.pages import ROOT
from tests.support.shards import draw, make_shards

EXAMPLES = ROOT / "examples"


def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "digits.ipynb").read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "it is kept without outputs"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    plt.close("all")
    assert names["evaluation"].ensemble["geometric"] > 0.8
    assert names["prediction"].classes[0][0] == "0"


def test_lightning_trains_a_network_of_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning")
    data = make_shards(tmp_path / "data", train=draw(64, 64), test=draw(8, 64), spec=SpectralSpec(2, 2))
    monkeypatch.chdir(tmp_path)
    options = ["--model", "test_resnet", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["lightning_timm.py", str(data / "spectral-03"), "3", *options])
    with warnings.catch_warnings(action="ignore"):  # what Lightning says about itself is not ours
        runpy.run_path(str(EXAMPLES / "lightning_timm.py"), run_name="__main__")
    checkpoint = torch.load(tmp_path / "branch.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 1
