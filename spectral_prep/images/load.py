"""From a raw image to the pixels that are converted: decode, resize the short side, crop the centre.

Input: the bytes of an image file, or pixels. Output: uint8 pixels (height, width, channels).

Colour: every kind of file becomes 8-bit RGB (or grey, for one channel). Grey, palette, CMYK and YCbCr are converted;
alpha is dropped, not composited; 16-bit grey v becomes round(v/257), 16-bit colour v >> 8; of several frames the first
is taken. EXIF orientation is not applied: the ImageNet release and what is trained on it ignore it, so stored rows are
rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.images import decode
from spectral_prep.images.decode import MAX_PIXELS, MODES
from spectral_prep.images.resize import resize_and_crop
from spectral_prep.sources.interface import RawImage


@dataclass(frozen=True)
class Geometry:
    """The size that every image gets: channels is 1 or 3; `resize` (pixels) is what the short side becomes before the
    centre crop of height × width, or None where images must already have that size. `max_pixels` is how many the header
    of a file may promise: one with more is a bad image.

    >>> Geometry(224, 224, 3, resize=256).resize
    256
    """

    height: int
    width: int
    channels: int
    resize: int | None = None
    max_pixels: int = MAX_PIXELS

    @property
    def values(self) -> int:
        """How many values an image has."""
        return self.height * self.width * self.channels

    @property
    def chosen_max_pixels(self) -> int | None:
        """`max_pixels`, None where it is the usual limit: what records that hold no geometry say."""
        return None if self.max_pixels == MAX_PIXELS else self.max_pixels

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or self.channels not in MODES:
            raise InputError(
                "unusable image size",
                expected=f"at least 1x1 pixels of {' or '.join(map(str, MODES))} channels",
                got=f"{self.height}x{self.width} pixels of {self.channels} channels",
            )
        if self.resize is not None and self.resize < max(self.height, self.width):
            raise InputError(
                f"resizing the short side to {self.resize} leaves too little to crop",
                expected=f"at least {max(self.height, self.width)}",
                got=self.resize,
            )


def load(raw: RawImage, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Return the pixels (height, width, channels) of a raw image.

    With `geometry.resize` the short side is brought to it, antialiased bilinear, and the centre is cropped; the long
    side is rounded down as torchvision's `Resize` does. Pixels that already have the wanted shape are returned as they
    are.

    Raises
    ------
    CorruptSourceError
        If the bytes are no image, truncated or a decompression bomb, or without `resize` have another size. The message
        has the reason but not the name of the file, which the caller knows.

    >>> load(np.zeros((32, 48, 3), np.uint8), Geometry(28, 28, 1, resize=30)).shape
    (28, 28, 1)
    """
    pixels_HWC = pixels(raw, geometry.channels, geometry.max_pixels)
    if geometry.resize is not None and not _fits(pixels_HWC, geometry):
        pixels_HWC = resize_and_crop(pixels_HWC, geometry.resize, geometry.height, geometry.width)
    require_size(pixels_HWC, geometry)
    return pixels_HWC


def require_size(pixels_HWC: npt.NDArray[np.uint8], geometry: Geometry) -> None:
    """Raise `CorruptSourceError` unless an image has the wanted size."""
    height, width = pixels_HWC.shape[:2]
    if (height, width) != (geometry.height, geometry.width):
        raise CorruptSourceError(
            "an image of another size",
            expected=f"{geometry.height}x{geometry.width} pixels, or --size and --resize",
            got=f"{height}x{width}",
        )


def pixels(raw: RawImage, channels: int, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Return the pixels (H, W, channels) of a raw image at its own size.

    Raises
    ------
    CorruptSourceError
        As `decode.decode` does.
    """
    return _recoloured(raw, channels) if isinstance(raw, np.ndarray) else decode.decode(raw, channels, max_pixels)


def image_size(raw: RawImage, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (H, W) of a raw image, from the header alone.

    Raises
    ------
    CorruptSourceError
        If the bytes are not the beginning of an image, or promise more than `max_pixels`.

    >>> image_size(np.zeros((32, 48, 3), np.uint8))
    (32, 48)
    """
    if isinstance(raw, np.ndarray):
        return raw.shape[0], raw.shape[1]
    return decode.image_size(raw, max_pixels)


def _fits(pixels_HWC: npt.NDArray[np.uint8], geometry: Geometry) -> bool:
    size = (geometry.height, geometry.width)
    return pixels_HWC.shape[:2] == size and geometry.resize == min(size)


def _recoloured(pixels_HWC: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    present = pixels_HWC.shape[2]
    if present == channels:
        return pixels_HWC
    return decode.as_pixels(Image.fromarray(pixels_HWC[..., 0] if present == 1 else pixels_HWC), channels)
