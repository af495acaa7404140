"""The commands on a terminal of a given width: what they draw, and what is left on the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.commands import program

ENVIRONMENT = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
NOTHING: Mapping[str, str] = {}
LEFT_OUT = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")


@dataclass(frozen=True)
class Screen:
    """All that a command wrote to its terminal, and its exit code."""

    code: int
    raw: str

    @classmethod
    def of(cls, command: str, line: str, columns: int = 80, environment: Mapping[str, str] = NOTHING) -> Screen:
        """Run `spectral-COMMAND` with these arguments in the current folder."""
        started = [*program(f"spectral-{command}"), *shlex.split(line)]
        kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        child, terminal = pty.fork()
        if not child:
            os.execve(started[0], started, {**kept, **ENVIRONMENT, **environment})
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        written = b""
        while piece := _read(terminal):
            written += piece
        os.close(terminal)
        return cls(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), written.decode().replace("\r\n", "\n"))

    @property
    def text(self) -> str:
        """What is left on the screen: erased lines are gone, and colours."""
        lines = [""]
        for piece in re.split(r"(\n|\r|\x1b\[\d*A|\x1b\[2K)", self.raw):
            if piece == "\n":
                lines.append("")
            elif piece in ("\r", "\x1b[2K"):
                lines[-1] = ""
            elif re.fullmatch(r"\x1b\[\d*A", piece):
                del lines[-1:]
                lines = lines or [""]
            else:
                lines[-1] += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", piece)
        return "\n".join(line.rstrip() for line in lines)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that the other side is closed
        return b""
