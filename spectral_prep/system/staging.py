"""Where scratch files go while a data set is made: beside the output, under names that cleaning up knows.

Input: the output folder. Output: a folder for this process, and one beside it whose files further runs can use until
the data set is complete.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from spectral_prep.system.files import Advice, explained, is_temporary, sync_folder
from spectral_prep.system.units import size

PREFIX = ".staging-"
KEPT = f"{PREFIX}kept"
"""The folder of what further runs and tasks can use until the data set is complete."""

ELSEWHERE = "plan, verify, and --out in a bucket: set TMPDIR to a folder on another disk"
SCRATCH = Advice(
    full=f"free space there ({ELSEWHERE}), then the same command",
    refused="the same command with --out in such a folder (plan and verify: with TMPDIR set to one)",
)
"""For the user whose scratch files cannot be written."""


def scratch_of(bytes_in_all: int) -> Advice:
    """Return that advice for scratch files that take so many bytes in all.

    >>> scratch_of(184_000_000).full.partition(" (")[0]
    'make room there for 184.0 MB of scratch files'
    """
    wanted = f"make room there for {size(bytes_in_all)} of scratch files ({ELSEWHERE}), then the same command"
    return replace(SCRATCH, full=wanted)


def staged_bytes(staging: Path) -> int:
    """Return the bytes of all scratch files in a folder, 0 where it was not made."""
    return sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())


@contextlib.contextmanager
def staging_folder(out: object) -> Iterator[Path]:
    """Yield a folder, perhaps not made yet, for scratch files: on the disk of the output, if that is a path."""
    if not isinstance(out, Path):
        with tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere)
        return
    folder = out / f"{PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kept_beside(staging: Path) -> Path:
    """Return where scratch files go that further runs and tasks can use until the data set is complete.

    >>> kept_beside(Path("out/.staging-1b2c")).name, kept_beside(Path("elsewhere")).name
    ('.staging-kept', 'elsewhere')
    """
    return staging.with_name(KEPT) if is_staging(staging.name) else staging


def is_staging(name: str) -> bool:
    """Whether a folder of this name holds scratch files of an unfinished data set."""
    return name.startswith(PREFIX)


def remove_leftovers(folder: Path, advice: Advice) -> None:
    """Remove what killed runs left, for good: temporary files and staging folders; where nothing may be, they stay."""
    found = [
        Path(parent, name)
        for parent, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if is_temporary(name) or is_staging(name)
    ]
    for path in found:
        if is_staging(path.name):
            shutil.rmtree(path, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    with explained(folder, advice):
        for parent in {path.parent for path in found if path.parent.is_dir()}:
            sync_folder(parent)
