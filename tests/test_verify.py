"""Every damaged, missing or foreign file is found and named, in every kind of file."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from spectral_prep.convert import convert
from spectral_prep.errors import CorruptShardError, InputError, SpectralError
from spectral_prep.manifest import read_record, write_record
from spectral_prep.request import Request
from spectral_prep.sources import open_source
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.verify import verify
from tests.make import write_folder, write_mnist

KINDS = {
    "plan": "plan.json",
    "row index": "rows/train.jsonl",
    "block record": "blocks/00001.json",
    "part": "spectral-02/train/x/c/1/0/0/0",
    "labels": "spectral-01/train/y/c/0",
    "ids": "spectral-01/test/id/c/0",
    "array metadata": "spectral-00/train/x/zarr.json",
    "group metadata": "spectral-03/zarr.json",
    "spectral record": "spectral-03/spectral.json",
}


def found_in(root: Path) -> str:
    """Return all that verify says, whether as faults or as an error."""
    try:
        return "\n".join(verify(root).faults)
    except SpectralError as error:
        return str(error)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def test_a_whole_data_set_has_no_fault(digits) -> None:
    found = verify(digits)
    assert found.faults == ()
    assert found.rows == {"train": 1438, "test": 359}
    assert found.spectrals == 4
    assert found.files == sum(path.is_file() for path in digits.rglob("*"))


def test_there_is_no_kind_of_file_that_these_tests_forget(digits) -> None:
    def kind(path: str) -> str:
        return "".join(" " if letter.isdigit() else letter for letter in path).replace("test", "train")

    present = {kind(path.relative_to(digits).as_posix()) for path in digits.rglob("*") if path.is_file()}
    tested = {kind(path) for path in KINDS.values()}
    alike = {kind(f"spectral-00/train/{name}/zarr.json") for name in ("y", "id")} | {
        kind("spectral-00/train/id/c/0"),
        kind("spectral-00/train/zarr.json"),
        "manifest.json",
    }
    assert present - tested <= alike


@pytest.mark.parametrize("path", KINDS.values(), ids=KINDS)
def test_a_flipped_byte_anywhere_is_found_and_its_file_named(digits, path) -> None:
    whole = (digits / path).read_bytes()
    for place in sorted({0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 2, len(whole) - 1}):
        flip(digits / path, place)
        assert path in found_in(digits), place
        (digits / path).write_bytes(whole)
    assert found_in(digits) == ""


@pytest.mark.parametrize("path", KINDS.values(), ids=KINDS)
def test_a_truncated_or_missing_file_is_found_and_named(digits, path) -> None:
    whole = (digits / path).read_bytes()
    (digits / path).write_bytes(whole[:-1])
    assert path in found_in(digits)
    (digits / path).unlink()
    assert path in found_in(digits)


def test_a_flipped_byte_in_the_manifest_is_found(digits) -> None:
    manifest = digits / "manifest.json"
    whole = manifest.read_bytes()
    for place in range(0, len(whole), 97):
        flip(manifest, place)
        if whole[place : place + 1].strip():
            assert "manifest" in found_in(digits), place
        manifest.write_bytes(whole)


def test_foreign_files_and_leftovers_are_named(digits) -> None:
    (digits / "notes.txt").write_text("hello")
    (digits / "spectral-01" / "train" / "x.0123456789ab.partial").write_text("")
    faults = "\n".join(verify(digits).faults)
    assert "notes.txt: not part of the data set" in faults
    assert "x.0123456789ab.partial: left by a killed run" in faults


@pytest.mark.parametrize("path", [path for kind, path in KINDS.items() if kind != "plan"])
def test_a_damaged_file_is_healed_by_deleting_it_and_converting_again(digits, path) -> None:
    whole = (digits / path).read_bytes()
    flip(digits / path, 5)
    assert path in found_in(digits)
    (digits / path).unlink()
    convert(Request("digits", "4", block_rows=300), Path(), digits)
    assert (digits / path).read_bytes() == whole
    assert found_in(digits) == ""


def test_labels_that_do_not_agree_with_the_row_index_are_found(digits) -> None:
    """Even when every hash was made to agree: one spectral's labels are those of other rows."""
    wrong = digits / "spectral-02" / "train" / "y" / "c" / "0"
    shutil.copy(digits / "spectral-02" / "train" / "id" / "c" / "0", wrong)
    paths = DatasetPaths(digits)
    manifest = read_record(paths.manifest, "manifest")
    for entry in manifest["files"]:
        if entry["path"] == "spectral-02/train/y/c/0":
            entry["size"], entry["sha256"] = wrong.stat().st_size, hashlib.sha256(wrong.read_bytes()).hexdigest()
    write_record(paths.manifest, "manifest", manifest)
    assert "spectral-02" in found_in(digits)


def test_a_spectral_folder_copied_alone_is_verified(digits, tmp_path) -> None:
    alone = Path(shutil.copytree(digits / "spectral-02", tmp_path / "elsewhere"))
    found = verify(alone)
    assert found.faults == ()
    assert found.spectrals == 1
    flip(alone / "train/x/c/1/0/0/0", 40)
    assert "train/x/c/1/0/0/0: its content does not match" in found_in(alone)
    flip(alone / "spectral.json", 200)
    with pytest.raises(CorruptShardError, match=r"spectral\.json"):
        verify(alone)


def test_an_unfinished_conversion_says_what_to_run(digits) -> None:
    (digits / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"not a complete data set.*Run next: the spectral-prep convert command again"):
        verify(digits)


def test_a_folder_of_something_else_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="not a complete data set"):
        verify(tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_pixels_are_compared_with_the_source(tmp_path, dtype) -> None:
    write_mnist(tmp_path / "mnist", rows=80, test_rows=20)
    out = convert(Request("mnist", "16", dtype=dtype), tmp_path / "mnist", tmp_path / "out")
    found = verify(out.root, lambda plan: open_source("mnist", tmp_path / "mnist", tmp_path / "s1"))
    assert found.faults == ()
    assert found.pixels is not None
    assert found.pixels.rows == 64 + 20
    assert (found.pixels.psnr is None) == (dtype == "float16")
    assert found.pixels.exact_rows == (84 if dtype == "float16" else found.pixels.exact_rows)


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_rows_that_are_not_what_the_source_converts_to_are_named(tmp_path, dtype) -> None:
    names = ["train/a/1.png", "train/b/2.png", "train/b/3.png"]
    write_folder(tmp_path / "set", names)
    out = convert(Request("folder", "4", dtype=dtype), tmp_path / "set", tmp_path / "out")
    write_folder(tmp_path / "set", names[::-1])  # the same names, other pixels
    found = verify(out.root, lambda plan: open_source("folder", tmp_path / "set", tmp_path / "staging"))
    assert any("is not what a/1.png converts to" in fault for fault in found.faults)


def test_another_source_is_refused(tmp_path, digits) -> None:
    write_mnist(tmp_path / "mnist")
    with pytest.raises(InputError, match="not the source that was converted"):
        verify(digits, lambda plan: open_source("mnist", tmp_path / "mnist", tmp_path / "staging"))
