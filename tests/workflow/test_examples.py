"""What lies in examples/ runs as it stands."""

from __future__ import annotations

import io
import json
import runpy
import sys
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.spectrum import SpectralSpec
from spectral_train.ensemble.export import export
from spectral_train.ensemble.predict import predict
from tests.support.pages import ROOT
from tests.support.releases import encoded, random_images
from tests.support.runs import make_run
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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A run on digits, and the address of a server of its exported file."""
    root = tmp_path_factory.mktemp("served")
    convert(Request("digits", "4"), Path(), root / "data")
    export(make_run(root / "data", root / "run"), root / "digits.onnx")
    serve = runpy.run_path(str(EXAMPLES / "serve.py"))
    serving: ThreadingHTTPServer = serve["server"](serve["Network"](root / "digits.onnx"), ("127.0.0.1", 0))
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield root / "run", f"http://127.0.0.1:{serving.server_port}/"
    serving.shutdown()
    serving.server_close()
    thread.join()


def answered(url: str, content: bytes | None = None) -> dict[str, Any]:
    with urllib.request.urlopen(url, data=content, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@pytest.mark.parametrize("size", [(8, 8), (24, 16)])
def test_the_server_says_what_predict_says(served: tuple[Path, str], tmp_path: Path, size: tuple[int, int]) -> None:
    run, url = served
    (tmp_path / "digit.png").write_bytes(encoded(random_images(*size, 1, seed=3)[..., 0]))
    (expected,) = predict(run, [tmp_path / "digit.png"])
    said = answered(url, (tmp_path / "digit.png").read_bytes())["classes"]
    assert next(iter(said)) == expected.classes[0][0]
    assert said == pytest.approx(dict(expected.classes), abs=1e-5 if size == (8, 8) else 0.05)
    assert answered(url)["input_shape"] == [8, 8, 1]


def test_the_server_refuses_what_is_no_image(served: tuple[Path, str]) -> None:
    _, url = served
    with pytest.raises(urllib.error.HTTPError, match="400"):
        answered(url, b"no picture")
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "PNG")
    assert len(answered(url, content.getvalue())["classes"]) == 5, "it goes on"


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
