import pytest

from spectral_prep.errors import InputError
from spectral_train.ensemble.combination import SCHEME_NAMES, Combination
from spectral_train.ensemble.schemes import SCHEMES
from tests.support.commands import run as command


def test_every_scheme_that_may_be_named_is_there() -> None:
    assert tuple(SCHEMES) == SCHEME_NAMES


def test_unusable_choices_are_refused() -> None:
    with pytest.raises(InputError, match="average, loss, geometric, best, top-k"):
        Combination("median")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="probabilities, log-probabilities"):
        Combination("average", "logits")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="learned combines log-probabilities"):
        Combination("learned", "probabilities")


@pytest.mark.parametrize(
    "line",
    ["predict run a.png --scheme learned --k 3", "export run --out a.pt2 --k 3", "evaluate run --scheme average --k 3"],
)
def test_a_setting_of_another_scheme_is_refused(line: str) -> None:
    refused = command(f"spectral-ensemble {line}")
    assert (refused.code, "--k is for --scheme top-k" in refused.err) == (2, True)
