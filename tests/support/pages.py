"""What a page of the documentation tells its reader to run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def section(page: str, heading: str) -> str:
    """Return a section of a page, with those below it."""
    found = re.search(rf"^(#+) {heading}\n(.*?)(?=^\1 |\Z)", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no section {heading}"
    return found[2]


def shell(page: str, heading: str) -> list[str]:
    """Return the blocks of shell commands of a section."""
    return re.findall(r"^```sh\n(.*?)^```", section(page, heading), re.DOTALL | re.MULTILINE)
