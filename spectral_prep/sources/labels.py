"""The labels of a data set while they are found: all of them numbers, or all of them names of classes.

Input: what rows say their label is, and the names of the classes if something beside the rows gives them. Output: a
label for each row, and the names of all classes. Names become classes in the order of their bytes, unless a list says
another; rows to test may only have classes of rows to train.
"""

from __future__ import annotations

import unicodedata

from spectral_prep.errors import CorruptSourceError
from spectral_prep.printable import shown
from spectral_prep.sources.name_list import text_of
from spectral_prep.sources.row_table import ClassNumbers

MOST_UNNAMED = 1 << 16
"""Classes that nothing but a largest label speaks for; more have to be named."""


class UnusableLabelError(ValueError):
    """What a row says its label is cannot be one; the text says why."""


class Labels:
    """The labels of all splits; those to train on come first."""

    def __init__(self, names: tuple[str, ...] | None = None) -> None:
        self.name_classes(names)
        self._numbers = ClassNumbers()
        self._trained: int | None = None
        self._kind: type | None = None
        self._largest, self._where = 0, ""

    @property
    def begun(self) -> bool:
        """Whether a row had a label."""
        return self._kind is not None

    def name_classes(self, names: tuple[str, ...] | None) -> None:
        """Say what the classes are called, before the first label; None if nothing says it."""
        self._names = names
        self._places = {unicodedata.normalize("NFC", name): place for place, name in enumerate(names or ())}

    def number(self, label: int | str, where: str) -> int:
        """Return the number of a label, provisional if labels are names that no list gives.

        Raises
        ------
        UnusableLabelError
            If others are numbers and this is a name, or the reverse; if a list lacks it; if no row to train has it.
        """
        if isinstance(label, str) and self._names is not None:
            label = self._place(label)
        if self._kind not in (None, type(label)):
            raise UnusableLabelError(f"label {shown(repr(label))}, others are {_KINDS[self._kind]}")
        self._kind = type(label)
        if isinstance(label, int):
            if label > self._largest or not self._where:
                self._largest, self._where = label, where
            return label
        number = self._numbers.number(label)
        if self._trained is not None and number >= self._trained:
            raise UnusableLabelError(f"label {shown(repr(label))}, which no training row has")
        return number

    def numbered(self, label: int, names: tuple[str, ...], where: str) -> int:
        """Return the number of a label that counts through names of its own file; raises as `number` does."""
        if self._names is None or names == self._names or label >= len(names):
            return self.number(label, where)
        return self.number(names[label], where)

    def _place(self, name: str) -> int:
        place = self._places.get(unicodedata.normalize("NFC", text_of(name)))
        if place is None:
            raise UnusableLabelError(f"label {shown(repr(name))}, which is not among the names of the classes")
        return place

    def training_ends(self) -> None:
        """Say that all labels from here on are of rows to test."""
        self._trained = len(self._numbers)

    def classes(self) -> ClassNumbers | tuple[str, ...]:
        """Return the names of all classes, or what gave provisional numbers; classes without a name are "0", "1", ….

        Raises
        ------
        CorruptSourceError
            If there are fewer names than labels, or so many classes without a name that the label must be wrong.
        """
        if self._kind is str:
            return self._numbers
        count = MOST_UNNAMED if self._names is None else len(self._names)
        if self._largest >= count:
            raise CorruptSourceError(
                "label out of range",
                where=self._where,
                expected=f"0 to {count - 1}",
                got=self._largest,
                run="if it is one, with the names of all classes in classes.txt" if self._names is None else None,
            )
        return tuple(map(str, range(self._largest + 1))) if self._names is None else self._names


_KINDS = {int: "numbers", str: "names"}
