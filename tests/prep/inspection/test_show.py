"""A contact sheet shows the row that was asked for: its image, its spectrals, what was lost and what it costs."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.row_index import read_index
from spectral_prep.errors import InputError
from spectral_prep.inspection.show import around_zero, draw, draw_grid, own_scale, reach, sheet
from spectral_prep.sources import open_source
from spectral_prep.sources.interface import Source
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_record
from tests.support.releases import write_folder


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return open_source("digits", Path(), tmp_path / "staging")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_sheet_holds_the_row_of_the_index_and_its_image(digits: Path, source: Source, split: str) -> None:
    shown = sheet(digits, 17, split, source)
    index = list(read_index(DatasetPaths(digits), read_record(DatasetPaths(digits).plan, Plan), split))
    assert (shown.name, shown.label) == (index[shown.row_id][0], str(index[shown.row_id][1]))
    assert shown.original is not None
    assert np.array_equal(shown.original, source.read(split, shown.row_id, shown.name))
    assert shown.spectrum.shape == (4, 1, 4, 4)
    assert shown.spectrum[0].mean() == pytest.approx(2 * shown.original.mean(), rel=0.02)  # DC: √Q times the mean


def test_the_error_is_that_of_the_stored_form(digits: Path, source: Source, tmp_path: Path) -> None:
    lossy = sheet(digits, 3, source=source)
    assert lossy.largest_error is not None
    assert lossy.psnr is not None
    assert 1 <= lossy.largest_error <= 4
    assert 40 < lossy.psnr < 60
    convert(Request("digits", "4", dtype="float16"), Path(), tmp_path / "exact")
    exact = sheet(tmp_path / "exact", 3, source=source)
    assert (exact.largest_error, exact.psnr) == (0, math.inf)


def test_energy_and_bytes_are_those_of_the_folders(digits: Path) -> None:
    shown = sheet(digits, 0)
    on_disk = [
        sum(path.stat().st_size for path in (digits / f"spectral-{k:02d}").rglob("*") if path.is_file())
        for k in range(4)
    ]
    records = [(digits / f"spectral-{k:02d}" / "spectral.json").stat().st_size for k in range(4)]
    assert list(shown.size) == [size - record for size, record in zip(on_disk, records, strict=True)]
    assert shown.energy[0] == max(shown.energy)


@pytest.mark.parametrize("with_source", [True, False])
def test_the_sheet_is_drawn_as_a_picture_that_says_what_it_shows(
    digits: Path, source: Source, with_source: bool
) -> None:
    shown = sheet(digits, 5, source=source if with_source else None)
    picture = Image.open(io.BytesIO(draw(shown)))
    picture.load()
    assert picture.info["Title"] == shown.title
    assert picture.width == 1100
    assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_a_spectral_is_drawn_at_its_own_scale() -> None:
    values = np.linspace(-3, 5, 1001, dtype=np.float32).reshape(1, 1, -1)
    pixels, reach = own_scale(values)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert reach == pytest.approx(4, rel=0.02)
    assert np.array_equal(own_scale(values * 128)[0], pixels)


def test_zero_is_the_same_grey_at_every_scale_and_signs_have_their_colour() -> None:
    values = np.array([[[-1.0, 0.0, 1.0]]], np.float32)
    low, grey, high = around_zero(values, 1.0)[0].astype(int)
    assert np.ptp(grey) <= 2
    assert np.array_equal(around_zero(values * 50, 70.0)[0, 1], grey)
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert reach(values * 50) == pytest.approx(50, rel=0.02)


def test_only_what_lies_around_zero_is_coloured_so(digits: Path, tmp_path: Path) -> None:
    shown = sheet(digits, 0)
    assert [shown.around_zero(k) for k in range(4)] == [False, True, True, True]
    convert(Request("digits", "4", transform="none"), Path(), tmp_path / "plain")
    assert not any(sheet(tmp_path / "plain", 0).around_zero(k) for k in range(4))


def test_a_grid_has_a_line_a_row(digits: Path) -> None:
    heights = [Image.open(io.BytesIO(draw_grid([sheet(digits, row) for row in range(rows)]))).height for rows in (2, 4)]
    assert heights[1] - heights[0] == 2 * 220  # 2.2 inches a line


@pytest.mark.parametrize(("row", "split", "says"), [(1438, "train", "0 to 1437"), (0, "val", "train, test")])
def test_what_is_not_there_is_refused_with_what_is(digits: Path, row: int, split: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        sheet(digits, row, split)


def test_another_source_is_refused(digits: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", ["train/a/1.png"])
    with pytest.raises(InputError, match="not the source that was converted"):
        sheet(digits, 0, source=open_source("folder", tmp_path / "photos", tmp_path / "staging"))


def test_an_unfinished_data_set_is_refused(digits: Path) -> None:
    (digits / "manifest.json").unlink()
    with pytest.raises(InputError, match="manifest"):
        sheet(digits, 0)
