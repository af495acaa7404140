"""Images that are computed, not read: for demonstrations, benchmarks and trials of scale. They show nothing.

Input: a text such as "rows=20000,classes=100,size=224x224" in the place of a path. Output: a source whose images follow
from (seed, split, row id) alone, in integers, so that they are the same on any machine and with any numpy.

1. A class is four standing waves, coarse to fine, each with its frequencies, phases and colour.
2. A row is of class "row id modulo classes": the class's waves, with phases, contrast and brightness of its own, and
   noise.
3. With `format=jpeg` a row is that image as a JPEG, so that decoding costs what it costs for photographs.

Random numbers are Philox's, whose stream is a published function of key and counter. Names of rows are computed when
they are asked for, so that 14 million rows take the memory of their labels.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import simplejpeg

from spectral_prep.errors import InputError
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.interface import SPLITS, RawImage, RowIndex
from spectral_prep.sources.name_list import LazyNames
from spectral_prep.sources.release_files import MOST_CLASSES
from spectral_prep.system.limits import LARGEST_SEED

VERSION = 1
"""Of the images: another one gives other pixels for the same description."""

EXAMPLE = "rows=20000,test=2000,classes=100,size=224x224"
NOTHING = ("", ".")
"""What a path is that was not given: every name has its default then."""

FORMATS = ("pixels", "jpeg")
CHANNELS = (1, 3)
MOST_ROWS = 2**31 - 1
LONGEST_SIDE = 4096
JPEG_QUALITY = 94
JPEG_COLOURS = {1: "GRAY", 3: "RGB"}

WAVES = 4
TURN = 256
"""Steps of a whole turn of a wave; its values are -127 … 127."""

MOST_TURNS = ((2, 0), (4, 0), (0, 16), (0, 6))
"""Of each wave along a side: so many, or one for so many pixels; never more than one for four pixels."""

CLASS_BYTES = 16 * WAVES
OWN_BYTES = 16
"""Of a row's random bytes those before the noise."""

_half = [place * (TURN // 2 - place) * 127 // (TURN // 4) ** 2 for place in range(TURN // 2)]
WAVE = np.array([*_half, *(-value for value in _half)], np.int16)
"""One turn, made of two parabolas: as good as a sine here, and of integers."""


@dataclass(frozen=True)
class Description:
    """What decides the images; each field is a name of the text. `size` is (height, width) in pixels."""

    rows: int = 2000
    test: int = 400
    classes: int = 10
    size: tuple[int, int] = (32, 32)
    channels: int = 3
    format: str = "pixels"
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> Description:
        """Return what a text says; what it leaves out has its default.

        >>> Description.parse("rows=60,size=28,channels=1").size
        (28, 28)

        Raises
        ------
        InputError
            If a name is unknown or there twice, or a value none of its kind.
        """
        given: dict[str, Any] = {}
        for part in () if text in NOTHING else text.split(","):
            name, equals, value = (each.strip() for each in part.partition("="))
            if not equals or name not in READERS:
                raise _refused("a word that describes no images", f"NAME=VALUE, of {', '.join(READERS)}", part)
            if name in given:
                raise _refused(f"{name} is given twice", "each name once", text)
            given[name] = READERS[name](name, value)
        return cls(**given)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return (*self.size, self.channels)


@dataclass(frozen=True)
class RowNames(LazyNames):
    """The names of so many rows.

    >>> RowNames(14_000_000, 21_841)[13_999_999]
    'class-21759/13999999'
    """

    rows: int
    classes: int

    def __len__(self) -> int:
        return self.rows

    def some(self, rows: npt.NDArray[np.integer]) -> list[str]:
        """Return the names of rows (n,)."""
        count, known = self.classes, self._class_names
        return [f"{known[place % count]}/{place:08d}" for place in rows.tolist()]

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        return tuple(map(_class_name, range(self.classes)))


@dataclass(frozen=True)
class SyntheticSource:
    """A `Source` that computes its images."""

    random_access: ClassVar[bool] = True  # a row is computed from its id
    needs_scratch: ClassVar[bool] = False  # nothing is written

    description: Description

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Called after their numbers."""
        return tuple(map(_class_name, range(self.description.classes)))

    @property
    def fingerprint(self) -> str:
        """The sha256 of the description and of the version of the images."""
        return hashlib.sha256(json.dumps([VERSION, asdict(self.description)]).encode()).hexdigest()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The same for all."""
        return self.description.image_shape

    @property
    def release(self) -> None:
        """None: there is but one."""
        return

    def index(self) -> Mapping[str, RowIndex]:
        """Return the rows of each split that has some; classes take turns."""
        return {split: self._rows(count) for split, count in self._counts().items() if count}

    def for_rows(self, split: str, ids: npt.NDArray[np.int32]) -> SyntheticSource:
        """Return this source, which is small."""
        return self

    def read(self, split: str, row_id: int, name: str) -> RawImage:
        """Return the pixels (H, W, C) of a row, or its JPEG.

        Raises
        ------
        InputError
            If there is no such row.
        """
        if not 0 <= row_id < self._counts().get(split, 0):
            raise InputError(f"the source has no row {row_id} in split {shown(split)}")
        pixels_HWC = computed(self.description, split, row_id)
        if self.description.format == "pixels":
            return pixels_HWC
        colours = JPEG_COLOURS[self.description.channels]
        encoded: bytes = simplejpeg.encode_jpeg(pixels_HWC, JPEG_QUALITY, colours, "420", fastdct=False)
        return encoded

    def _counts(self) -> dict[str, int]:
        return dict(zip(SPLITS, (self.description.rows, self.description.test), strict=True))

    def _rows(self, count: int) -> RowIndex:
        labels = np.arange(count, dtype=np.int32)
        labels %= self.description.classes
        return RowIndex(RowNames(count, self.description.classes), labels)

    def __reduce__(self) -> tuple[object, ...]:  # without the names of classes
        return type(self), (self.description,)


def open_synthetic(dataset: str, path: Place, staging: Path) -> SyntheticSource:
    """Return the source that the text in the place of a path describes; nothing is read or written.

    Raises
    ------
    InputError
        If it describes none.
    """
    return SyntheticSource(Description.parse(str(path)))


def computed(description: Description, split: str, row_id: int) -> npt.NDArray[np.uint8]:
    """Return the pixels (H, W, C) of one row.

    Every wave adds at most 80 grey levels either way, brightness and noise 0 … 31 each, to 96.

    >>> computed(Description(size=(2, 2), channels=1), "train", 0)[..., 0].tolist()
    [[86, 74], [89, 76]]
    """
    height, width, channels = description.image_shape
    label = row_id % description.classes
    turns_y, turns_x, phase_y, phase_x, *colours = (
        _random_bytes(description.seed, 0, label, CLASS_BYTES).view("<u2").astype(np.int32).reshape(-1, WAVES)
    )
    own = _random_bytes(description.seed, 1 + SPLITS.index(split), row_id, OWN_BYTES + height * width * channels)
    moved_y, moved_x, (contrast, brightness, *_) = own[:OWN_BYTES].astype(np.int32).reshape(-1, WAVES)[:3] >> 3
    gain_CK = (np.stack(colours[:channels]) % 129 - 64) * (6 + contrast % 5)
    rows_KH = _waves(height, turns_y, phase_y + moved_y)
    columns_KWC = _waves(width, turns_x, phase_x + moved_x)[:, :, None] * gain_CK.T[:, None, :] >> 11
    columns_KX = columns_KWC.astype(np.int16).reshape(WAVES, width * channels)
    sum_HX = np.einsum("kh,kx->hx", rows_KH, columns_KX)  # within ±4·127·40: no overflow
    sum_HX >>= 6
    sum_HX += np.int16(96 + brightness)
    noise_HX = own[OWN_BYTES:].reshape(sum_HX.shape)
    noise_HX >>= 3
    sum_HX += noise_HX
    # The noise's memory becomes the image's: new pages cost as much as all of the computing.
    return np.clip(sum_HX, 0, 255, out=noise_HX, casting="unsafe").reshape(height, width, channels)


def _waves(side: int, turns_K: npt.NDArray[np.int32], phase_K: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
    """Return the values (K, side) of each wave along one side."""
    most_K = np.array([min(side // 4, most or side // pixels) for most, pixels in MOST_TURNS], np.int32)
    steps = np.arange(side, dtype=np.int32) * (turns_K % (most_K + 1))[:, None] * TURN // side
    return WAVE[(steps + phase_K[:, None]) % TURN]


def _random_bytes(seed: int, stream: int, number: int, count: int) -> npt.NDArray[np.uint8]:
    """Return `count` bytes: stream 0 is of classes, the others are of a split's rows."""
    words = np.random.Philox(key=[seed, stream], counter=[0, number, 0, 0]).random_raw(-(-count // 8))
    return words.astype("<u8", copy=False).view(np.uint8)[:count]


def _class_name(label: int) -> str:
    return f"class-{label:05d}"


def _number(name: str, value: str) -> int:
    least, most = BOUNDS[name]
    number = int(value) if re.fullmatch(r"[0-9]{1,12}", value) else -1
    if not least <= number <= most:
        raise _refused(f"an unusable number for {name}", f"{least} to {most}", value)
    return number


def _size(name: str, value: str) -> tuple[int, int]:
    height, cross, width = value.lower().partition("x")
    sides = [int(side) if re.fullmatch(r"[0-9]{1,12}", side) else 0 for side in (height, width if cross else height)]
    if not all(1 <= side <= LONGEST_SIDE for side in sides):
        raise _refused(f"an unusable {name}", f"H or HxW, each 1 to {LONGEST_SIDE} pixels", value)
    return sides[0], sides[1]


def _one_of(name: str, value: str) -> Any:
    for choice in CHOICES[name]:
        if value == str(choice):
            return choice
    raise _refused(f"unusable {name}", " or ".join(map(str, CHOICES[name])), value)


BOUNDS = {"rows": (1, MOST_ROWS), "test": (0, MOST_ROWS), "classes": (1, MOST_CLASSES), "seed": (0, LARGEST_SEED)}
CHOICES: Mapping[str, tuple[object, ...]] = {"channels": CHANNELS, "format": FORMATS}
READERS = {
    "rows": _number,
    "test": _number,
    "classes": _number,
    "size": _size,
    "channels": _one_of,
    "format": _one_of,
    "seed": _number,
}
"""What turns the value of each name into that field of a `Description`."""


def _refused(what: str, expected: str, got: str) -> InputError:
    return InputError(what, where="--source", expected=expected, got=shown(got), run=f"--source {EXAMPLE}")
