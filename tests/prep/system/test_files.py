"""An atomic write leaves the old file or the new one, whichever system call fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spectral_prep.errors import InputError, SpectralError, StorageError
from spectral_prep.system import files
from spectral_prep.system.files import Advice, atomic_write, is_temporary


def test_a_write_makes_its_folders_and_leaves_nothing_else(tmp_path) -> None:
    target = tmp_path / "a" / "b" / "part"
    atomic_write(target, b"new")
    assert target.read_bytes() == b"new"
    assert os.listdir(target.parent) == ["part"]


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize(
    ("number", "kind", "code", "told"),
    [
        (errno.ENOSPC, StorageError, 1, "disk is full"),
        (errno.EDQUOT, StorageError, 1, "disk is full"),
        (errno.EIO, StorageError, 1, "writing failed"),
        (errno.EACCES, InputError, 2, "cannot write here"),
        (errno.EROFS, InputError, 2, "cannot write here"),
    ],
)
def test_a_failing_call_keeps_the_old_file(tmp_path, monkeypatch, call, number, kind, code, told) -> None:
    target = tmp_path / "part"
    atomic_write(target, b"old")

    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files if call == "open" else files.os, call, fail, raising=False)
    with pytest.raises(kind, match=told) as caught:
        atomic_write(target, b"new")
    assert caught.value.exit_code == code
    assert str(target) in str(caught.value)
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["part"]


@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "empty the attic"), (errno.EACCES, "take another key")])
def test_the_user_gets_the_advice_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpectralError, match=f"Run next: {advice}$"):
        atomic_write(tmp_path / "part", b"new", Advice(full="empty the attic", refused="take another key"))


def test_the_file_and_its_folder_are_synced_before_and_after_the_rename(tmp_path, monkeypatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(files.os, "replace", lambda a, b: (calls.append("replace"), replace(a, b))[1])
    atomic_write(tmp_path / "part", b"new")
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no posix_fadvise on this system")
@pytest.mark.parametrize("refused", [False, True])
def test_a_long_file_is_written_back_while_it_grows(tmp_path, monkeypatch, refused) -> None:
    asked: list[tuple[int, int, int]] = []

    def hint(descriptor, start, length, _advice):
        asked.append((start, length, os.fstat(descriptor).st_size))
        if refused:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(files.os, "posix_fadvise", hint)
    pieces = [bytes([number]) * (files.WRITEBACK_BYTES // 2 + 1) for number in range(5)]
    atomic_write(tmp_path / "part", pieces)
    two = 2 * len(pieces[0])
    assert asked == [(0, two, two), (two, two, 2 * two)]
    assert (tmp_path / "part").read_bytes() == b"".join(pieces)


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch) -> None:
    def interrupt(_fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "part", b"new")
    assert os.listdir(tmp_path) == []


def test_what_a_kill_leaves_behind_is_known_by_its_name(tmp_path, monkeypatch) -> None:
    seen = []
    replace = os.replace
    monkeypatch.setattr(files.os, "replace", lambda a, b: (seen.append(a), replace(a, b))[1])
    atomic_write(tmp_path / "part", b"new")
    assert is_temporary(seen[0])
    assert not is_temporary(tmp_path / "part")
