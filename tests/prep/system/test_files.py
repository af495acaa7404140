"""An atomic write leaves the old file or the new one, whichever system call fails."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from spectral_prep.errors import InputError, SpectralError, StorageError
from spectral_prep.system import files
from spectral_prep.system.files import Advice, atomic_write, create, is_temporary, remove, require_writable


def test_a_write_makes_its_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
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
def test_a_failing_call_keeps_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    kind: type[SpectralError],
    code: int,
    told: str,
) -> None:
    target = tmp_path / "part"
    atomic_write(target, b"old")

    def fail(*_args: object, **_kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files if call == "open" else os, call, fail, raising=False)
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


def test_the_file_and_its_folder_are_synced_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append("fsync")
        fsync(descriptor)

    def noted_replace(old: Path, new: Path) -> None:
        calls.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    atomic_write(tmp_path / "part", b"new")
    folders = calls.index("replace") - 1
    assert calls == [*["fsync"] * folders, "fsync", "replace", "fsync"]
    assert folders >= 1  # the names of those above may be a killed process's


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no posix_fadvise on this system")
@pytest.mark.parametrize("refused", [False, True])
def test_a_long_file_is_written_back_while_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    asked: list[tuple[int, int, int]] = []

    def hint(descriptor: int, start: int, length: int, _advice: int) -> None:
        asked.append((start, length, os.fstat(descriptor).st_size))
        if refused:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "posix_fadvise", hint)
    pieces = [bytes([number]) * (files.WRITEBACK_BYTES // 2 + 1) for number in range(5)]
    atomic_write(tmp_path / "part", pieces)
    two = 2 * len(pieces[0])
    assert asked == [(0, two, two), (two, two, 2 * two)]
    assert (tmp_path / "part").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_sync_folders_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "new" / "file"
    atomic_write(path, b"content")
    assert create(tmp_path / "new" / "other", b"content")
    assert path.read_bytes() == b"content"
    remove(path)
    assert not path.exists()


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_fd: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "part", b"new")
    assert os.listdir(tmp_path) == []


def test_what_a_kill_leaves_behind_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    replace = os.replace

    def noted(old: Path, new: Path) -> None:
        seen.append(old)
        replace(old, new)

    monkeypatch.setattr(os, "replace", noted)
    atomic_write(tmp_path / "part", b"new")
    assert is_temporary(seen[0].name)
    assert not is_temporary("part")


def test_what_could_be_written_is_said_beforehand_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    for path in (tmp_path / "new", tmp_path / "old", tmp_path / "a" / "b" / "new"):
        require_writable(path)
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_what_could_not_be_written_is_refused_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"a folder has this name already. Where: \S+ Expected: the name of a file"):
        require_writable(tmp_path)
    with pytest.raises(InputError, match="file/new"):
        require_writable(tmp_path / "file" / "new")
    for number, kind in ((errno.EACCES, InputError), (errno.EROFS, InputError), (errno.ENOSPC, StorageError)):

        def refuse(*_args: object, number: int = number, **_kwargs: object) -> NoReturn:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
        with pytest.raises(kind, match=str(tmp_path / "new")):
            require_writable(tmp_path / "new")
