"""docs/terminal.md shows what the code draws now, and nothing on it is wider than it says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.captures import page

PAGE = Path(__file__).parents[2] / "docs/terminal.md"


def test_the_page_is_what_the_code_draws() -> None:
    assert PAGE.read_text() == page(), "python -m tests.support.captures > docs/terminal.md"


def test_nothing_is_wider_than_its_terminal() -> None:
    captures = re.findall(r"^(\d+) columns:\n\n```text\n(.*?)\n```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(captures) >= 20
    for width, text in captures:
        assert max(map(len, text.splitlines())) <= int(width), text
