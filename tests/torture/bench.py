"""Where commands run: one loaded parent process, its control of the disk, and folders of their own for the cases.

Input: a command line. Output: `Ended`: its exit code, what it printed and how long it took.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.torture.shim import Control, compile_shim

ROOT = Path(__file__).parents[2]
COMMANDS = {"spectral-prep": "prep", "spectral-train": "train", "spectral-ensemble": "ensemble"}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
NOTHING: Mapping[str, str] = {}
LONGEST_RUN = 120.0
"""Seconds after which a command hangs."""


@dataclass(frozen=True)
class Ended:
    """How a command ended; `code` is negative for the signal that ended it, None if it hung and was killed."""

    code: int | None
    out: str
    err: str
    seconds: float


class Bench:
    """A parent process with the shim loaded; a context manager, which ends it."""

    def __init__(self, folder: Path, library: Path | None = None) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.library = library or compile_shim(self.folder)
        self.disk = Control(self.folder / "control")
        self._numbers = itertools.count()
        environment = {
            **os.environ,
            **ONE_THREAD,
            "FAULT_CONTROL": str(self.folder / "control"),
            "LD_PRELOAD": str(self.library),
            "PYTHONPATH": str(ROOT),
        }
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=self.folder,
            start_new_session=True,
        )
        self._answer(LONGEST_RUN)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()

    def run(
        self, line: str, folder: Path, kill_after: float | None = None, environment: Mapping[str, str] = NOTHING
    ) -> Ended:
        """Run a command line in a folder; its whole process group is killed after so many seconds."""
        name, *arguments = shlex.split(line)
        out, err = self.folder / "out", self.folder / "err"
        request = {
            "command": COMMANDS[name],
            "arguments": arguments,
            "folder": str(folder),
            "out": str(out),
            "err": str(err),
            "environment": dict(environment),
        }
        began = time.monotonic()
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(request).encode() + b"\n")
        self._parent.stdin.flush()
        pid = int(self._answer(LONGEST_RUN) or 0)
        answer = self._answer(LONGEST_RUN if kill_after is None else kill_after)
        if answer is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                os.killpg(pid, signal.SIGKILL)
            self._answer(LONGEST_RUN)
        code = int(answer) if answer is not None else -signal.SIGKILL if kill_after is not None else None
        texts = [path.read_text(errors="backslashreplace") if path.exists() else "" for path in (out, err)]
        return Ended(code, texts[0], texts[1], time.monotonic() - began)

    @contextlib.contextmanager
    def case(self) -> Iterator[Path]:
        """Yield a new folder; it goes, and the disk is well again, when the case is over."""
        folder = self.folder / f"case-{next(self._numbers)}"
        folder.mkdir()
        try:
            yield folder
        finally:
            self.disk.off()
            shutil.rmtree(folder)

    def _answer(self, seconds: float) -> str | None:
        """Return the next line of the parent, or None if it says nothing for so long."""
        assert self._parent.stdout is not None
        ready, _, _ = select.select([self._parent.stdout], [], [], seconds)
        if not ready:
            return None
        line = self._parent.stdout.readline()
        if not line:
            raise RuntimeError("the parent process of the cases has ended")
        return line.decode().strip()
