"""From a raw image to the pixels that are converted: decode, resize the short side, crop the centre.

Goes in: the bytes of an image file, or pixels. Comes out: uint8 pixels (height, width, channels).

Colour: every kind of file becomes 8-bit RGB (or grey, for one channel). Grey, palette, CMYK and YCbCr are converted;
alpha is dropped, not composited; 16-bit grey v becomes round(v/257); of several frames the first is taken.
EXIF orientation is not applied: the ImageNet release and what is trained on it ignore it, so stored rows are rows.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.sources.base import RawImage

_MODES = {1: "L", 3: "RGB"}
_SIXTEEN_BIT = 65535 // 255


@dataclass(frozen=True)
class Geometry:
    """The size that every image gets: channels is 1 or 3; `resize` (pixels) is what the short side becomes before the
    centre crop of height × width, or None where images must already have that size.

    >>> Geometry(224, 224, 3, resize=256).resize
    256
    """

    height: int
    width: int
    channels: int
    resize: int | None = None

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or self.channels not in _MODES:
            raise InputError(
                "unusable image size",
                expected="at least 1x1 pixels of 1 or 3 channels",
                got=f"{self.height}x{self.width} pixels of {self.channels} channels",
            )
        if self.resize is not None and self.resize < max(self.height, self.width):
            raise InputError(
                f"resizing the short side to {self.resize} leaves too little to crop",
                expected=f"at least {max(self.height, self.width)}",
                got=self.resize,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Geometry:
        """Return the geometry that `to_dict` wrote."""
        return cls(**record)


def load(raw: RawImage, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Return the pixels (height, width, channels) of a raw image.

    With `geometry.resize` the short side is brought to it, antialiased bilinear, and the centre is cropped; the long
    side is rounded down as torchvision's `Resize` does. Both happen in one pass over the crop alone, which differs from
    one after the other by at most a grey level. Pixels that already have the wanted shape are returned as they are.

    Raises
    ------
    CorruptSourceError
        If the bytes are no image, truncated or a decompression bomb, or without `resize` have another size. The message
        has the reason but not the name of the file, which the caller knows.

    >>> load(np.zeros((32, 48, 3), np.uint8), Geometry(28, 28, 1, resize=30)).shape
    (28, 28, 1)
    """
    if isinstance(raw, np.ndarray) and _fits(raw.shape, geometry):
        return raw
    with _explained():
        image = _convert(_open(raw), _MODES[geometry.channels])
        if geometry.resize is not None:
            image = _resize_and_crop(image, geometry)
    if image.size != (geometry.width, geometry.height):
        raise CorruptSourceError(
            "an image of another size",
            expected=f"{geometry.height}x{geometry.width} pixels, or --size and --resize",
            got=f"{image.height}x{image.width}",
        )
    return np.array(image).reshape(geometry.height, geometry.width, geometry.channels)


def image_size(raw: RawImage) -> tuple[int, int]:
    """Return (H, W) of a raw image, from the header alone.

    Raises
    ------
    CorruptSourceError
        If the bytes are not the beginning of an image.

    >>> image_size(np.zeros((32, 48, 3), np.uint8))
    (32, 48)
    """
    if isinstance(raw, np.ndarray):
        return raw.shape[0], raw.shape[1]
    with _explained():
        image = _open(raw)
    return image.height, image.width


def _fits(shape: tuple[int, ...], geometry: Geometry) -> bool:
    short = min(geometry.height, geometry.width)
    return shape == (geometry.height, geometry.width, geometry.channels) and geometry.resize in (None, short)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever Pillow raises into our error; keep its warnings to itself, but for the one about bombs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except CorruptSourceError:
        raise
    except UnidentifiedImageError as error:
        raise CorruptSourceError("not an image of a known format") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CorruptSourceError("an image too large to be one", got=error) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise CorruptSourceError("truncated or damaged image", got=f"{type(error).__name__}: {error}") from error


def _open(raw: RawImage) -> Image.Image:
    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw[..., 0] if raw.shape[-1] == 1 else raw)
    return Image.open(io.BytesIO(raw))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    image.load()
    if image.mode == "I" or image.mode.startswith("I;16"):  # Pillow would clip these at 255
        grey = np.clip(np.asarray(image, np.float64), 0, 65535) / _SIXTEEN_BIT
        image = Image.fromarray(np.rint(grey).astype(np.uint8))
    if image.mode == "F":
        raise CorruptSourceError("a floating-point image", expected="8 or 16 bits a channel")
    return image if image.mode == mode else image.convert(mode)


def _resize_and_crop(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Compute the crop of the resized image straight from its source box."""
    short = min(image.size)
    resize = geometry.resize or short
    width, height = (int(resize * side / short) for side in image.size)
    left, top = round((width - geometry.width) / 2), round((height - geometry.height) / 2)
    box = (
        left * image.width / width,
        top * image.height / height,
        min((left + geometry.width) * image.width / width, image.width),
        min((top + geometry.height) * image.height / height, image.height),
    )
    return image.resize((geometry.width, geometry.height), Image.Resampling.BILINEAR, box=box)
