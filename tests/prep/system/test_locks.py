"""Nothing is cleaned up in a folder that somebody writes in, and a killed writer is nobody."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_prep.system.files import Advice
from spectral_prep.system.locks import if_unused, shared_use


def cleaned(folder: Path) -> bool:
    done: list[Path] = []
    if_unused(folder, done.append)
    return done == [folder]


def test_a_folder_in_use_is_left_alone_until_its_last_writer_is_done(tmp_path: Path) -> None:
    (tmp_path / "part").touch()
    with shared_use(tmp_path):
        with shared_use(tmp_path):
            assert not cleaned(tmp_path)
        assert not cleaned(tmp_path)
    assert cleaned(tmp_path)


def test_a_writer_waits_while_another_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "part").touch()
    began = threading.Event()

    def write() -> None:
        with shared_use(tmp_path):
            began.set()

    writer = threading.Thread(target=write)

    def clean(_folder: Path) -> None:
        writer.start()
        assert not began.wait(0.2)

    if_unused(tmp_path, clean)
    writer.join()
    assert began.is_set()


def test_a_killed_writer_does_not_hold_the_folder(tmp_path: Path) -> None:
    (tmp_path / "part").touch()
    writer = os.fork()
    if not writer:
        with shared_use(tmp_path):
            os.kill(os.getpid(), 9)
    os.waitpid(writer, 0)
    assert cleaned(tmp_path)


def test_without_locks_writers_go_on_and_nothing_is_cleaned_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    (tmp_path / "part").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with shared_use(tmp_path):
        pass
    assert not cleaned(tmp_path)


def test_a_folder_is_made_for_its_writer_and_goes_if_nothing_was_begun(tmp_path: Path) -> None:
    with shared_use(tmp_path / "a" / "out"):
        assert (tmp_path / "a" / "out").is_dir()
    assert not (tmp_path / "a" / "out").exists()


def test_a_folder_that_cannot_be_made_is_explained_with_the_advice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"cannot write here.*Run next: elsewhere"),
        shared_use(tmp_path / "file" / "out", Advice("", "elsewhere")),
    ):
        pass
