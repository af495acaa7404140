"""The header of a file of tensors is short, or nothing is made of it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import safetensors

from spectral_prep.errors import CorruptFileError
from spectral_train.run.outputs import read_outputs
from spectral_train.run.tensor_file import LARGEST_HEADER, require_short_header

EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def write(path: Path, tensors: int) -> Path:
    header = json.dumps({str(number): EMPTY for number in range(tensors)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def test_headers_within_the_bound_are_fine(tmp_path: Path) -> None:
    require_short_header(write(tmp_path / "x", 10_000))


def test_a_hundred_thousand_tensors_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "x", 100_000)
    with pytest.raises(safetensors.SafetensorError, match=f"expected at most {LARGEST_HEADER}"):
        require_short_header(path)
    with pytest.raises(CorruptFileError, match=r"cannot be read.*a header of \d+ bytes"):
        read_outputs(path, "test")


def test_what_is_no_file_of_tensors(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"1234567")
    os.mkfifo(tmp_path / "pipe")
    for name in ("short", "pipe"):
        with pytest.raises(safetensors.SafetensorError, match="no file of tensors"):
            require_short_header(tmp_path / name)
