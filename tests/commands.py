"""The three commands, run in this process as a shell would run them."""

from __future__ import annotations

import contextlib
import io
import shlex
from dataclasses import dataclass

import cli

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
