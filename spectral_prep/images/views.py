"""Views: augmented versions of a training image, baked in at conversion as further rows with the same row id.

Input: a raw image, an augmentation and the number of the view. Output: uint8 pixels (height, width, channels).
View 0 is the image itself, as it is without views. What another view looks like is a pure function of the seed, the row
id and its number: augmenting the whole image before the transform is what no node could do with its own shard.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import InputError
from spectral_prep.images.augmentations import AUGMENTATIONS, ViewKind
from spectral_prep.images.load import Geometry, load, pixels, require_size
from spectral_prep.sources.interface import RawImage

Pixels = npt.NDArray[np.uint8]
CROP_ATTEMPTS = 10


def choose_augmentation(name: str | None, geometry: Geometry) -> ViewKind:
    """Return the augmentation of that name; without one `shift` for grey images, otherwise `crop` or `shift-flip`.

    Colour images are cropped where they are resized, so that there is more of them than is stored, and shifted where
    not.

    Raises
    ------
    InputError
        If there is none of that name, or it would shift images by half their size or more.

    >>> choose_augmentation(None, Geometry(224, 224, 3, resize=256)).name
    'crop'
    """
    name = name or ("shift" if geometry.channels == 1 else "shift-flip" if geometry.resize is None else "crop")
    if name not in AUGMENTATIONS:
        raise InputError("unknown augmentation", expected=f"one of {', '.join(AUGMENTATIONS)}", got=repr(name))
    chosen = AUGMENTATIONS[name]
    if 2 * chosen.shift >= min(geometry.height, geometry.width):
        raise InputError(
            f"{name} shifts by up to {chosen.shift} pixels, which leaves too little of these images",
            got=f"{geometry.height}x{geometry.width}",
            run="the same command with --augmentation light-crop",
        )
    return chosen


def load_view(
    raw: RawImage,
    geometry: Geometry,
    augmentation: ViewKind | None,
    key: tuple[int, int, int],
) -> Pixels:
    """Return the pixels (height, width, channels) of one view of a raw image.

    `key` is (seed, row id, view); view 0 is what `load.load` returns. The stream of RandomState is frozen (NEP 19).

    Raises
    ------
    CorruptSourceError
        As `load.load` does.

    >>> image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    >>> load_view(image, Geometry(8, 8, 1), AUGMENTATIONS["shift"], (0, 5, 1)).shape
    (8, 8, 1)
    """
    if augmentation is None or key[2] == 0:
        return load(raw, geometry)
    random = np.random.RandomState(key)
    if augmentation.area is None:
        image_HWC = _shifted(load(raw, geometry), augmentation.shift, random)
    else:
        whole_HWC = pixels(raw, geometry.channels, geometry.max_pixels)
        if geometry.resize is None:  # a bad image is bad in all its views
            require_size(whole_HWC, geometry)
        image_HWC = _cropped(whole_HWC, geometry, augmentation, random)
    mirrored = augmentation.flip and random.randint(2)
    return np.ascontiguousarray(image_HWC[:, ::-1] if mirrored else image_HWC)


def _shifted(image_HWC: Pixels, most: int, random: np.random.RandomState) -> Pixels:
    height, width = image_HWC.shape[:2]
    padded = np.pad(image_HWC, ((most, most), (most, most), (0, 0)))
    top, left = random.randint(2 * most + 1, size=2)
    return padded[top : top + height, left : left + width]


def _cropped(image_HWC: Pixels, geometry: Geometry, augmentation: ViewKind, random: np.random.RandomState) -> Pixels:
    """Return a random crop brought to the wanted size, antialiased bilinear."""
    import torch

    rows, columns = _crop_box(image_HWC.shape[:2], augmentation, random)
    cut_1CHW = torch.from_numpy(image_HWC[rows, columns])[None].permute(0, 3, 1, 2)
    resized_1CHW = torch.nn.functional.interpolate(
        cut_1CHW, (geometry.height, geometry.width), mode="bilinear", antialias=True
    )
    return resized_1CHW[0].permute(1, 2, 0).numpy()


def _crop_box(size: tuple[int, int], augmentation: ViewKind, random: np.random.RandomState) -> tuple[slice, slice]:
    """Return rows and columns of a crop: uniform in area, log-uniform in ratio, as torchvision's RandomResizedCrop."""
    height, width = size
    area, ratio = augmentation.area or (1.0, 1.0), augmentation.ratio
    for _ in range(CROP_ATTEMPTS):
        wanted = height * width * random.uniform(*area)
        shape = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        across, down = round(math.sqrt(wanted * shape)), round(math.sqrt(wanted / shape))
        if 0 < across <= width and 0 < down <= height:
            top, left = random.randint(height - down + 1), random.randint(width - across + 1)
            return slice(top, top + down), slice(left, left + across)
    down = min(height, max(1, round(width / ratio[0])))  # too long an image: the largest centre crop within the ratio
    across = min(width, max(1, round(height * ratio[1])))
    top, left = (height - down) // 2, (width - across) // 2
    return slice(top, top + down), slice(left, left + across)
