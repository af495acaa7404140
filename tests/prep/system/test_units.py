"""An amount of memory is read as it is written, or refused."""

from __future__ import annotations

import pytest

from spectral_prep.errors import InputError
from spectral_prep.system.units import parse_bytes


@pytest.mark.parametrize("wrong", ["", "2X", "G", "0", "0.0G", "-1G"])
def test_what_is_no_amount_of_memory_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="amount of memory"):
        parse_bytes(wrong)
