"""The commands on a terminal of a given width: what they draw, and what is left on the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from tests.support.commands import COMMANDS
from tests.torture.nursery import code_of

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
        kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        child, terminal = pty.fork()
        if not child:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            _be(f"spectral-{command}", shlex.split(line), {**kept, **ENVIRONMENT, **environment})
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


def _be(command: str, arguments: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Be the command in a fork of this process, which has imported all, and end as it ends."""
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
    code = code_of(COMMANDS[command], arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that the other side is closed
        return b""
