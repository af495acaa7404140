"""The three commands without the start of Python and torch: forks of a server that has imported all they import.

Input: a folder. Output: three programs in it for a PATH, which stand for the commands while `server` runs; beside that
folder `python`, which runs the text of a program (`-c`), a module (`-m`) or a file likewise.

1. A program sends its arguments, folder, environment and open files to the server and waits for an exit code.
2. The server forks; the fork is the command, in a session of its own, as `tests.torture.nursery` has it.
3. Signals go on to the command; if the program is killed, so is the command; how the command ends, the program ends.

`shared` gives all processes of a test session one server (`services.kept`).
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tests.support.commands import COMMANDS
from tests.support.services import ROOT, keep, kept, wait_until
from tests.torture.nursery import be, load

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
asking = socket.socket(socket.AF_UNIX)
asking.connect({place!r})
request = {{"name": {name!r}, "arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
text = json.dumps(request).encode()
socket.send_fds(asking, [len(text).to_bytes(8, "little")], [0, 1, 2])
asking.sendall(text)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: asking.send(bytes([number])))
code = int(asking.recv(16) or 1)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def server(folder: Path) -> Iterator[Path]:
    """Start a server and yield the folder of the programs."""
    place, programs, log = folder / "socket", folder / "bin", folder / "log"
    programs.mkdir()
    for program in (*(programs / name for name in COMMANDS), programs.with_name("python")):
        program.write_text(CLIENT.format(python=sys.executable, place=str(place), name=program.name))
        program.chmod(0o755)
    with log.open("wb") as words:
        command = [sys.executable, "-m", "tests.support.ready", str(place)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
    try:
        wait_until(lambda: place.exists() or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield programs
    finally:
        process.kill()
        process.wait()


def shared(folder: Path) -> Path:
    """Return the folder of the programs for this test session, whose temporary folder this is."""
    return Path(kept(folder, "tests.support.ready"))


def serve(place: str) -> None:
    load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for supervisors
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{place}.new")
        listening.listen()
        os.rename(f"{place}.new", place)
        while True:
            asked, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                supervise(asked)
            asked.close()


def supervise(asked: socket.socket) -> NoReturn:
    """Be the parent of one command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(asked, 8, 3)
    request = json.loads(_all_of(asked, int.from_bytes(size, "little")))
    child = os.fork()
    if child == 0:
        asked.close()
        run(request, files)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(child)
    while ended not in select.select([asked.fileno(), ended], [], [])[0]:
        numbers = asked.recv(16)
        for number in numbers or [signal.SIGKILL]:
            signal.pidfd_send_signal(ended, number)
        if not numbers:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    asked.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _all_of(asked: socket.socket, size: int) -> bytes:
    text = b""
    while len(text) < size:
        text += asked.recv(size - len(text))
    return text


def run(request: dict[str, Any], files: list[int]) -> NoReturn:
    """Be the command."""
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    be(COMMANDS.get(request["name"], _interpret), request["arguments"])


def _interpret(arguments: list[str]) -> None:
    """Run the text of a program as `python -c` does, a module as `python -m` does, or a file."""
    program, *rest = arguments
    if program == "-c":
        sys.argv[1:] = rest[1:]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif program == "-m":
        sys.argv[1:] = rest[1:]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(program))
        runpy.run_path(program, run_name="__main__")


@contextmanager
def _told() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ready-") as folder, server(Path(folder)) as programs:
        yield str(programs)  # the path of a socket is short


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        keep(_told())
