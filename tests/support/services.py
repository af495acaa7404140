"""Programs of other people that some tests start on this machine: found, or said to be missing and how to get them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]


def found(package: str, *programs: str) -> list[str]:
    """Return where programs are; without them the test is skipped, or fails where `.ci/run` has installed them."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    places = {program: shutil.which(program, path=path) for program in programs}
    missing = [program for program, place in places.items() if place is None]
    if missing:
        reason = f"no {', '.join(missing)} here. Run next: apt-get install {package}"
        if os.environ.get("SPECTRAL_SERVICES") == "required":
            pytest.fail(f"{reason} ($SPECTRAL_SERVICES says that it is there)")
        pytest.skip(reason)
    return [place for place in places.values() if place]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def kept(folder: Path, module: str) -> Any:
    """Return what a service tells of itself that all processes of a test session share, whose temporary folder this is.

    The first that asks starts its keeper, a module as a program: it runs `keep`, and ends with the session.
    """
    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    told, log = folder / f"{module}.json", folder / f"{module}.log"
    with open(folder / f"{module}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            with open(log, "w") as words:
                program = [sys.executable, "-m", module, str(told), str(session)]
                keeper = subprocess.Popen(program, cwd=ROOT, stdout=words, stderr=words, start_new_session=True)
            while not told.exists() and keeper.poll() is None:
                time.sleep(0.05)
            assert told.exists(), log.read_text()
            keeper.returncode = 0  # it outlives this process, and nobody waits for it
    return json.loads(told.read_text())


def keep(service: AbstractContextManager[Any]) -> None:
    """Run a service for as long as the process lives that the second argument names; tell of it in the first's file."""
    told, watched = Path(sys.argv[1]), psutil.Process(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with service as said:
        told.with_suffix(".new").write_text(json.dumps(said))
        told.with_suffix(".new").rename(told)
        while watched.is_running() and watched.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.2)


@contextmanager
def running(log: Path, *command: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service in the foreground of a process of ours, its words in a log, and end it."""
    with log.open("ab") as words, subprocess.Popen(command, stdout=words, stderr=words, env=env) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until(ready: Callable[[], bool], what: Callable[[], str], seconds: float = 300) -> None:
    """Wait for something; what has been said meanwhile is the reason if it does not come."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
