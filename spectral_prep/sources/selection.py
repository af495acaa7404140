"""A part of a source: some classes, some of the images, and a test split where the release has none.

Input: a source, its index and a `Selection`. Output: a `SelectedSource`, whose rows are some of the whole source's, in
their order. Classes are chosen first, then images, then the test split; every step is seeded and keeps the share of
each class, so that equal requests select equal rows on any machine.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import InputError
from spectral_prep.printable import shown
from spectral_prep.sources.interface import RawImage, RowIndex, Source
from spectral_prep.sources.related import related_rows
from spectral_prep.sources.selected_images import Ids, SelectedImages, SomeNames
from spectral_prep.sources.strata import drawn, set_apart, shares

MOST_LISTED = 10


@dataclass(frozen=True)
class Selection:
    """What of a source is converted; nothing that is None changes anything.

    Parameters
    ----------
    classes
        Names of the classes to keep, ascending; they are labelled 0 to n − 1 in this order.
    limit, fraction
        How many images at most, of all splits together, or which share of them; never both.
    test_fraction
        Which share of the images becomes the test split.

    Raises
    ------
    InputError
        If a number is out of range, or `limit` and `fraction` are both given.
    """

    classes: tuple[str, ...] | None = None
    limit: int | None = None
    fraction: float | None = None
    test_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and (not self.classes or list(self.classes) != sorted(set(self.classes))):
            raise InputError("unusable classes", expected="at least one, ascending, each once", got=self.classes[:5])
        if self.limit is not None and self.limit < 1:
            raise InputError("unusable --limit", expected="1 or more", got=self.limit)
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise InputError("unusable --fraction", expected="above 0, at most 1, such as 0.05", got=self.fraction)
        if self.limit is not None and self.fraction is not None:
            raise InputError("--limit and --fraction both say how many images", expected="one of the two")
        if self.test_fraction is not None and not 0 < self.test_fraction < 1:
            raise InputError(
                "unusable --test-fraction", expected="between 0 and 1, such as 0.1", got=self.test_fraction
            )

    def __str__(self) -> str:
        return ", ".join(
            [
                *([f"{len(self.classes):,} chosen classes"] if self.classes is not None else []),
                *([f"at most {self.limit:,} images"] if self.limit is not None else []),
                *([f"{100 * self.fraction:g} % of the images"] if self.fraction is not None else []),
                *([f"{100 * self.test_fraction:g} % set apart as test"] if self.test_fraction is not None else []),
            ]
        )


@dataclass(frozen=True)
class Picked:
    """The rows of one split: row i is row `ids[i]` of the whole source's split `split`; `ids` (n,) ascend."""

    split: str
    ids: Ids


@dataclass(frozen=True)
class SelectedSource:
    """A `Source` of some rows of another; its fingerprint is the whole source's: what is selected, a plan says."""

    source: Source
    classes: tuple[str, ...]
    picked: Mapping[str, Picked]
    rows: Mapping[str, RowIndex]

    @property
    def fingerprint(self) -> str:
        """That of the whole source."""
        return self.source.fingerprint

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """That of the whole source."""
        return self.source.image_shape

    @property
    def random_access(self) -> bool:
        """That of the whole source: rows keep its order."""
        return self.source.random_access

    @property
    def needs_scratch(self) -> bool:
        """That of the whole source."""
        return self.source.needs_scratch

    @property
    def release(self) -> str | None:
        """That of the whole source."""
        return self.source.release

    def index(self) -> Mapping[str, RowIndex]:
        """Return the selected rows of each split."""
        return self.rows

    def for_rows(self, split: str, ids: Ids) -> SelectedImages:
        """Return what reads these rows, and holds no other."""
        own = np.unique(ids)
        picked = self.picked[split]
        whole = picked.ids[own]
        return SelectedImages(self.source.for_rows(picked.split, whole), picked.split, own, whole)

    def read(self, split: str, row_id: int, name: str) -> RawImage:
        """Return the raw image of one row; raises as the whole source does."""
        picked = self.picked[split]
        return self.source.read(picked.split, int(picked.ids[row_id]), name)


def select(
    source: Source, index: Mapping[str, RowIndex], selection: Selection, seed: int, threads: int
) -> SelectedSource:
    """Select rows of a source; for a test split so many threads read every image that is left, to find duplicates.

    Raises
    ------
    InputError
        If a class is unknown, the source has test images of the classes, or too few images are left to set some apart.
    StorageError
        If the images cannot be read.
    """
    picked = {name: Picked(name, np.arange(len(rows.names), dtype=np.int32)) for name, rows in index.items()}
    if selection.classes is not None:
        _, numbers = _labels(source.classes, selection)
        picked = {name: Picked(name, each.ids[numbers[index[name].labels] >= 0]) for name, each in picked.items()}
    if selection.test_fraction is not None and "test" in picked and len(picked["test"].ids):
        raise InputError(
            "the source has a test split already",
            expected="--test-fraction for sources with training images alone",
            got=f"{len(picked['test'].ids):,} test images",
            run="the same command without --test-fraction",
        )
    total = sum(len(each.ids) for each in picked.values())
    if selection.limit is not None or selection.fraction is not None:
        wanted = selection.limit or max(1, round(total * (selection.fraction or 1)))
        picked = _fewer(picked, index, len(source.classes), min(wanted, total), seed)
    if selection.test_fraction is not None:
        rows, ids = index["train"], picked["train"].ids
        groups = related_rows(source, "train", rows, ids, threads)
        picked = _set_apart(groups, rows.labels[ids], ids, selection.test_fraction, seed)
    return with_rows(source, index, selection, {name: each for name, each in picked.items() if len(each.ids)})


def with_rows(
    source: Source, index: Mapping[str, RowIndex], selection: Selection, picked: Mapping[str, Picked]
) -> SelectedSource:
    """Return the source of these rows."""
    names, numbers = _labels(source.classes, selection)
    rows = {
        name: RowIndex(SomeNames(index[each.split].names, each.ids), numbers[index[each.split].labels[each.ids]])
        for name, each in picked.items()
    }
    return SelectedSource(source, names, picked, rows)


def picked_again(
    index: Mapping[str, RowIndex], names: Mapping[str, Iterator[str]], selection: Selection
) -> dict[str, Picked] | None:
    """Return the rows that have these names, which stand in the order of the index; None if some are not there.

    A test split that the selection sets apart is looked up in "train".
    """
    origin = {name: "train" if selection.test_fraction is not None else name for name in names}
    found: dict[str, list[int]] = {name: [] for name in names}
    for whole, rows in index.items():
        own = [name for name in names if origin[name] == whole]
        coming = {name: next(names[name], None) for name in own}
        for row, text in enumerate(rows.names):
            for name in own:
                if coming[name] == text:
                    found[name].append(row)
                    coming[name] = next(names[name], None)
                    break
        if any(text is not None for text in coming.values()):
            return None
    return {name: Picked(origin[name], np.array(rows, np.int32)) for name, rows in found.items()}


def _labels(known: tuple[str, ...], selection: Selection) -> tuple[tuple[str, ...], Ids]:
    """Return the names of the classes that are kept, and the label that each of all classes gets, −1 for none."""
    if selection.classes is None:
        return known, np.arange(len(known), dtype=np.int32)
    if unknown := [name for name in selection.classes if name not in set(known)]:
        raise _unknown_classes(unknown, known)
    places = {name: label for label, name in enumerate(selection.classes)}
    return selection.classes, np.array([places.get(name, -1) for name in known], np.int32)


def _unknown_classes(unknown: Sequence[str], known: Sequence[str]) -> InputError:
    near = {name: difflib.get_close_matches(name, known, 3, 0.5) for name in unknown[:MOST_LISTED]}
    told = [f"{shown(name)} (near: {', '.join(map(shown, found))})" if found else shown(name)
            for name, found in near.items()]  # fmt: skip
    some = ", ".join(map(shown, known[:MOST_LISTED])) + (", …" if len(known) > MOST_LISTED else "")
    return InputError(
        "classes that the source does not have",
        expected=f"some of its {len(known):,}: {some}",
        got=", ".join(told) + (" …" if len(unknown) > MOST_LISTED else ""),
        run="the same command with --classes as above, or the path of a file with one name a line",
    )


def _fewer(
    picked: Mapping[str, Picked], index: Mapping[str, RowIndex], classes: int, wanted: int, seed: int
) -> dict[str, Picked]:
    """Return so many rows: each class of each split keeps its share.

    Where that would leave some class of a split without a row, each split keeps its share first, and at least one row.
    """
    labels = {name: index[name].labels[each.ids] for name, each in picked.items()}
    sizes = np.stack([np.bincount(of_split, minlength=classes) for of_split in labels.values()])
    if wanted >= np.count_nonzero(sizes):
        counts = shares(sizes.reshape(-1), wanted).reshape(sizes.shape)
    else:
        each_split = shares(sizes.sum(axis=1), wanted)
        counts = np.stack([shares(own, int(most)) for own, most in zip(sizes, each_split, strict=True)])
    return {
        name: Picked(name, each.ids[drawn(labels[name], of_class, seed)])
        for (name, each), of_class in zip(picked.items(), counts, strict=True)
    }


def _set_apart(groups: npt.NDArray[np.integer], labels: Ids, ids: Ids, fraction: float, seed: int) -> dict[str, Picked]:
    """Divide rows of the training split into a training and a test split, a group never between them."""
    apart = set_apart(groups, labels, fraction, seed)
    if not apart.any() or apart.all():
        raise InputError(
            "too few images to set some apart for testing",
            expected="a class with two images that are not duplicates of each other",
            got=f"{len(ids)} images",
            run=f"the same command without --test-fraction, or with more images (at least "
            f"{math.ceil(1 / fraction)} a class, say)",
        )
    return {"train": Picked("train", ids[~apart]), "test": Picked("train", ids[apart])}
