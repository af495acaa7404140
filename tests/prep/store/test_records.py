"""A record proves by itself that it is whole, and says what to do when it is of another version."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectral_prep.errors import CorruptFileError, InputError, SpectralError
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import LEFT_OUT, plain, read_content, read_record, write_content
from spectral_prep.store.records import BadRow, BlockRecord, FileEntry, Manifest, SpectralRecord

CONTENT = {"rows": 7, "files": [{"path": "x/c/0", "size": 3}], "name": "été", "mean": [0.1, 2.5]}


def test_a_record_comes_back(tmp_path: Path) -> None:
    write_content(tmp_path / "r.json", "block", CONTENT)
    assert read_content(tmp_path / "r.json", "block") == CONTENT


def test_the_plain_form_is_what_json_makes_of_a_record(digits: Path) -> None:
    for kind, name in ((Plan, "plan.json"), (BlockRecord, "blocks/00000.json"), (Manifest, "manifest.json")):
        record = read_record(digits / name, kind)
        optional = {field.name for field in fields(cast(Any, record)) if field.metadata == LEFT_OUT}
        whole = json.loads(json.dumps(asdict(cast(Any, record))))
        expected = {name: value for name, value in whole.items() if value is not None or name not in optional}
        assert plain(record) == expected
    assert plain(BadRow(np.float64(1.5), "a", "b"))["id"] == 1.5  # type: ignore[arg-type]


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    whole = write_content(path, "block", CONTENT)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SpectralError, match=re.escape(str(path))):
            read_content(path, "block")


def test_every_truncation_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    whole = write_content(path, "block", CONTENT)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError, match="block record"):
            read_content(path, "block")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    write_content(tmp_path / "r.json", "block", CONTENT)
    with pytest.raises(CorruptFileError, match="plan record"):
        read_content(tmp_path / "r.json", "plan")


def test_a_newer_version_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_content(path, "block", CONTENT)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(InputError, match=r"Expected: 1\. Got: 2\. Run next: pip install --upgrade"):
        read_content(path, "block")


def test_a_missing_record_is_the_users_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no plan record"):
        read_content(tmp_path / "plan.json", "plan")


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_raise_nothing_but_our_own_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(SpectralError):
        read_content(tmp_path / "r.json", "plan")


ENTRY = {"path": "train/x/c/0/0/0/0", "size": 3, "sha256": "0" * 64}
BLOCK: dict[str, Any] = {
    "number": 3,
    "split": "train",
    "start": 0,
    "stop": 8,
    "files": [ENTRY],
    "bad": [{"id": 5, "name": "a\udcff.png", "reason": "truncated"}],
    "count": 7,
    "sum": [[1.5]],
    "sum_of_squares": [[4]],
    "saturated": [0],
}


def test_a_record_is_what_was_written(tmp_path: Path) -> None:
    write_content(tmp_path / "r.json", "block", BLOCK)
    block = read_record(tmp_path / "r.json", BlockRecord)
    assert block.files == (FileEntry("train/x/c/0/0/0/0", 3, "0" * 64),)
    assert block.bad[0].name == "a\udcff.png"
    assert plain(block) == BLOCK


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"number": "3"}, "number"),
        ({"number": True}, "number"),
        ({"number": -1}, "number"),
        ({"stop": 2**31}, "stop"),
        ({"split": None}, "split"),
        ({"extra": 1}, "extra"),
        ({"files": [{**ENTRY, "sha256": "0"}]}, "files.0.sha256"),
        ({"files": [{"path": "x", "size": 3}]}, "files.0.sha256"),
        ({"files": {"0": ENTRY}}, "files"),
        ({"sum": [[float("nan")]]}, "sum.0.0"),
        ({"sum": [["1.5"]]}, "sum.0.0"),
        ({"bad": [{"id": 5, "name": b"a".hex(), "reason": 7}]}, "bad.0.reason"),
    ],
)
def test_a_wrong_field_is_named_though_the_checksum_is_right(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    write_content(tmp_path / "r.json", "block", {**BLOCK, **change})
    with pytest.raises(CorruptFileError, match=rf"the block record has an unusable field: {field}\. Where: .*r\.json"):
        read_record(tmp_path / "r.json", BlockRecord)


@pytest.mark.parametrize("field", sorted(BLOCK))
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    write_content(tmp_path / "r.json", "block", {name: value for name, value in BLOCK.items() if name != field})
    with pytest.raises(CorruptFileError, match=f"unusable field: {field}"):
        read_record(tmp_path / "r.json", BlockRecord)


@pytest.mark.parametrize("path", ["", "/x", "../x", "a/../../x", "a/./x", "a//x", "a/", ".", "a\0b", "..\\x", "./x"])
def test_no_entry_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    write_content(tmp_path / "r.json", "block", {**BLOCK, "files": [{**ENTRY, "path": path}]})
    with pytest.raises(CorruptFileError, match=r"unusable field: files\.0\.path"):
        read_record(tmp_path / "r.json", BlockRecord)


@pytest.mark.parametrize("split", ["../../x/t", "", "Train", "train/x", "val"])
def test_splits_are_train_and_test(tmp_path: Path, split: str) -> None:
    write_content(tmp_path / "r.json", "block", {**BLOCK, "split": split})
    with pytest.raises(CorruptFileError, match="unusable field: split"):
        read_record(tmp_path / "r.json", BlockRecord)


def changed(content: Any, change: dict[str, Any]) -> Any:
    """Return the content with the fields of a change, however deep, in place of its own."""
    if not isinstance(content, dict):
        return change
    inner = {
        key: changed(content.get(key), value) if isinstance(value, dict) else value for key, value in change.items()
    }
    return {**content, **inner}


SPECTRAL: list[dict[str, Any]] = [
    {"k": 4},
    {"energy": [1.0]},
    {"mean": []},
    {"std": [1.0, 2.0]},
    {"classes": []},
    {"height": 9},
    {"height": 0},
    {"dataset": "../x"},
    {"dataset": ".."},
    {"dataset_id": "x"},
    {"splits": {"train": {"rows": 1, "bad_rows": 2}}},
    {"splits": {"train": {"views": 0}}},
    {"splits": {"train": {"block_rows": 0}}},
    {"splits": {"../train": {"rows": 1, "block_rows": 1, "bad_rows": 0, "views": 1}}},
    {"encoding": {"scale_factor": [1.0], "add_offset": [0.0]}},
    {"spec": {"q1": 0}},
    {"store": "pickle"},
]


@pytest.mark.parametrize("change", SPECTRAL, ids=str)
def test_fields_of_a_spectral_record_agree(digits: Path, change: dict[str, Any]) -> None:
    path = digits / "spectral-02/spectral.json"
    write_content(path, "spectral", changed(read_content(path, "spectral"), change))
    with pytest.raises(CorruptFileError, match=r"the spectral record has an unusable field.*spectral\.json"):
        read_record(path, SpectralRecord)


PLANS: list[dict[str, Any]] = [
    {"splits": {"train": {"rows": 0}}},
    {"splits": {"train": {"block_rows": 1, "chunk_rows": 1, "rows": 2**31 - 1}}},
    {"splits": {"train": {"chunk_rows": 7}}},
    {"geometry": {"height": 7}},
    {"geometry": {"channels": 2}},
    {"encoding": {"dtype": "object"}},
    {"encoding": {"scale_factor": []}},
    {"seed": -1},
    {"shuffle": "no"},
    {"compression": "pickle"},
    {"fingerprint": "x"},
    {"augmentation": {"name": "crop"}},
]


@pytest.mark.parametrize("change", PLANS, ids=str)
def test_fields_of_a_plan_agree(digits: Path, change: dict[str, Any]) -> None:
    path = digits / "plan.json"
    write_content(path, "plan", changed(read_content(path, "plan"), change))
    with pytest.raises(CorruptFileError, match=r"the plan record has an unusable field.*plan\.json"):
        read_record(path, Plan)


def test_a_file_that_is_listed_twice_is_no_record(digits: Path) -> None:
    path = digits / "manifest.json"
    content = read_content(path, "manifest")
    write_content(path, "manifest", {**content, "files": [*content["files"], content["files"][0]]})
    with pytest.raises(CorruptFileError, match="a file that is listed twice"):
        read_record(path, Manifest)


def test_a_record_that_is_a_link_is_refused(tmp_path: Path) -> None:
    write_content(tmp_path / "elsewhere.json", "block", BLOCK)
    (tmp_path / "r.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(CorruptFileError, match=r"symbolic link\. Where: .*r\.json"):
        read_record(tmp_path / "r.json", BlockRecord)


def test_every_byte_of_a_record_counts_not_only_its_values(tmp_path: Path) -> None:
    written = write_content(tmp_path / "r.json", "block", BLOCK)
    (tmp_path / "r.json").write_bytes(written.replace(b"\n ", b"\n\t", 1))
    with pytest.raises(CorruptFileError, match="does not match its own sha256"):
        read_record(tmp_path / "r.json", BlockRecord)
