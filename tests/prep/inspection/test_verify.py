"""Every damaged, missing or foreign file is found and named, in every kind of file."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from spectral_prep.choices import Format, Storage
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.errors import CorruptFileError, InputError, SpectralError
from spectral_prep.inspection.verify import verify
from spectral_prep.sources import open_source
from spectral_prep.store import STORES
from spectral_prep.store.block_writer import BlockWriter
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.read_folder import stored_labels, stored_rows
from spectral_prep.store.record_file import read_content, read_record, write_content
from spectral_prep.store.records import SpectralRecord
from tests.support.releases import write_folder, write_mnist

SHARED = {
    "plan": "plan.json",
    "row index": "rows/train.jsonl",
    "block record": "blocks/00001.json",
    "spectral record": "spectral-03/spectral.json",
    "card": "README.md",
}
OWN: dict[Format, dict[str, str]] = {
    "zarr": {
        "part": "spectral-02/train/x/c/1/0/0/0",
        "labels": "spectral-01/train/y/c/0",
        "ids": "spectral-01/test/id/c/0",
        "array metadata": "spectral-00/train/x/zarr.json",
        "group metadata": "spectral-03/zarr.json",
    },
    "webdataset": {
        "part": "spectral-02/train-00001.tar",
        "labels": "spectral-01/train-y.npy",
        "ids": "spectral-01/test-id.npy",
    },
}
ALIKE: dict[Format, set[str]] = {
    "zarr": {
        "spectral-00/train/y/zarr.json",
        "spectral-00/train/id/zarr.json",
        "spectral-00/train/id/c/0",
        "spectral-00/train/zarr.json",
        "manifest.json",
    },
    "webdataset": {"manifest.json"},
}
FORMATS: tuple[Format, ...] = get_args(Format)
EVERY_KIND = [pytest.param(format, path, id=path) for format in FORMATS for path in (SHARED | OWN[format]).values()]
PLACES = 10


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


@pytest.mark.parametrize("deep", [False, True], ids=["", "deep"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_whole_data_set_has_no_fault(digits_as: Callable[[Format], Path], format: Format, deep: bool) -> None:
    root = digits_as(format)
    found = verify(root, deep=deep)
    assert found.faults == ()
    assert found.rows == {"train": 1438, "test": 359}
    assert found.spectrals == 4
    assert found.files == sum(path.is_file() for path in root.rglob("*"))
    assert found.decoded == deep


@pytest.mark.parametrize("format", FORMATS)
def test_there_is_no_kind_of_file_that_these_tests_forget(digits_as: Callable[[Format], Path], format: Format) -> None:
    def kind(path: str) -> str:
        return "".join(" " if letter.isdigit() else letter for letter in path).replace("test", "train")

    root = digits_as(format)
    present = {kind(path.relative_to(root).as_posix()) for path in root.rglob("*") if path.is_file()}
    tested = {kind(path) for path in (SHARED | OWN[format]).values()}
    assert present == tested | {kind(path) for path in ALIKE[format]}


@pytest.mark.parametrize(("format", "path"), EVERY_KIND)
def test_a_flipped_byte_anywhere_is_found_and_its_file_named(
    digits_as: Callable[[Format], Path], format: Format, path: str
) -> None:
    root = digits_as(format)
    whole = (root / path).read_bytes()
    places = {0, 1, len(whole) - 2, len(whole) - 1, *range(0, len(whole), max(1, len(whole) // PLACES))}
    for place in sorted(places):
        flip(root / path, place)
        assert path in found_in(root), place
        (root / path).write_bytes(whole)
    assert found_in(root) == ""


@pytest.mark.parametrize(("format", "path"), EVERY_KIND)
def test_a_truncated_or_missing_file_is_found_and_named(
    digits_as: Callable[[Format], Path], format: Format, path: str
) -> None:
    root = digits_as(format)
    whole = (root / path).read_bytes()
    (root / path).write_bytes(whole[:-1])
    assert path in found_in(root)
    (root / path).unlink()
    assert path in found_in(root)


def test_a_flipped_byte_in_the_manifest_is_found(digits: Path) -> None:
    manifest = digits / "manifest.json"
    whole = manifest.read_bytes()
    for place in range(0, len(whole), 97):
        flip(manifest, place)
        if whole[place : place + 1].strip():
            assert "manifest" in found_in(digits), place
        manifest.write_bytes(whole)


def test_foreign_files_and_leftovers_are_named(digits: Path) -> None:
    (digits / "notes.txt").write_text("hello")
    (digits / "spectral-01" / "train" / "x.0123456789ab.partial").write_text("")
    faults = "\n".join(verify(digits).faults)
    assert "notes.txt: not part of the data set" in faults
    assert "x.0123456789ab.partial: left by a killed run" in faults


@pytest.mark.parametrize(("format", "path"), [case for case in EVERY_KIND if case.id != "plan.json"])
def test_a_damaged_file_is_healed_by_deleting_it_and_converting_again(
    digits_as: Callable[[Format], Path], format: Format, path: str
) -> None:
    root = digits_as(format)
    whole = (root / path).read_bytes()
    flip(root / path, 5)
    assert path in found_in(root)
    (root / path).unlink()
    convert(Request("digits", "4", block_rows=300, format=format), Path(), root)
    assert (root / path).read_bytes() == whole
    assert found_in(root) == ""


def vouch(root: Path, name: str, path: str) -> None:
    """Let every record vouch for a file as it is now: what damage before the hash was taken would leave."""
    folder = DatasetPaths(root).root / name
    record = read_content(folder / "spectral.json", "spectral")
    _set_entry(record["files"], path, folder / path)
    write_content(folder / "spectral.json", "spectral", record)
    manifest = read_content(root / "manifest.json", "manifest")
    for changed in (path, "spectral.json"):
        _set_entry(manifest["files"], f"{name}/{changed}", folder / changed)
    write_content(root / "manifest.json", "manifest", manifest)


def _set_entry(files: list[dict[str, Any]], path: str, file: Path) -> None:
    (entry,) = [entry for entry in files if entry["path"] == path]
    entry["size"], entry["sha256"] = file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("format", "labels", "ids"),
    [("zarr", "train/y/c/0", "train/id/c/0"), ("webdataset", "train-y.npy", "train-id.npy")],
)
def test_labels_that_do_not_agree_with_the_row_index_are_found(
    digits_as: Callable[[Format], Path], format: Format, labels: str, ids: str
) -> None:
    """Even when every hash was made to agree: one spectral's labels are those of other rows."""
    root = digits_as(format)
    shutil.copy(root / "spectral-02" / ids, root / "spectral-02" / labels)
    vouch(root, "spectral-02", labels)
    assert "spectral-02" in found_in(root)


def change_a_value(root: Path, format: Format) -> str:
    """Let one stored value of spectral 1 be one more, with all that guards it made to agree; return the part's path."""
    paths = DatasetPaths(root)
    plan = read_record(paths.plan, Plan)
    record = read_record(paths.spectral(1).record, SpectralRecord)
    values = stored_rows(paths.spectral(1).root, record, "train").read(300, 600)
    labels = stored_labels(paths.spectral(1).root, record, "train")[0][300:600]
    values[17, 0, 2, 1] += 1
    part, array = paths.spectral(1).part("train", 1, format), plan.array("train", 1)
    with BlockWriter(root, [part], STORES[format].encoder(array, 1, 300), array) as writer:
        writer.append(values[None], labels)
        writer.finish()
    vouch(root, "spectral-01", part.relative_to(paths.spectral(1).root).as_posix())
    return part.relative_to(root).as_posix()


@pytest.mark.parametrize("format", FORMATS)
def test_a_value_that_changed_before_it_was_hashed_is_found_by_decoding(
    digits_as: Callable[[Format], Path], format: Format
) -> None:
    root = digits_as(format)
    part = change_a_value(root, format)
    assert verify(root).faults == ()
    assert verify(root, deep=True).faults == (
        f"{root / part}: its values are not those that its block's record describes",
    )


@pytest.mark.parametrize("format", FORMATS)
def test_statistics_of_other_values_are_found_by_decoding(digits_as: Callable[[Format], Path], format: Format) -> None:
    """In the whole data set, and in a folder that is alone with its record."""
    root = digits_as(format)
    record = read_content(root / "spectral-02/spectral.json", "spectral")
    record["std"][0] *= 1.001
    write_content(root / "spectral-02/spectral.json", "spectral", record)
    manifest = read_content(root / "manifest.json", "manifest")
    _set_entry(manifest["files"], "spectral-02/spectral.json", root / "spectral-02/spectral.json")
    write_content(root / "manifest.json", "manifest", manifest)
    assert verify(root).faults == verify(root / "spectral-02").faults == ()
    assert "spectral-02/spectral.json: its statistics are not those of the block" in str(verify(root, deep=True).faults)
    alone = verify(root / "spectral-02", deep=True)
    assert "spectral.json: its statistics are not those of the stored values" in str(alone.faults)
    assert not alone.decoded


def test_a_label_in_a_tar_that_is_not_that_of_its_row_is_found_by_decoding(digit_tars: Path) -> None:
    tar = digit_tars / "spectral-03" / "train-00002.tar"
    content = bytearray(tar.read_bytes())
    content[512] = ord("0") + (content[512] - ord("0") + 1) % 10
    tar.write_bytes(content)
    vouch(digit_tars, "spectral-03", "train-00002.tar")
    assert verify(digit_tars).faults == ()
    assert "spectral-03/train-00002.tar: row 600 has label" in str(verify(digit_tars, deep=True).faults)
    assert "row 600 has label" in str(verify(digit_tars / "spectral-03", deep=True).faults)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_sums_of_floats_in_another_order_are_no_fault(tmp_path: Path, dtype: Storage) -> None:
    out = convert(Request("digits", "4", block_rows=300, dtype=dtype), Path(), tmp_path / "out")
    assert verify(out.root, deep=True).decoded
    assert verify(out.spectral(3).root, deep=True).decoded


@pytest.mark.parametrize("format", FORMATS)
def test_a_spectral_folder_copied_alone_is_verified(
    digits_as: Callable[[Format], Path], format: Format, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(digits_as(format) / "spectral-02", tmp_path / "elsewhere"))
    found = verify(alone, deep=True)
    assert (found.faults, found.spectrals, found.decoded) == ((), 1, True)
    part = OWN[format]["part"].removeprefix("spectral-02/")
    flip(alone / part, 40)
    assert f"{part}: its content does not match" in found_in(alone)
    flip(alone / "spectral.json", 200)
    with pytest.raises(CorruptFileError, match=r"spectral\.json"):
        verify(alone)


def test_an_unfinished_conversion_says_what_to_run(digits: Path) -> None:
    (digits / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"not a complete data set.*Run next: the spectral-prep convert command again"):
        verify(digits)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a complete data set"):
        verify(tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_pixels_are_compared_with_the_source(tmp_path: Path, dtype: Storage) -> None:
    write_mnist(tmp_path / "mnist", rows=80, test_rows=20)
    out = convert(Request("mnist", "16", dtype=dtype), tmp_path / "mnist", tmp_path / "out")
    found = verify(out.root, lambda plan: open_source("mnist", tmp_path / "mnist", tmp_path / "s1"))
    assert found.faults == ()
    assert found.pixels is not None
    assert found.pixels.rows == 64 + 20
    assert (found.pixels.psnr is None) == (dtype == "float16")
    assert found.pixels.exact_rows == (84 if dtype == "float16" else found.pixels.exact_rows)


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_rows_that_are_not_what_the_source_converts_to_are_named(tmp_path: Path, dtype: Storage) -> None:
    names = ["train/a/1.png", "train/b/2.png", "train/b/3.png"]
    write_folder(tmp_path / "set", names)
    out = convert(Request("folder", "4", dtype=dtype), tmp_path / "set", tmp_path / "out")
    write_folder(tmp_path / "set", names[::-1])  # the same names, other pixels
    found = verify(out.root, lambda plan: open_source("folder", tmp_path / "set", tmp_path / "staging"))
    assert any("is not what a/1.png converts to" in fault for fault in found.faults)


def test_another_source_is_refused(tmp_path: Path, digits: Path) -> None:
    write_mnist(tmp_path / "mnist")
    with pytest.raises(InputError, match="not the source that was converted"):
        verify(digits, lambda plan: open_source("mnist", tmp_path / "mnist", tmp_path / "staging"))


def test_what_does_not_belong_in_the_folder_is_named(digits: Path, tmp_path: Path) -> None:
    (digits / "extra").write_text("x")
    (digits / "link").symlink_to(tmp_path)
    os.mkfifo(digits / "spectral-00/train/pipe")
    (digits / "spectral-01/none/at/all").mkdir(parents=True)
    (digits / "rows/.train.jsonl.partial").write_text("x")
    assert set(verify(digits).faults) == {
        f"{digits / 'extra'}: not part of the data set",
        f"{digits / 'link'}: a symbolic link, not part of the data set",
        f"{digits / 'spectral-00/train/pipe'}: a pipe, socket or device, not part of the data set",
        f"{digits / 'spectral-01/none/at/all'}: an empty folder, not part of the data set",
        f"{digits / 'rows/.train.jsonl.partial'}: left by a killed run",
    }
    assert {f"{digits / 'spectral-00/train/pipe'}: a pipe, socket or device, not part of the data set"} == set(
        verify(digits / "spectral-00").faults
    )


@pytest.mark.parametrize("path", ["plan.json", "spectral-02/train/x/c/1/0/0/0", "spectral-01/spectral.json", "rows"])
def test_a_link_in_the_place_of_what_belongs_there_is_named(digits: Path, tmp_path: Path, path: str) -> None:
    (digits / path).rename(tmp_path / "elsewhere")
    (digits / path).symlink_to(tmp_path / "elsewhere")
    found = verify(digits).faults
    assert f"{digits / path}: a symbolic link, not part of the data set" in found
    assert any("not a regular file in this folder" in fault for fault in found)


def test_a_pipe_in_the_place_of_a_file_is_named_and_does_not_hang(digits: Path) -> None:
    for path in ("spectral-02/train/x/c/1/0/0/0", "README.md"):
        (digits / path).unlink()
        os.mkfifo(digits / path)
        assert str(digits / path) in "".join(verify(digits).faults)


def test_a_data_set_that_is_itself_a_link_is_whole(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(digits)
    assert verify(tmp_path / "link").faults == ()
