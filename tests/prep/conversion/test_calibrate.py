"""int8 is calibrated on a sample, by whichever processes look at it, and what they find is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spectral_prep.conversion.calibrate import CALIBRATION_ROWS, Calibration, calibrated
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.memory import memory_before_plan
from spectral_prep.conversion.plan import choose_geometry
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.sample import training_sample
from spectral_prep.conversion.workers import sampling_workers
from spectral_prep.encoding import Encoding, calibrate
from spectral_prep.images.load import Geometry, load
from spectral_prep.sources import open_source
from spectral_prep.spectrum import SpectralSpec, split
from spectral_prep.system.watch import Step, watched

SPEC = SpectralSpec(2, 2)


def by(workers: int, request: Request, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Encoding:
    monkeypatch.setattr("spectral_prep.conversion.calibrate.sampling_workers", lambda *_: workers)
    source = open_source("digits", Path(), scratch)
    index = source.index()
    calibration = Calibration(choose_geometry(source, index, request), SPEC, request.seed, None, 1)
    return calibrated(source, index["train"], calibration, request.psnr, Execution())


def test_workers_find_what_one_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request, seen = Request("digits", "4", psnr=40.0), list[Step]()
    alone = by(1, request, tmp_path, monkeypatch)
    with watched(seen.append):
        assert by(2, request, tmp_path, monkeypatch) == alone
    whole = [step for step in seen if step.name == "calibrating"]
    assert [step.done for step in whole] == sorted(step.done for step in whole)
    assert (whole[-1].done, whole[-1].total, whole[-1].ended) == (1024, 1024, True)
    assert any(step.within == "calibrating" and step.done for step in seen)


def test_the_range_is_that_of_the_whole_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request("digits", "4", seed=3)
    source = open_source("digits", Path(), tmp_path)
    geometry = choose_geometry(source, source.index(), request)
    sample = training_sample(source, source.index(), CALIBRATION_ROWS, request.seed)
    images = torch.stack([torch.from_numpy(load(source.read(*row), geometry)) for row in sample])
    assert by(1, request, tmp_path, monkeypatch) == calibrate(split(images, SPEC), SPEC)


@pytest.mark.parametrize(
    ("sampled", "rows", "execution", "expected"),
    [
        (1024, 12_050, Execution(), 6),
        (1024, 12_050, Execution(workers=3), 3),
        (1024, 12_050, Execution(workers=1), 1),
        (64, 12_050, Execution(), 2),  # which convert afterwards
        (64, 400, Execution(), 1),
        (400, 400, Execution(), 1),  # converted by one process
        (1024, 12_050, Execution(max_memory=1 << 20), 1),
    ],
    ids=str,
)
def test_several_processes_look_where_it_is_worth_it(
    sampled: int, rows: int, execution: Execution, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectral_prep.conversion.workers.usable_cpus", lambda: 6)
    monkeypatch.setattr("spectral_prep.conversion.workers.memory_limit", lambda: None)
    geometry = Geometry(224, 224, 3, resize=256)
    assert sampling_workers(sampled, rows, geometry, memory_before_plan(geometry), execution) == expected
