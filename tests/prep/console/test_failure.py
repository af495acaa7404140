"""An error is read line by line: what happened, then a label a line, wrapped to a terminal's width."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from spectral_prep.conversion.bad_images import grouped_text
from spectral_prep.errors import CorruptFileError, InputError
from spectral_prep.store.records import BadRow
from tests.support.commands import run
from tests.support.terminals import Screen


def test_an_error_has_a_line_a_label_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = run("spectral-prep convert --dataset mnist --q 16").err.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("Error: "))
    labels = [line.partition(": ")[0] for line in lines[at:]]
    assert labels == [label for label in ("Error", "Where", "Expected", "Got", "Run next") if label in labels]
    assert {"Error", "Where", "Run next"} <= {*labels}


def test_its_parts_survive_a_worker_process() -> None:
    error = CorruptFileError("broken", where="a\nb", got=3, run="again")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (again.what, again.parts, str(again)) == (error.what, error.parts, str(error))
    assert error.parts == (("Where", r"a\x0ab"), ("Got", "3"), ("Run next", "again"))


def test_the_one_paragraph_is_that_of_the_parts() -> None:
    assert str(InputError("no", expected="yes", run="it")) == "no. Expected: yes. Run next: it"


def test_on_a_terminal_labels_stand_in_a_column_and_text_is_wrapped(tmp_path: Path) -> None:
    screen = Screen.of("prep", f"info {tmp_path / ('long' * 20)}", columns=60)
    lines = screen.text.strip().splitlines()
    assert screen.code == 2
    assert all(len(line) <= 60 for line in lines)
    starts = {line.index(line.split(":")[1].strip()[:5]) for line in lines if not line.startswith(" ")}
    assert starts == {10}
    assert "\x1b[1;31mError:" in screen.raw


def test_bad_images_are_shown_by_reason_and_never_more_than_twenty() -> None:
    large = "too large. Got: {} pixels"
    bad = [("train", BadRow(n, f"{n:02}.png", large.format(n))) for n in range(30)]
    bad += [("train", BadRow(100 + n, f"b{n}.png", "truncated")) for n in range(3)]
    told = grouped_text(bad).splitlines()
    assert told[0] == "  too large (30):"
    assert told[1] == "    train: 00.png (Got: 0 pixels)"
    assert len(told) == 22
    assert told[-1] == "  and 13 more"
