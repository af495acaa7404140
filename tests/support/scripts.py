"""The scripts of the repository as pages and docstrings tell to call them, and their own parsers, which judge that."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from tests.support.pages import ROOT

PREFIX = r"(?:\w+=\S+ |taskset -c \d+ )*(?:\.venv/bin/)?python\s+"
CALL = rf"{PREFIX}((?:-m\s+(?:tests|spectral_)|[\w/]+\.py)"
"""Begins the first group: a module or a file of the repository."""

AS_A_LINE = re.compile(rf"^ *(?:\$ )?{CALL}.*)$", re.MULTILINE)
IN_PASSING = re.compile(rf"`{CALL}[^`]*)`")


def calls(text: str) -> Iterator[str]:
    """Yield the calls of Python scripts that a text shows, as lines of their own or in passing, without `python`."""
    for call in (*AS_A_LINE.findall(text.replace("\\\n", " ")), *IN_PASSING.findall(text)):
        yield from _readings(" ".join(re.split(r" #| > ", call)[0].split()))


def _readings(call: str) -> Iterator[str]:
    """Yield what a call with parts in brackets stands for: every choice between bars, and 1 for a word in capitals.

    >>> list(_readings("a.py [one|two] [--seed S]"))
    ['a.py one --seed 1', 'a.py two --seed 1']
    """
    pieces = re.split(r"\[([^]]+)\]", call)
    pieces[1::2] = [re.sub(r"\b[A-Z]+\b", "1", piece) for piece in pieces[1::2]]
    choices = [piece.split("|") if number % 2 else [piece] for number, piece in enumerate(pieces)]
    yield from map("".join, itertools.product(*choices))


def parse(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the script read its arguments, and do nothing; what is at the paths that they name does not matter.

    Raises
    ------
    click.UsageError, SystemExit
        If the script does not take them.
    AssertionError
        If there is no such script, or it takes none at all.
    """
    script, *arguments = shlex.split(call)
    if script == "-m":
        script = arguments.pop(0)
        module = vars(_module(script))
    else:
        assert (ROOT / script).is_file(), f"there is no {script}"
        monkeypatch.syspath_prepend((ROOT / script).parent)
        module = runpy.run_path(str(ROOT / script))
    main = module.get("main")
    if isinstance(main, click.Command):
        _parse_by_click(main, arguments, monkeypatch)
    elif main is not None and "argparse" in module:
        _parse_by_argparse(main, arguments, monkeypatch)
    else:
        assert not arguments, f"{script} takes no arguments"


def _module(name: str) -> object:
    found = importlib.util.find_spec(name)
    assert found, f"there is no {name}"
    return importlib.import_module(f"{name}.__main__" if found.submodule_search_locations else name)


def _parse_by_click(command: click.Command, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: self.coerce_path_result(value))
    monkeypatch.setattr(click.Command, "invoke", lambda *_: None)
    command.main(arguments, standalone_mode=False)


class _ParsedError(Exception):
    """The arguments are read; what the script would do with them is not done."""


def _parse_by_argparse(main: Callable[[], object], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *_: Any) -> None:
        parse_args(parser, arguments)
        raise _ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    with pytest.raises(_ParsedError):
        main()
