"""docs/design.md and CONTRIBUTING.md name modules and folders that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREP = (
    "spectral_prep",
    "spectral_prep/system",
    "spectral_prep/engines",
    "spectral_prep/sources",
    "spectral_prep/kernel",
)
BASES = ("", *PREP, "spectral_train", "spectral_train/ensemble")
TESTS = ("tests/prep/conversion", "tests/prep/engines", "tests/train/training")
EXAMPLES = ("spectral-03/",)
"""Of a data set, not of the house."""


@pytest.mark.parametrize("page", ["docs/design.md", "CONTRIBUTING.md"])
def test_every_place_that_is_named_is_there(page: str) -> None:
    named = set(re.findall(r"`([\w./-]+(?:\.py|\.h|\.cpp|\.md|/))`", (ROOT / page).read_text())) - {*EXAMPLES}
    assert len(named) > 20
    assert [name for name in named if "NAME" not in name and not _exists(name)] == []


def _exists(name: str) -> bool:
    return any((ROOT / base / name).exists() for base in (*BASES, *TESTS))
