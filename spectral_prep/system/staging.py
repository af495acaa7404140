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
from pathlib import Path

from spectral_prep.system.files import Advice, explained, is_temporary, sync_folder

PREFIX = ".staging-"
KEPT = f"{PREFIX}kept"
"""The folder of what further runs and tasks can use until the data set is complete."""

SCRATCH = Advice(
    full="free space there (plan and verify: set TMPDIR to a folder on another disk), then the same command",
    refused="the same command with --out in such a folder (plan and verify: with TMPDIR set to one)",
)
"""For the user whose scratch files cannot be written."""


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
