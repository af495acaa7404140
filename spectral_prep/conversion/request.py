"""What the user asks for, as far as it decides bytes: the options of `spectral-prep convert` and `plan`, in one place.

Input: the words of a command. Output: a `Request`, which together with a source makes a `Plan` (`plan`). How
the work is done (processes, machines, what happens to bad images) is no part of it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from spectral_prep.choices import Compression, Format, Layout, Shuffle, Storage, Transform
from spectral_prep.errors import InputError
from spectral_prep.sources.interface import Fields
from spectral_prep.sources.selection import Selection
from spectral_prep.store import STORES
from spectral_prep.store.fields import NAME
from spectral_prep.system.limits import LARGEST_SEED


@dataclass(frozen=True)
class Request:
    """What is wanted of a data set; equal requests of equal sources give equal bytes.

    Parameters
    ----------
    dataset
        A name of `spectral_prep.sources.SOURCES`.
    q
        `"16"`, `"2x4"`: see `spectral_prep.spectrum.parse_q`.
    psnr
        In dB: int8 with the largest common step for which images keep this much; default: each spectral as fine as its
        range allows. See `spectral_prep.encoding.with_psnr`.
    size, resize
        Pixels of the square crop and of the short side before it: see `spectral_prep.conversion.plan.choose_geometry`.
    format, compression
        How parts are written: see `spectral_prep.store`; default: the first of the format's compressions.
    seed
        Of the order of training rows and of the calibration sample.
    block_rows
        Rows a part file; default: 64 parts or more, of at most 32 MiB before compression: see `conversion.plan`.
    max_pixels
        How many the header of an image file may promise; default: `images.decode.MAX_PIXELS`, Pillow's limit.
    shuffle
        `global`: training rows are stored in a seeded permutation of their canonical order. `none`: in that order.
    views, augmentation
        How many augmented versions of each training image are stored beside it, and a name of
        `spectral_prep.images.augmentations.AUGMENTATIONS`; default: see `images.views.choose_augmentation`.
    test_fraction, limit, fraction, classes
        What of the source is converted: see `spectral_prep.sources.selection.Selection`; default: all, as it is split.
    name
        What the data set is called; default: `spectral_prep.sources.default_name`.
    image_key, image_column, label_column
        Which image and label of a row, where there are several: see `spectral_prep.sources.interface.Fields`.

    Raises
    ------
    InputError
        If the seed, the views or what is selected are out of range, an augmentation is named without views, the format
        cannot be compressed so, or the name cannot be part of a file's.

    >>> Request("imagenet", "16").shuffle
    'global'
    """

    dataset: str
    q: str
    layout: Layout = "blocks"
    transform: Transform = "dct"
    dtype: Storage = "int8"
    psnr: float | None = None
    size: int | None = None
    resize: int | None = None
    format: Format = "zarr"
    compression: Compression | None = None
    seed: int = 0
    block_rows: int | None = None
    shuffle: Shuffle = "global"
    max_pixels: int | None = None
    views: int = 0
    augmentation: str | None = None
    test_fraction: float | None = None
    limit: int | None = None
    fraction: float | None = None
    classes: tuple[str, ...] | None = None
    name: str | None = None
    image_key: str | None = None
    image_column: str | None = None
    label_column: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError("unusable seed", expected=f"0 to {LARGEST_SEED}", got=self.seed)
        if self.psnr is not None and not 0 < self.psnr < math.inf:
            raise InputError("unusable --psnr", expected="dB, such as 47", got=self.psnr)
        if self.psnr is not None and self.dtype != "int8":
            raise InputError(f"--psnr with --dtype {self.dtype}, which keeps every pixel", run="one of the two alone")
        if self.views < 0:
            raise InputError("unusable number of views", expected="0 or more", got=self.views)
        if self.augmentation is not None and not self.views:
            raise InputError("an augmentation without views", run=f"--augmentation {self.augmentation} --views 4")
        _ = self.selection
        if self.name is not None and not re.fullmatch(NAME, self.name):
            raise InputError(
                "unusable --name",
                expected="letters, digits and . _ + -, at most 100, a letter or digit first",
                got=self.name,
            )
        possible = STORES[self.format].compressions
        if self.compression is not None and self.compression not in possible:
            raise InputError(
                f"--format {self.format} does not compress so",
                expected=f"--compression {' or '.join(possible)}",
                got=self.compression,
            )

    @property
    def selection(self) -> Selection | None:
        """What of the source is converted, None for all of it."""
        classes = None if self.classes is None else tuple(sorted(set(self.classes)))
        found = Selection(classes, self.limit, self.fraction, self.test_fraction)
        return None if found == Selection() else found

    @property
    def fields(self) -> Fields:
        """Which image and which label of a row."""
        return Fields(self.image_key, self.image_column, self.label_column)
