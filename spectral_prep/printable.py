r"""Text from outside made fit for a terminal or a page: no control character in it does anything, no name fills it.

Input: names of files, classes and data sets, and messages that hold such names, whatever they contain. Output: text in
which control characters (C0, DEL, C1), marks that turn the direction of writing, separators of lines and halves of
surrogate pairs stand as `\xNN` or `\uNNNN`. It is for readers; what machines read (JSON, records) stays exact.
"""

from __future__ import annotations

import re
import shlex

LONGEST_NAME = 200
LONGEST_LINE = 1 << 16
"""Of a message, in characters; a name in it is cut long before, so this is for what no one foresaw."""

_HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    r"""Return a text of one or several lines in which nothing but a newline controls anything.

    >>> print(printable("\x1b[31mred\x1b[0m and \u202eback"))
    \x1b[31mred\x1b[0m and \u202eback
    """
    lines = (_cut(line, LONGEST_LINE) for line in str(text).split("\n"))
    return "\n".join(_cut(_escaped(line), LONGEST_LINE) for line in lines)


def shown(name: object) -> str:
    r"""Return a name in one line of at most 200 characters, cut in its middle.

    >>> shown("cat\n.png"), len(shown("x" * 10**6))
    ('cat\\x0a.png', 200)
    """
    return _cut(_escaped(_cut(str(name), LONGEST_NAME)).replace("\n", r"\x0a"), LONGEST_NAME)


def one_line(text: object) -> str:
    r"""Return what `printable` does, newlines escaped too: for a path, which may be longer than a name.

    >>> one_line("a\nb")
    'a\\x0ab'
    """
    return printable(str(text).replace("\n", r"\x0a"))


def quoted(path: object) -> str:
    """Return a path as a shell takes it, for a command that a message prints.

    >>> quoted("my photos"), quoted("runs/mnist-q16")
    ("'my photos'", 'runs/mnist-q16')
    """
    return shlex.quote(str(path))


def _cut(text: str, most: int) -> str:
    end = most // 3
    return text if len(text) <= most else f"{text[: most - end - 1]}…{text[-end:]}"


def _escaped(text: str) -> str:
    return _HIDDEN.sub(_code, text)


def _code(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
