"""A sample follows from its seed; where rows come in one order only, it is the first of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.sample import sample_ids, training_sample
from spectral_prep.sources.interface import RowIndex

INDEX = {"train": RowIndex([f"{i}.png" for i in range(100)], np.zeros(100, np.int32))}


@dataclass(frozen=True)
class Rows:
    """As much of a source as a sample asks for."""

    random_access: bool = True
    needs_scratch: bool = False
    classes: tuple[str, ...] = ("0",)
    fingerprint: str = ""
    image_shape: tuple[int, int, int] | None = None
    release: str | None = None

    def index(self) -> Mapping[str, RowIndex]:
        return INDEX

    def for_rows(self, split: str, ids: npt.NDArray[np.int32]) -> Rows:
        return self

    def read(self, split: str, row_id: int, name: str) -> npt.NDArray[np.uint8]:
        raise AssertionError("a sample reads nothing")


def test_a_sample_is_ascending_without_repeats_and_the_same_for_the_same_seed() -> None:
    ids = sample_ids(Rows(), rows=100, count=10, seed=1)
    assert ids.tolist() == sorted(set(ids.tolist()))
    assert len(ids) == 10
    assert np.array_equal(ids, sample_ids(Rows(), rows=100, count=10, seed=1))
    assert not np.array_equal(ids, sample_ids(Rows(), rows=100, count=10, seed=2))


def test_a_sample_of_more_than_there_is_is_all_of_it() -> None:
    assert sample_ids(Rows(), rows=7, count=10, seed=1).tolist() == [*range(7)]


def test_without_random_access_the_first_rows_are_taken() -> None:
    assert sample_ids(Rows(random_access=False), rows=100, count=4, seed=1).tolist() == [0, 1, 2, 3]


def test_a_training_sample_is_what_reading_takes() -> None:
    for split, row_id, name in training_sample(Rows(), INDEX, 5, seed=3):
        assert (split, name) == ("train", f"{row_id}.png")
