"""Tasks that leave traces, for an engine to do; this module imports little, since each new worker imports it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from spectral_prep.errors import InputError


def noted(folder: Path, number: int) -> int:
    """Leave a trace of each attempt."""
    with open(folder / str(number), "a") as file:
        file.write(".")
    return number * number


def refuse(folder: Path, number: int) -> None:
    """Fail as a command line does that asks for what there is not."""
    noted(folder, number)
    raise InputError("no such number", got=number, run="another")


def die(folder: Path, number: int, times: int) -> int:
    """Kill the worker so many times if the number is 1."""
    done = noted(folder, number)
    if number == 1 and (folder / "1").stat().st_size <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return done


def sleep(folder: Path, number: int) -> int:
    """Leave its process's number; 0 ends when 1 has begun, and 1 would sleep for a minute."""
    (folder / str(number)).write_text(str(os.getpid()))
    until = time.monotonic() + 60
    while time.monotonic() < until and (number == 1 or not (folder / "1").exists()):
        time.sleep(0.02)
    return number


def own_process(_number: int) -> int:
    """Return which process does it, which takes a while."""
    time.sleep(0.2)
    return os.getpid()


def attempts(folder: Path) -> dict[int, int]:
    """Return how often each number was begun."""
    return {int(path.name): path.stat().st_size for path in folder.iterdir()}
