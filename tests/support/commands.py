"""The three commands, run as a shell would run them: in this process, or in one of their own that can be killed."""

from __future__ import annotations

import contextlib
import io
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cli
from tests.support.releases import write_mnist

COMMANDS = {"spectral-prep": cli.prep, "spectral-train": cli.train, "spectral-ensemble": cli.ensemble}


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str


def run(line: str) -> Finished:
    """Run one command line in the current folder."""
    name, *arguments = shlex.split(line, comments=True)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            COMMANDS[name](arguments)
        except SystemExit as ended:
            code = ended.code
    return Finished(code if isinstance(code, int) else 1, out.getvalue(), err.getvalue())


def done(line: str) -> Finished:
    """Run one command line that has to succeed."""
    finished = run(line)
    assert finished.code == 0, f"{line}\n{finished.err}"
    return finished


def program(name: str) -> list[str]:
    """Return what starts one of the commands in a process of its own, whatever its folder."""
    function = COMMANDS[name]
    return [sys.executable, "-c", f"from {function.__module__} import {function.__name__} as run; run()"]


def many_blocks(tmp_path: Path) -> list[str]:
    """Write a small MNIST and return the command that converts it in many blocks, without `--out`."""
    write_mnist(tmp_path / "mnist", rows=1000, test_rows=10)
    return ["convert", "--dataset", "mnist", "--q", "16", "--block-rows", "20", "--source", str(tmp_path / "mnist")]


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start spectral-prep in a process group of its own, heeding Ctrl-C even if a shell runs these tests with `&`."""
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = [sys.executable, "-c", f"{heeding}; from spectral_prep.console.main import prep; prep()", *arguments]
    return subprocess.Popen(program, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_blocks(process: subprocess.Popen[str], out: Path, count: int) -> None:
    """Wait until so many blocks are finished."""
    while process.poll() is None and len(list(out.glob("blocks/*.json"))) < count:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be disturbed"
