"""What is printed fits a terminal, and is whole in a file."""

from __future__ import annotations

from pathlib import Path

from spectral_prep.console.tables import aligned, fitted
from tests.support.commands import run
from tests.support.terminals import Screen

ROWS = [["Scheme", "Test acc.", "Weights"], ["average", "97.21 %", "0.5 0.5"], ["best", "92.20 %", "0.0 1.0"]]


def test_a_table_that_fits_is_a_table_and_one_that_does_not_is_stacked() -> None:
    whole = aligned(ROWS)
    assert aligned(ROWS, 100) == whole
    narrow = aligned(ROWS, 22)
    assert narrow.splitlines()[:3] == ["Scheme: average", "  Test acc.  97.21 %", "  Weights    0.5 0.5"]
    assert all(cell in narrow for row in ROWS for cell in row)


def test_facts_are_wrapped_below_their_text_and_lose_no_word() -> None:
    text = "energy %   " + " ".join(f"{value}.25" for value in range(30))
    lines = fitted(text, 60).splitlines()
    assert len(lines) > 2
    assert all(line.startswith(" " * 11) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert fitted(text, None) == text


def test_info_is_wrapped_on_a_terminal_alone(digits: Path) -> None:
    piped = run(f"spectral-prep info {digits}").out
    assert max(map(len, piped.splitlines())) > 50
    shown = Screen.of("prep", f"info {digits}", columns=50).text
    assert max(map(len, shown.splitlines())) <= 50
    assert " ".join(shown.split()) == " ".join(piped.split())
