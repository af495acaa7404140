"""Own photographs in class folders, some of them broken: from a folder to an answer over HTTP."""

from __future__ import annotations

import json
import re
import runpy
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.commands import done, run
from tests.support.pages import ROOT
from tests.support.releases import encoded, random_images

TRAIN = "--model fc --set width=8 --set depth=1 --epochs 1 --workers 1"


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Sixty photographs in three classes, in a folder whose name a shell would take apart."""
    for name in ("cat", "dog", "emu"):
        folder = tmp_path / "my photos" / name
        folder.mkdir(parents=True)
        for number, pixels in enumerate(random_images(20, 8, 8, 3, seed=len(name))):
            Image.fromarray(pixels ^ (ord(name[0]) % 8 * 32)).save(folder / f"{number}.png")
    return "--dataset folder --source 'my photos' --q 4 --workers 1"


def answered(url: str, content: bytes | None = None) -> dict[str, Any]:
    with urllib.request.urlopen(url, data=content, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def served(file: Path) -> Iterator[str]:
    """Serve an exported file as examples/serve.py does, and yield its address."""
    serve = runpy.run_path(str(ROOT / "examples/serve.py"))
    serving: ThreadingHTTPServer = serve["server"](serve["Network"](file), ("127.0.0.1", 0))
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}/"
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()


def test_some_of_them_broken_they_are_converted_trained_evaluated_predicted_and_served(
    photos: str, tmp_path: Path
) -> None:
    (tmp_path / "wanted.txt").write_text("emu\ncat\n")
    for name in ("cut", "text"):
        whole = (tmp_path / "my photos/emu/3.png").read_bytes()
        (tmp_path / f"my photos/cat/{name}.png").write_bytes(whole[:80] if name == "cut" else b"my cat")
    line = f"spectral-prep convert {photos} --test-fraction 0.2 --classes wanted.txt --out out --max-pixels 400"
    refused = run(line)
    assert refused.code == 1
    assert "2 images cannot be converted" in refused.err
    assert {"cat/cut.png", "cat/text.png"} <= set(re.findall(r"cat/\w+\.png", refused.err))
    assert "--on-error skip" in refused.err
    assert (tmp_path / "out/bad-images.txt").read_text().count(".png") == 2
    converted = done(f"{line} --on-error skip")
    assert "Warning: no test split" not in converted.err
    assert "34 train, 8 test (2 bad); 2 classes" in converted.out
    done(f"{line} --on-error skip".replace("--classes wanted.txt", "--classes emu,cat"))
    done("spectral-prep verify --source 'my photos' out")
    done("spectral-prep show out --row 3 --split test --source 'my photos'")
    assert (tmp_path / "my-photos-test-3.png").exists()
    done(f"spectral-train --shard all --data out --run runs/a {TRAIN}")
    assert json.loads(done("spectral-ensemble evaluate --json runs/a").out)["measured_on"] == "test"
    done("spectral-ensemble export runs/a --out mine.onnx")
    with served(tmp_path / "mine.onnx") as url:
        assert answered(url)["input_shape"] == [8, 8, 3]
        for size, exact in (((8, 8), 1e-5), ((20, 16), 0.05)):
            content = encoded(random_images(*size, 3, seed=3))
            (tmp_path / "one.png").write_bytes(content)
            predicted = json.loads(done("spectral-ensemble predict runs/a one.png --json").out)["classes"]
            assert answered(url, content)["classes"] == pytest.approx(predicted, abs=exact)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            answered(url, b"no picture")
        assert len(answered(url, content)["classes"]) == 2, "it goes on"
    Image.new("RGB", (21, 20)).save("larger.png")
    refused = run("spectral-ensemble predict runs/a larger.png")
    assert (refused.code, "400" in refused.err) == (1, True), "the limit that the conversion had"


def test_in_class_folders_alone_they_are_evaluated_on_held_out_rows(photos: str) -> None:
    converted = done(f"spectral-prep convert {photos}")
    assert re.search(r"my-photos: 60 images.*\nWarning: no test split.*--test-fraction 0\.1", converted.err)
    done(f"spectral-train --shard all --data spectral/my-photos-q4 --run runs/a {TRAIN}")
    evaluated = done("spectral-ensemble evaluate runs/a")
    assert evaluated.out.startswith("No test split: measured on 2 training rows")
    assert json.loads(done("spectral-ensemble evaluate --json runs/a").out)["measured_on"] == "held_out"
    done("spectral-ensemble report runs/a")


def test_a_plan_and_a_beginning_warn_as_well(photos: str) -> None:
    for command in ("plan", "begin"):
        told = done(f"spectral-prep {command} {photos.replace(' --workers 1', '')}")
        assert "Warning: no test split" in told.err


def test_a_set_that_was_begun_before_it_had_a_name_goes_on_where_it_is(photos: str, tmp_path: Path) -> None:
    done(f"spectral-prep convert {photos} --out spectral/folder-q4")
    assert "Complete: spectral/folder-q4" in done(f"spectral-prep convert {photos}").out
    assert not (tmp_path / "spectral/my-photos-q4").exists()
