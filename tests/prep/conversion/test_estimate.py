"""What `plan` says comes true: bytes, files and memory; nothing is written; what does not fit is refused."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from spectral_prep.console.text import estimate_text, outlook_text
from spectral_prep.conversion.convert import Progress, convert
from spectral_prep.conversion.estimate import estimate
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError, StorageError
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_record
from tests.support.commands import program, run
from tests.support.releases import write_mnist
from tests.support.trees import tree


def write_photos(root: Path, count: int) -> Path:
    """Write JPEGs that compress like photos: smooth shapes, some noise, several sizes."""
    random = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((160 + number % 5 * 20, 130), Image.Resampling.BICUBIC)).astype(float)
        noisy = smooth + random.normal(0, 1 + number % 7, smooth.shape)
        path = root / "train" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=92)
        path.write_bytes(encoded.getvalue())
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 150)


@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "float16"}, {"compression": "none"}, {"format": "webdataset"}, {"views": 2}, {"shuffle": "none"}],
    ids=str,
)
def test_files_and_bytes_are_those_of_the_plan(tmp_path: Path, photos: Path, options: dict[str, Any]) -> None:
    request = Request("folder", "16", size=112, resize=128, block_rows=64, **options)
    expected = estimate(request, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    files = tree(convert(request, photos, tmp_path / "out").root)
    assert len(files) == expected.files
    spectral = {name: content for name, content in files.items() if name.startswith("spectral-05/")}
    assert len(spectral) == expected.files_a_spectral
    assert sum(map(len, files.values())) == pytest.approx(expected.bytes, rel=0.05)
    assert 0 <= expected.standard_error < 0.05 * expected.bytes
    assert read_record(DatasetPaths(tmp_path / "out").plan, Plan) == expected.plan


def test_what_is_done_already_is_not_counted_again(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", rows=600, test_rows=100)
    request = Request("mnist", "16", block_rows=100)
    whole = estimate(request, tmp_path / "mnist", tmp_path / "out")
    convert(request, tmp_path / "mnist", tmp_path / "out")
    assert estimate(request, tmp_path / "mnist", tmp_path / "out").needed_bytes == 0
    DatasetPaths(tmp_path / "out").block(3).unlink()
    rest = estimate(request, tmp_path / "mnist", tmp_path / "out")
    assert rest.remaining_rows == 100
    assert 0 < rest.remaining_bytes < whole.remaining_bytes


def test_a_conversion_does_not_start_without_the_room_that_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request("digits", "4")
    monkeypatch.setattr("spectral_prep.conversion.estimate._free", lambda out: 1000)
    with pytest.raises(StorageError, match=r"not enough room.*bytes free.*Got: 1,000, beside 116\.8 kB of.*--no-space"):
        convert(request, Path(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    planned = estimate(request, Path(), tmp_path / "out")
    assert planned.scratch_bytes == 1797 * (64 + 1)  # pixels and labels
    assert "of it for scratch files" in estimate_text(planned, tmp_path / "out")
    told: list[Progress] = []
    convert(request, Path(), tmp_path / "out", Execution(space_check=False), told.append)
    assert told[0].estimate is not None
    assert " to write beside 116.8 kB of scratch files, which go at the end, " in outlook_text(told[0].estimate)
    convert(request, Path(), tmp_path / "out")


def test_memory_limits_the_workers_and_is_refused_with_the_number_needed(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", rows=600, test_rows=10)
    request, source = Request("mnist", "16", block_rows=10), tmp_path / "mnist"
    found = estimate(request, source, tmp_path / "out", Execution(workers=8))
    assert found.workers == 8
    for workers in (1, 3, 5):
        limit = found.memory.peak(workers) + 100
        assert found.memory.workers(limit) == workers
        wider = Execution(workers=8, max_memory=2 * limit)
        assert estimate(request, source, tmp_path / "out", wider).workers >= workers
    with pytest.raises(InputError, match=r"one worker does not fit.*at least (\d+)M.*--max-memory \1M"):
        estimate(request, source, tmp_path / "out", Execution(max_memory=1 << 20))


def test_the_commands_show_the_same_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = "--dataset digits --q 4 --out out"
    found = json.loads(run(f"spectral-prep plan {line} --tasks 3 --json").out)
    assert found["rows"] == {"train": 1438, "test": 359}
    assert found["seconds_a_task"] == pytest.approx(found["seconds"] / 2)  # for there are two blocks
    assert found["enough_room"]
    shown = run(f"spectral-prep plan {line} --tasks 3").out
    assert "±" not in shown  # every row was sampled
    assert "on each of 2 such machines; the others of 3 have nothing to do" in shown
    converted = run(f"spectral-prep convert {line}").err
    for text in (shown, converted):
        assert found["plan_id"] in text
        assert "memory" in text
        assert "free" in text


def test_peak_memory_stays_under_the_bound_that_convert_prints(tmp_path: Path) -> None:
    """Of all processes together, with two workers: for 50 images in four views, and for 200 in one."""
    for count, views in ((50, 3), (200, 0)):
        source = write_photos(tmp_path / f"photos{count}", count)
        options = ["--dataset", "folder", "--q", "16", "--size", "112", "--resize", "128", "--block-rows", "13"]
        options += ["--views", str(views)]
        options += ["--workers", "2", "--source", str(source), "--out", str(tmp_path / f"out{count}")]
        # What is freed goes back to the system at once: the peak is that of live memory, not of malloc's habits.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        command = [*program("spectral-prep"), "convert", *options]
        with open(tmp_path / "errors", "w") as errors:
            process = subprocess.Popen(command, stderr=errors, stdout=subprocess.DEVNULL, env=environment)
            peak, processes = watched(psutil.Process(process.pid))
        printed = (tmp_path / "errors").read_text()
        assert process.wait() == 0, printed
        bound = re.search(r"at most ([\d.]+) (MB|GB) of memory with 2 workers", printed)
        assert bound, printed
        assert processes >= 4
        assert 0.3 < peak / (float(bound[1]) * {"MB": 1e6, "GB": 1e9}[bound[2]]) < 1


def watched(parent: psutil.Process) -> tuple[int, int]:
    """Return the largest sum of the proportional set sizes of a process and all below it, and how many those are."""
    peak = most = 0
    while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
        sizes = []
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                sizes.append(process.memory_full_info().pss)
        peak, most = max(peak, sum(sizes)), max(most, len(sizes))
        time.sleep(0.05)
    return peak, most
