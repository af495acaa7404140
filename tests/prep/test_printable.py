"""What is printed controls nothing, is never long, and says all the same which name it is."""

from __future__ import annotations

import pickle
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from spectral_prep.errors import CorruptFileError
from spectral_prep.printable import LONGEST_LINE, LONGEST_NAME, one_line, printable, shown

TEXT = st.text(st.characters(), max_size=400)


def harmless(text: str) -> bool:
    bidirectional = {"RLE", "LRE", "PDF", "RLO", "LRO", "LRI", "RLI", "FSI", "PDI"}
    return all(
        unicodedata.category(sign) not in ("Cc", "Cs", "Zl", "Zp")
        and unicodedata.bidirectional(sign) not in bidirectional
        for sign in text
    )


@given(text=TEXT)
def test_nothing_is_left_that_controls(text: str) -> None:
    assert harmless(printable(text).replace("\n", ""))
    assert harmless(one_line(text))
    assert harmless(shown(text))
    assert len(shown(text)) <= LONGEST_NAME
    shown(text).encode()


@given(text=TEXT)
def test_saying_it_twice_changes_nothing(text: str) -> None:
    assert printable(printable(text)) == printable(text)
    assert one_line(one_line(text)) == one_line(text)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("n01440764_18.JPEG", "T-shirt/top", "日本 2", "naïve & co.", "a\\b", "שלום", "x" * LONGEST_NAME):
        assert shown(name) == name


def test_long_names_keep_both_ends() -> None:
    name = shown("begin" + "x" * (20 << 20) + "end")
    assert name.startswith("beginx")
    assert name.endswith("xend")
    assert "…" in name


def test_an_error_is_fit_to_be_printed_on_either_side_of_a_pickle() -> None:
    error = CorruptFileError("a\x1b[2J", where="b\n\u202e" + "c" * (1 << 20), got="d\ne")
    assert harmless(str(error).replace("\n", ""))
    assert str(error).count("\n") == 1  # ours, in what was found: a list of bad images has a line each
    assert len(str(error)) < 2 * LONGEST_LINE
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301
