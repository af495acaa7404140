"""The disk that fails on demand (`tests/support/faults.c`): compiled here, and told what to do.

Input: what shall fail, of the paths below a folder. Output: how many calls there were, and the one that failed.
The control file is mapped by the harness and by every process of a command, so that one parent process, which has
loaded the shim once, forks cases that differ.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "support" / "faults.c"
LONGEST = 1024
HEAD = struct.Struct("=QQiiii")  # count, at, error, mode, lock, unused
SIZE = HEAD.size + 5 * LONGEST


class Mode(IntEnum):
    """What becomes of the chosen call."""

    ONCE = 0
    """It fails; what follows does not."""
    HALF = 1
    """Half of it is written and the next call fails; other calls than writes fail at once."""
    EVER = 2
    """It and all that follow fail; a full disk still closes, renames and removes."""
    KILL = 3
    """The process group is killed just before it."""


def compile_shim(folder: Path) -> Path:
    """Compile the shim with the system's C compiler and return the library."""
    library = folder / "faults.so"
    command = ["cc", "-O2", "-Wno-nonnull-compare", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


class Control:
    """The control file of one parent process."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SIZE)

    def off(self) -> None:
        """Count nothing, fail nothing."""
        self._set(None)

    def count(self, root: Path) -> None:
        """Only count the calls below a folder."""
        self._set(root)

    def fail(self, root: Path, at: int, error: int, mode: Mode) -> None:
        """Let the `at`-th call below a folder fail with an errno."""
        self._set(root, at, error, mode)

    def record(self, root: Path, log: Path, snapshots: Path, kill_at: int = 0) -> None:
        """Log what is done below a folder, and copy each file when it is synced; perhaps kill before a call."""
        self._set(root, kill_at, 0, Mode.KILL, (log, snapshots))

    @property
    def calls(self) -> int:
        """How many calls were counted."""
        return int(HEAD.unpack_from(self._shared)[0])

    @property
    def hit(self) -> str:
        """The call that failed and its path, empty if none did."""
        content = self._shared[HEAD.size + 3 * LONGEST : SIZE]
        return content[: content.index(0)].decode(errors="backslashreplace")

    def _set(
        self,
        root: Path | None,
        at: int = 0,
        error: int = 0,
        mode: Mode = Mode.ONCE,
        texts: tuple[Path, ...] = (),
    ) -> None:
        paths = [b"" if path is None else bytes(path) for path in (root, *texts)]
        self._shared[:] = HEAD.pack(0, at, error, mode, 0, 0) + b"".join(
            path.ljust(LONGEST, b"\0") for path in paths
        ).ljust(5 * LONGEST, b"\0")
