"""Nothing is cleaned up in a folder that somebody writes in, and a killed writer is nobody."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_prep.system.files import Advice
from spectral_prep.system.locks import if_unused, remove_unheld, shared_use, sole_use


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


def held_by_a_child(lock: Path) -> int:
    """Return the number of a process that holds the lock until it is killed."""
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        with sole_use(lock, "it is done"):
            os.write(told, b"!")
            threading.Event().wait()
    os.read(ready, 1)
    return child


def test_a_second_is_told_who_is_there_and_since_when_until_that_one_is_killed(tmp_path: Path) -> None:
    child = held_by_a_child(tmp_path / "its.lock")
    told = rf"it is done by another process.*process {child} on {socket.gethostname()}, since 20\d\d-"
    with pytest.raises(InputError, match=told), sole_use(tmp_path / "its.lock", "it is done"):
        pass
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert (tmp_path / "its.lock").exists()
    with sole_use(tmp_path / "its.lock", "it is done"):
        assert str(os.getpid()) in (tmp_path / "its.lock").read_text()
    assert not (tmp_path / "its.lock").exists()


def test_a_lock_that_cannot_be_closed_hides_nothing_of_what_the_work_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def closed_badly(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def work() -> None:
        monkeypatch.setattr(os, "close", closed_badly)
        raise InputError("the disk fails")

    for use in (sole_use(tmp_path / "its.lock", "it is done"), shared_use(tmp_path / "out")):
        with pytest.raises(InputError, match="the disk fails"), use:
            work()
        monkeypatch.setattr(os, "close", close)


def test_what_a_killed_process_left_is_removed_and_what_is_held_is_not(tmp_path: Path) -> None:
    lock = tmp_path / "its.lock"
    remove_unheld(lock)
    child = held_by_a_child(lock)
    remove_unheld(lock)
    assert lock.exists()
    os.kill(child, 9)
    os.waitpid(child, 0)
    remove_unheld(lock)
    assert not lock.exists()


def test_without_locks_the_name_counts_as_long_as_its_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = tmp_path / "its.lock"
    lock.write_text(f"{socket.gethostname()} {os.getppid()} 2026-01-01 00:00:00\n")
    with pytest.raises(InputError, match=f"process {os.getppid()} "), sole_use(lock, "it is done"):
        pass
    dead = os.fork()
    if not dead:
        os._exit(0)
    os.waitpid(dead, 0)
    for gone in (f"{socket.gethostname()} {dead} 2026-01-01 00:00:00", "elsewhere 1 2026-01-01 00:00:00", "", "x"):
        lock.write_text(gone)
        with sole_use(lock, "it is done"):
            pass


def test_a_lock_that_was_removed_while_it_was_opened_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, flock, others = tmp_path / "its.lock", fcntl.flock, [1, 2]

    def removed_first(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        if others.pop():
            lock.unlink()
            others[:] = [0]

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with sole_use(lock, "it is done"):
        assert lock.exists()
        monkeypatch.setattr(fcntl, "flock", flock)
        with pytest.raises(InputError), sole_use(lock, "it is done"):
            pass
