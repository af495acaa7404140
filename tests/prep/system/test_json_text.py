"""JSON takes no more memory than the values that it may hold."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from spectral_prep.system.json_text import json_value


def test_what_is_within_the_bound_is_what_json_says() -> None:
    value = {"a": [1, 2.5, None, "x,y"], "b": {"c": []}}
    assert json_value(json.dumps(value).encode(), 20) == value


def test_a_text_of_too_many_values_makes_none_of_them() -> None:
    for value in (b"[],", b"1,", b'{"":0},', b'"aa",'):
        text = b"[" + value * 10**6 + b"0]"
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="more than 1000 values"):
                json_value(text, 1000)
            assert tracemalloc.get_traced_memory()[1] < 1 << 16
        finally:
            tracemalloc.stop()


def test_nesting_is_an_error_as_it_was() -> None:
    with pytest.raises(RecursionError):
        json_value(b"[" * 100_000, 10**6)
