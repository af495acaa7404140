"""Only regular files are read, no more of them than is wanted, and nothing leads out of a folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_prep.places import refuse_irregular
from spectral_prep.system.regular import (
    EMPTY,
    irregular,
    open_regular,
    read_regular,
    regular_below,
)


def test_a_file_is_read_in_parts_and_no_byte_beyond(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with open_regular(tmp_path / "f") as file:
        assert file.size == 10
        assert file.read(3, 4) == b"3456"
        assert file.read(10, 0) == b""
        for offset, size in ((0, 11), (11, 0), (-1, 1), (5, -1), (2**63, 1), (0, 2**64)):
            with pytest.raises(ValueError, match="do not lie in a file of 10 bytes"):
                file.read(offset, size)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.descriptor)


def test_a_file_that_shrinks_is_said_to_end(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with open_regular(tmp_path / "f") as file:
        os.truncate(tmp_path / "f", 4)
        with pytest.raises(ValueError, match="ends at byte 4, expected 8"):
            file.read(0, 8)


def test_a_longer_file_than_wanted_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="expected at most 100"):
        read_regular(tmp_path / "f", 100)
    (tmp_path / "f").write_bytes(b"x" * 100)
    assert read_regular(tmp_path / "f", 100) == b"x" * 100


def test_what_is_no_file_is_refused_without_waiting_and_left_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder", Path("/dev/zero"), Path("/dev/null")):
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ValueError, match="is not a regular file"):
            read_regular(path, 100)
        assert len(os.listdir("/proc/self/fd")) == before
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        listening.bind("socket")
        with pytest.raises(ValueError, match="is not a regular file"):
            open_regular(tmp_path / "socket")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_nothing_below_a_folder_is_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "real/inner/f").write_bytes(b"x")
    (tmp_path / "root").symlink_to("real")
    (tmp_path / "real/link").symlink_to("inner")
    (tmp_path / "real/inner/g").symlink_to("f")
    os.mkfifo(tmp_path / "real/inner/pipe")
    for root in (tmp_path / "real", tmp_path / "root"):  # the root itself may be a link
        assert regular_below(root, "inner/f")
        for path in ("link/f", "inner/g", "inner/pipe", "inner", "none/f", "inner/f/x"):
            assert not regular_below(root, path)


def test_all_that_is_neither_file_nor_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/f").write_bytes(b"x")
    (tmp_path / "link").symlink_to("/nowhere")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "a/pipe")
    found = [(path.relative_to(tmp_path).as_posix(), kind) for path, kind in irregular(tmp_path)]
    assert found == [
        ("a/b", EMPTY),
        ("a/pipe", "a pipe, socket or device"),
        ("link", "a symbolic link"),
        ("loop", "a symbolic link"),
    ]
    with pytest.raises(InputError, match=r"the folder holds a pipe.*a/pipe.*Run next: rm "):
        refuse_irregular(tmp_path)


def test_a_folder_of_files_and_empty_folders_may_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    refuse_irregular(tmp_path)
    refuse_irregular(tmp_path / "none")
