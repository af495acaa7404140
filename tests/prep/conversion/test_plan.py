"""The plan decides everything before the first image is converted, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError
from spectral_prep.inspection.info import info
from spectral_prep.sources.arrays import ArraySource


def test_what_can_only_be_read_in_one_order_is_not_shuffled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ArraySource, "random_access", property(lambda self: False))
    with pytest.raises(InputError, match=r"one after the other.*--shuffle none"):
        convert(Request("digits", "4"), Path(), tmp_path / "out")
    assert info(convert(Request("digits", "4", shuffle="none"), Path(), tmp_path / "out").root).complete
