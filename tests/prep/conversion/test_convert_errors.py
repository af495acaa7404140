"""What stands in the way of a conversion is said in words, and what is finished is kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.errors import CorruptSourceError, InputError, PlanMismatchError, StorageError
from spectral_prep.inspection.info import info
from spectral_prep.inspection.verify import verify
from spectral_prep.sources import open_source
from spectral_prep.spectrum import merge
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord
from tests.support.commands import run
from tests.support.releases import write_folder, write_mnist
from tests.support.trees import stored, tree


class TestBadImages:
    """A text file named .jpg and a truncated PNG among good images."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        root = tmp_path / "set"
        write_folder(
            root, [f"{split}/{name}/{i}.png" for split in ("train", "test") for name in "ab" for i in range(9)]
        )
        (root / "train/a/notes.jpg").write_text("not an image")
        good = (root / "train/b/3.png").read_bytes()
        (root / "train/b/3.png").write_bytes(good[: len(good) // 2])
        return root

    def test_fail_lists_them_all_and_does_not_complete(self, tmp_path: Path, source: Path) -> None:
        with pytest.raises(CorruptSourceError) as caught:
            convert(Request("folder", "4", block_rows=4), source, tmp_path / "out")
        assert "2 images cannot be converted" in str(caught.value)
        assert "not an image of a known format (1):\n    train: a/notes.jpg\n" in str(caught.value)
        assert "truncated or damaged image (1):\n    train: b/3.png" in str(caught.value)
        assert f"All of them: {tmp_path / 'out/bad-images.txt'} (a line each)" in str(caught.value)
        listed = (tmp_path / "out/bad-images.txt").read_text().splitlines()
        assert [line.partition(": not")[0].partition(": trunc")[0] for line in listed] == [
            "train: a/notes.jpg",
            "train: b/3.png",
        ]
        assert "--on-error skip" in str(caught.value)
        assert caught.value.exit_code == 1
        assert not info(tmp_path / "out").complete
        assert all(any(folder.iterdir()) for folder in (tmp_path / "out").rglob("*") if folder.is_dir())
        with pytest.raises(InputError, match="blocks are not converted yet"):
            finalize(tmp_path / "out")

    def test_replaced_images_are_converted_by_the_same_command(self, tmp_path: Path, source: Path) -> None:
        with pytest.raises(CorruptSourceError):
            convert(Request("folder", "4", block_rows=4), source, tmp_path / "out")
        write_folder(source, ["train/a/notes.jpg", "train/b/3.png"])
        out = convert(Request("folder", "4", block_rows=4), source, tmp_path / "out")
        assert not (tmp_path / "out/bad-images.txt").exists()
        assert not verify(out.root, lambda plan: open_source("folder", source, tmp_path / "staging")).faults

    def test_skip_keeps_their_slots_with_label_minus_one_in_every_folder(self, tmp_path: Path, source: Path) -> None:
        request = Request("folder", "4", block_rows=4, dtype="float16")
        out = convert(request, source, tmp_path / "out", Execution(on_error="skip"))
        plan, spectrum, labels, ids = stored(out.root, "train")
        names = [json.loads(line)[0] for line in out.rows("train").read_text().splitlines()]
        assert sorted(names[i] for i in ids[labels == -1]) == ["a/notes.jpg", "b/3.png"]
        assert (spectrum[:, labels == -1] == 0).all()
        assert (merge(spectrum, plan.spec)[labels >= 0].flatten(1).float().std(dim=1) > 0).all()
        assert info(out.root).bad_rows == {"train": 2, "test": 0}
        assert not verify(out.root, lambda plan: open_source("folder", source, tmp_path / "staging")).faults

    def test_statistics_do_not_count_them(self, tmp_path: Path, source: Path) -> None:
        request = Request("folder", "4", block_rows=4, dtype="float32")
        out = convert(request, source, tmp_path / "out", Execution(on_error="skip"))
        _, spectrum, labels, _ = stored(out.root, "train")
        record = read_record(out.spectral(0).record, SpectralRecord)
        good = spectrum[0, labels >= 0].double().transpose(0, 1).flatten(1)
        np.testing.assert_allclose(record.mean, good.mean(1), rtol=1e-6)
        np.testing.assert_allclose(record.std, good.std(1, correction=0), rtol=1e-6)


def test_an_image_above_max_pixels_is_a_bad_image(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", ["train/a/1.png", "train/a/2.png", "train/b/3.jpg"], size=(30, 40))
    write_folder(tmp_path / "set", ["train/b/large.jpg"], size=(30, 41))
    request = Request("folder", "4", size=16, max_pixels=1200)
    with pytest.raises(CorruptSourceError, match=r"(?s)1 image cannot.*b/large\.jpg .*30x41 pixels.*--max-pixels"):
        convert(request, tmp_path / "set", tmp_path / "out")
    with pytest.raises(PlanMismatchError, match=r"max_pixels: 1200 there, 1230 here"):
        convert(replace(request, max_pixels=1230), tmp_path / "set", tmp_path / "out")
    skipped = convert(request, tmp_path / "set", tmp_path / "out", Execution(on_error="skip"))
    assert info(skipped.root).bad_rows["train"] == 1
    assert info(convert(replace(request, max_pixels=1230), tmp_path / "set", tmp_path / "whole").root).complete


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", ["train/a/1.png", "train/a/2.png"], size=(32, 32))
    write_folder(tmp_path / "set", ["train/b/3.png"], size=(24, 40))
    with pytest.raises(InputError, match=r"do not share one size.*24x40, 32x32.*--size 224"):
        convert(Request("folder", "4"), tmp_path / "set", tmp_path / "out")
    out = convert(Request("folder", "4", size=16), tmp_path / "set", tmp_path / "out")
    assert info(out.root).image_shape == (16, 16, 3)


def test_a_disk_that_fails_under_the_scratch_files_is_not_a_bad_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spectral_prep.sources.arrays import ArraySource

    def gone(self: ArraySource, split: str, rows: object) -> NoReturn:
        raise StorageError("cannot read row back")

    monkeypatch.setattr(ArraySource, "read_each", gone)
    with pytest.raises(StorageError):
        convert(Request("digits", "4", dtype="float16"), Path(), tmp_path / "out", Execution(on_error="skip"))


@pytest.mark.parametrize("call", [1, 4, 9, 20, 40, 80])
def test_a_disk_that_fills_at_any_write_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    request = Request("digits", "2x2", block_rows=720)
    whole = tree(convert(request, Path(), tmp_path / "whole").root)
    calls = iter(range(1, 1000))
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"disk is full.*Run next: free space"):
        convert(request, Path(), tmp_path / "out")
    assert next(calls) > call
    monkeypatch.undo()
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert tree(convert(request, Path(), tmp_path / "out").root) == whole


def test_a_small_file_system_that_fills_is_one_clear_paragraph(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        write_mnist(tmp_path / "mnist", rows=600, test_rows=10)
        line = f"spectral-prep convert --dataset mnist --source {tmp_path / 'mnist'} --q 16 --out {disk / 'o'}"
        refused = run(line)
        assert refused.code == 1
        assert re.search(r"(?s)Error: not enough room.*\nExpected: [\d,]+ bytes free\n.*--no-space-check", refused.err)
        assert not (disk / "o").exists()
        done = run(f"{line} --no-space-check")
        assert done.code == 1
        assert re.search(r"^Error: the disk is full\nWhere: ", done.err, re.MULTILINE)
        assert "Traceback" not in done.err
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        assert run(line).code == 0
        assert not verify(disk / "o").faults
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_with_something_else_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"something else.*thesis\.tex.*--out"):
        convert(Request("digits", "4"), Path(), tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_target_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"not a folder|cannot write here") as caught:
            convert(Request("digits", "4"), Path(), target)
        assert caught.value.exit_code == 2


def test_a_q_that_does_not_divide_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--q 9 does not divide a 8x8 image"):
        convert(Request("digits", "9"), Path(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
