"""Every call of a script that a page or a docstring shows is one that the script itself takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.support.pages import ROOT
from tests.support.scripts import calls, parse


def texts() -> Iterator[Path]:
    """Yield what shows calls: pages, scripts, and modules whose figures a script has measured."""
    yield from (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
    yield from sorted((ROOT / "docs").glob("*.md"))
    for folder in ("benchmarks", "deploy", "examples", "spectral_prep", "spectral_train"):
        yield from sorted((ROOT / folder).rglob("*.py"))


SHOWN = {(str(path.relative_to(ROOT)), call) for path in texts() for call in calls(path.read_text())}


@pytest.mark.parametrize(("place", "call"), sorted(SHOWN))
def test_the_script_takes_what_is_shown(place: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse(call, monkeypatch)


def test_calls_are_found_wherever_they_stand() -> None:
    assert {
        ("docs/kernel.md", "benchmarks/split.py --threads 1 --rounds 3 --no-compile"),  # in a block
        ("docs/conversion.md", "benchmarks/synthetic.py --source data/imagenet"),  # indented, with a comment
        ("docs/training.md", "benchmarks/memory.py train spectral/digits-q4 spectral/mnist-q16 …"),  # over two lines
        ("docs/roofline.md", "benchmarks/roofline.py"),  # in passing
        ("docs/terminal.md", "-m tests.support.captures"),  # whose output goes into a file
        ("spectral_prep/conversion/workers.py", "benchmarks/memory.py threads --source …"),
    } <= SHOWN
    scripts = {
        str(path.relative_to(ROOT)) for path in (ROOT / "benchmarks").glob("*.py") if "main()" in path.read_text()
    }
    assert scripts <= {call.split()[0] for _, call in SHOWN}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("benchmarks/loader.py spectral/a --epochs 3", click.NoSuchOption),
        ("benchmarks/loader.py --shard 0", click.MissingParameter),
        ("benchmarks/loader.py spectral/a --shard first", click.BadParameter),
        ("benchmarks/worth.py --work work docs/worth.svg cifar10", click.BadParameter),
        ("benchmarks/memory.py copy --source data", click.UsageError),
        ("benchmarks/memory.py convert", click.MissingParameter),
        ("benchmarks/synthetic.py --image 3 data", SystemExit),
        ("-m tests.torture.buckets --kills some", SystemExit),
        ("benchmarks/roofline.py --all", AssertionError),
        ("benchmarks/none.py", AssertionError),
        ("-m spectral_prep.none", AssertionError),
    ],
)
def test_what_a_script_does_not_take_is_noticed(
    call: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error):
        parse(call, monkeypatch)
