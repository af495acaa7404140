"""Programs of other people that some tests start on this machine: found, or said to be missing and how to get them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
