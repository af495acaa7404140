"""Every loop of docs/loops.md runs as it stands, and trains."""

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from spectral_prep.spectrum import SpectralSpec
from tests.support.shards import draw, make_shards

PAGE = (Path(__file__).parents[2] / "docs" / "loops.md").read_text()
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n.*?^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
PACKAGES = {"Lightning": "lightning", "accelerate": "accelerate"}


def test_every_loop_is_found() -> None:
    assert list(BLOCKS) == ["Plain PyTorch", "Lightning", "accelerate", "A map-style data set"]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_loop_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings(action="ignore"):  # what these packages say about themselves is not ours
        if name in PACKAGES:
            pytest.importorskip(PACKAGES[name])
        make_shards(tmp_path / "spectral/mnist-q16", train=draw(300, 16), test=draw(60, 16), spec=SpectralSpec(4, 4))
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = {"__name__": "loop"}
        monkeypatch.setitem(sys.modules, "loop", type(sys)("loop"))
        exec(compile(BLOCKS[name], "docs/loops.md", "exec"), names)
    if name == "Lightning":
        assert names["trainer"].global_step == 2 * 10
    elif "loss" in names:
        assert 0 < names["loss"].item() < 5
        assert names["loader"].epoch == 2
    else:
        assert len(names["rows"]) == 60
