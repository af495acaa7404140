"""A record proves by itself that it is whole, and says what to do when it is of another version."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectral_prep.errors import CorruptShardError, InputError, SpectralError
from spectral_prep.store.records import read_record, write_record

CONTENT = {"rows": 7, "files": [{"path": "x/c/0", "size": 3}], "name": "été", "mean": [0.1, 2.5]}


def json_equal(first: bytes, second: bytes) -> bool:
    try:
        return bool(json.loads(first) == json.loads(second))
    except ValueError:
        return False


def test_a_record_comes_back(tmp_path) -> None:
    write_record(tmp_path / "r.json", "block", CONTENT)
    assert read_record(tmp_path / "r.json", "block") == CONTENT


def test_every_flipped_byte_is_found(tmp_path) -> None:
    path = tmp_path / "r.json"
    whole = write_record(path, "block", CONTENT)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if json_equal(path.read_bytes(), whole):  # white space between values
            assert read_record(path, "block") == CONTENT
        else:
            with pytest.raises(SpectralError, match=re.escape(str(path))):
                read_record(path, "block")


def test_every_truncation_is_found(tmp_path) -> None:
    path = tmp_path / "r.json"
    whole = write_record(path, "block", CONTENT)
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptShardError, match="block record"):
            read_record(path, "block")


def test_another_kind_is_refused(tmp_path) -> None:
    write_record(tmp_path / "r.json", "block", CONTENT)
    with pytest.raises(CorruptShardError, match="plan record"):
        read_record(tmp_path / "r.json", "plan")


def test_a_newer_version_is_refused_with_the_command_to_run(tmp_path) -> None:
    path = tmp_path / "r.json"
    write_record(path, "block", CONTENT)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(InputError, match=r"Expected: 1\. Got: 2\. Run next: pip install --upgrade"):
        read_record(path, "block")


def test_a_missing_record_is_the_users_input(tmp_path) -> None:
    with pytest.raises(InputError, match="no plan record"):
        read_record(tmp_path / "plan.json", "plan")


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_raise_nothing_but_our_own_errors(tmp_path, content) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(SpectralError):
        read_record(tmp_path / "r.json", "plan")
