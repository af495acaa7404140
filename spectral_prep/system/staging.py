"""Where scratch files go while a data set is made: beside the output, under names that cleaning up knows.

Input: the output folder. Output: a folder for this process, and one beside it whose files further runs can use until
the data set is complete.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from spectral_prep.system.files import Advice

PREFIX = ".staging-"

SCRATCH = Advice(
    full="free space there (plan and verify: set TMPDIR to a folder on another disk), then the same command",
    refused="the same command with --out in such a folder (plan and verify: with TMPDIR set to one)",
)
"""For the user whose scratch files cannot be written."""


@contextlib.contextmanager
def staging_folder(out: Path | None) -> Iterator[Path]:
    """Yield a folder, perhaps not made yet, for scratch files: on the disk of the output, if it is given."""
    if out is None:
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
    return staging.with_name(f"{PREFIX}kept") if is_staging(staging) else staging


def is_staging(folder: Path) -> bool:
    """Whether this is a folder of scratch files in an unfinished data set."""
    return folder.name.startswith(PREFIX)
