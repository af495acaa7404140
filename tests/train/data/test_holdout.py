import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_prep.errors import InputError
from spectral_train.data.holdout import held_out


@given(st.integers(2, 300), st.floats(0.01, 0.5), st.integers(0, 2**32 - 1))
def test_the_same_ids_are_held_out_in_any_order(n: int, fraction: float, seed: int) -> None:
    ids = np.arange(n, dtype=np.int32)
    shuffled = np.random.RandomState(seed).permutation(ids)
    chosen = set(ids[held_out(ids, fraction, seed)])
    assert chosen == set(shuffled[held_out(shuffled, fraction, seed)])
    assert len(chosen) == max(1, round(n * fraction))


def test_the_choice_never_changes() -> None:
    ids = np.arange(60_000, dtype=np.int32)
    chosen = ids[held_out(ids, 1 / 12, seed=0)]
    assert len(chosen) == 5000
    assert chosen[:5].tolist() == [17, 28, 50, 66, 72]


def test_another_seed_holds_out_other_rows() -> None:
    ids = np.arange(1000, dtype=np.int32)
    assert (held_out(ids, 1 / 12, seed=0) != held_out(ids, 1 / 12, seed=1)).any()


def test_all_views_of_an_image_fall_on_the_same_side() -> None:
    ids = np.repeat(np.arange(50, dtype=np.int32), 3)
    mask = held_out(ids, 0.2, seed=0).reshape(50, 3)
    assert (mask.all(1) == mask.any(1)).all()
    assert mask.all(1).sum() == 10


@pytest.mark.parametrize(("rows", "fraction"), [(100, 0.0), (100, 1.0), (100, -0.1), (100, 0.999), (1, 0.5)])
def test_a_hold_out_that_leaves_nothing_is_refused(rows: int, fraction: float) -> None:
    with pytest.raises(InputError, match="hold-out"):
        held_out(np.arange(rows, dtype=np.int32), fraction, seed=0)
