"""Steps are bars on a terminal and seldom lines elsewhere, with rates and times in plain units."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from spectral_prep.console.display import Display, Meter
from spectral_prep.system.watch import Step
from tests.support.commands import run
from tests.support.terminals import Screen

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    """A time that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def converting(done: int, **more: object) -> Step:
    return Step("converting", done, 60_000, "images", **more)  # type: ignore[arg-type]


def logged(steps: Iterable[tuple[float, Step]], *, verbose: bool = False) -> list[str]:
    """Return the lines that a log has of steps that are told at these seconds."""
    lines: list[str] = []
    clock = Clock()
    display = Display(lines.append, None, verbose=verbose, clock=clock)
    for clock.now, told in steps:
        display(told)
    return lines


def test_a_log_has_a_line_at_once_and_then_every_half_minute() -> None:
    seconds = [*range(95)]
    lines = logged((second, converting(100 * second)) for second in seconds)
    assert lines == [
        "converting: 0 of 60,000 images",
        "converting: 3,000 of 60,000 images, 5 %, 100 images/s, about 10 min left",
        "converting: 6,000 of 60,000 images, 10 %, 100 images/s, about 9 min left",
        "converting: 9,000 of 60,000 images, 15 %, 100 images/s, about 8 min left",
    ]


def test_the_time_left_is_said_when_enough_is_done_to_know_it() -> None:
    def calibrating(done: int) -> Step:
        return Step("calibrating", done, 1000, "images")

    assert logged([(0, Step("opening")), (0.5, calibrating(0)), (3, calibrating(1)), (34, calibrating(500))]) == [
        "opening",
        "calibrating: 1 of 1,000 images, 0 %, 0.4 images/s",
        "calibrating: 500 of 1,000 images, 50 %, 15 images/s, about 34 s left",
    ]
    meter = Meter(calibrating(0), 0.0)
    meter.told(calibrating(0), 0.0)
    for second, done, said in ((3, 1, False), (4, 19, False), (5, 20, True)):
        meter.told(calibrating(done), second)
        assert ("left" in meter.figures(second)) == said
    meter = Meter(calibrating(500), 0.0, 500, 500)  # resumed
    meter.told(calibrating(500), 0.0)
    for second, done, said in ((3, 501, False), (29, 502, False), (31, 503, True)):
        meter.told(calibrating(done), second)
        assert ("left" in meter.figures(second)) == said


def test_steps_that_take_no_time_are_not_logged_but_the_first() -> None:
    steps = [Step(name, done, 2, "files", ended=done == 2) for name in "abc" for done in (0, 1, 2)]
    assert logged(zip([n / 100 for n in range(9)], steps, strict=True)) == ["a: 0 of 2 files"]
    verbose = logged(zip([n / 100 for n in range(9)], steps, strict=True), verbose=True)
    assert [line.partition(" in ")[0] for line in verbose[1:]] == ["a: 2 files", "b: 2 files", "c: 2 files"]


def test_a_step_that_took_a_while_leaves_what_it_came_to() -> None:
    lines = logged([(0, converting(10_000)), (10, converting(20_000)), (50, converting(60_000, ended=True))])
    assert lines[-1] == "converting: 60,000 images in 50 s, 1,000 images/s"


def test_rows_of_blocks_that_are_being_converted_count_and_never_go_back() -> None:
    clock, screen = Clock(), Console(file=io.StringIO(), force_terminal=True, width=120)
    display = Display(lambda text: None, screen, clock=clock)
    seen = []
    for told in (
        converting(0),
        converting(500, within="converting"),
        Step("block 1", 300, 1000, "images", within="converting"),
        Step("block 1", 1000, 1000, "images", within="converting", ended=True),
        Step("block 2", 400, 1000, "images", within="converting"),
        converting(1000),
    ):
        display(told)
        seen.append(display._meters["converting"].done)
    display.close()
    assert seen == [0, 500, 800, 1500, 1900, 1900]


@pytest.mark.parametrize("width", [60, 120])
def test_a_bar_fits_the_terminal_and_leaves_nothing_behind(width: int) -> None:
    clock, screen = Clock(), Console(file=io.StringIO(), force_terminal=True, width=width)
    display = Display(lambda text: None, screen, clock=clock)
    display(converting(0))
    clock.now = 10.0
    display(converting(13_400))
    assert display._bars is not None
    display._bars._progress.refresh()
    lines = [CONTROL.sub("", line) for line in re.split("[\r\n]", screen.file.getvalue())]  # type: ignore[attr-defined]
    shown = max(lines, key=len)
    assert len(shown) <= width
    assert "22 %, 1,340 images/s, about 35 s left" in shown
    assert ("13,400 of 60,000 images" in shown) == (width == 120)
    display(converting(60_000, ended=True))
    assert display._bars is None


def test_quiet_says_nothing_but_errors_warnings_and_what_was_asked_for(tmp_path: Path) -> None:
    out = f"--out {tmp_path}/d"
    line = f"spectral-prep convert --dataset digits --q 1x2 --block-rows 900 --workers 1 {out}"
    done = run(f"{line} --quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert json.loads(run(f"{line} --quiet --json").out)["complete"]
    assert "digits" in run(f"spectral-prep info {tmp_path}/d --quiet").out
    assert "Complete: " in run(line).out
    assert run(f"spectral-prep verify {tmp_path}/d --verbose").err.count("checking files: ") >= 1
    assert run(f"{line} --q 2 --quiet").err.startswith("Error: ")
    (tmp_path / "photos/a").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "photos/a/1.png")
    folder = f"spectral-prep convert --dataset folder --source {tmp_path}/photos --size 8 --q 4 --out {tmp_path}/f"
    warning = run(f"{folder} --quiet").err
    assert warning.startswith("Warning: no test split")
    assert "--test-fraction" not in warning  # of one image


def test_on_a_terminal_bars_are_drawn_and_taken_away(tmp_path: object) -> None:
    line = f"convert --dataset digits --q 1x2 --block-rows 300 --workers 1 --out {tmp_path}/d"
    screen = Screen.of("prep", f"{line} --verbose", columns=60)
    assert screen.code == 0, screen.raw
    assert "converting: 1,797 images in" in screen.text
    told = screen.raw.index("checking blocks: ")
    assert screen.raw[:told].endswith(("\n", "\r", "\x1b[2K", "\x1b[?25h"))  # on a line of its own
    assert "\x1b[?25l" in screen.raw  # the cursor is hidden while there are bars
    assert "━" in screen.raw
    assert "━" not in screen.text
    assert "Complete: " in screen.text


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_none(tmp_path: object, name: str, value: str) -> None:
    line = f"info {tmp_path}/none"
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    assert colour.search(Screen.of("prep", line).raw)
    assert not colour.search(Screen.of("prep", line, environment={name: value}).raw)
