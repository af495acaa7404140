"""A record proves by itself that it is whole, and says what to do when it is of another version."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectral_prep.errors import CorruptFileError, InputError, SpectralError
from spectral_prep.store.record_file import plain, read_content, read_record, write_content
from spectral_prep.store.records import BlockRecord, FileEntry

CONTENT = {"rows": 7, "files": [{"path": "x/c/0", "size": 3}], "name": "été", "mean": [0.1, 2.5]}


def json_equal(first: bytes, second: bytes) -> bool:
    try:
        return bool(json.loads(first) == json.loads(second))
    except ValueError:
        return False


def test_a_record_comes_back(tmp_path) -> None:
    write_content(tmp_path / "r.json", "block", CONTENT)
    assert read_content(tmp_path / "r.json", "block") == CONTENT


def test_every_flipped_byte_is_found(tmp_path) -> None:
    path = tmp_path / "r.json"
    whole = write_content(path, "block", CONTENT)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if json_equal(path.read_bytes(), whole):  # white space between values
            assert read_content(path, "block") == CONTENT
        else:
            with pytest.raises(SpectralError, match=re.escape(str(path))):
                read_content(path, "block")


def test_every_truncation_is_found(tmp_path) -> None:
    path = tmp_path / "r.json"
    whole = write_content(path, "block", CONTENT)
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError, match="block record"):
            read_content(path, "block")


def test_another_kind_is_refused(tmp_path) -> None:
    write_content(tmp_path / "r.json", "block", CONTENT)
    with pytest.raises(CorruptFileError, match="plan record"):
        read_content(tmp_path / "r.json", "plan")


def test_a_newer_version_is_refused_with_the_command_to_run(tmp_path) -> None:
    path = tmp_path / "r.json"
    write_content(path, "block", CONTENT)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(InputError, match=r"Expected: 1\. Got: 2\. Run next: pip install --upgrade"):
        read_content(path, "block")


def test_a_missing_record_is_the_users_input(tmp_path) -> None:
    with pytest.raises(InputError, match="no plan record"):
        read_content(tmp_path / "plan.json", "plan")


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_raise_nothing_but_our_own_errors(tmp_path, content) -> None:
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
