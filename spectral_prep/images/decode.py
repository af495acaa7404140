"""From the bytes of an image file to its pixels.

Input: an encoded image. Output: uint8 pixels (height, width, channels).

1. A JPEG that is grey, YCbCr or RGB goes through libjpeg-turbo alone (simplejpeg).
2. Everything else goes through Pillow: other formats (HEIC by pillow-heif), CMYK, colour that is wanted as grey, and
   every JPEG of which libjpeg-turbo has to say anything at all. What Pillow does not read whole either is a bad image.

Both decode a JPEG with libjpeg-turbo, to the same pixels, and which of them does it follows from the file alone.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from spectral_prep.errors import CorruptSourceError
from spectral_prep.images.pieces import JPEG_START, require_few_pieces
from spectral_prep.sources.sniff import BRANDS

MAX_PIXELS = 89_478_485
"""Pillow's own limit: a quarter of a GiB as RGB. A decompression bomb has more; the largest photographs have not."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
RARE_FORMATS = ("AVIF", "JPEG2000", "QOI", "DDS", "SGI", "PSD", "ICO", "ICNS", "PCX", "DIB", "BLP", "MSP", "XBM")
"""Of the many that Pillow reads: some of the others, such as PostScript, start other programs; in others, such as
SPIDER and IM, almost anything may be an image."""

TGA_END = b"TRUEVISION-XFILE.\0"
"""How a TGA file ends that says it is one; without it anything might be."""

AVIF = b"avif"
"""What stands in the first box of an AVIF file, even if it begins as other HEIF files do."""

STRAIGHT = {"RGBa": "RGBA", "La": "LA"}
MODES = {1: "L", 3: "RGB"}
UNSCALED = {"F": "a floating-point", "LAB": "an L*a*b*"}
_SIXTEEN_BIT = 65535 // 255
_AS_STORED = {1: ("GRAY", {"Gray"}), 3: ("RGB", {"Gray", "YCbCr", "RGB"})}


def decode(raw: bytes, channels: int, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Return the pixels (height, width, channels) of an image file, 1 or 3 channels.

    Raises
    ------
    CorruptSourceError
        If the bytes are no image, truncated or damaged, or its header promises more than `max_pixels`.

    >>> import simplejpeg
    >>> decode(simplejpeg.encode_jpeg(np.full((32, 48, 1), 7, np.uint8), colorspace="GRAY"), 3)[0, 0].tolist()
    [7, 7, 7]
    """
    require_few_pieces(raw)
    pixels = _plain_jpeg(raw, channels, max_pixels) if raw.startswith(JPEG_START) else None
    if pixels is not None:
        return pixels
    with _explained(max_pixels):
        return as_pixels(_eight_bit(_opened(raw)), channels)


def image_size(raw: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (H, W) of an image file, from the header alone.

    Raises
    ------
    CorruptSourceError
        If the bytes are not the beginning of an image, or it has more than `max_pixels`.
    """
    require_few_pieces(raw)
    with _explained(max_pixels):
        image = _opened(raw)
    return image.height, image.width


def _opened(raw: bytes) -> Image.Image:
    if raw[4:8] == b"ftyp" and BRANDS.get(raw[8:12]) == ".heic" and AVIF not in raw[:64]:
        read_heic()
        return Image.open(io.BytesIO(raw), formats=("HEIF",))
    try:
        return Image.open(io.BytesIO(raw), formats=FORMATS)
    except UnidentifiedImageError:
        rare = ("TGA",) if raw.endswith(TGA_END) else RARE_FORMATS
        return Image.open(io.BytesIO(raw), formats=[name for name in rare if name in Image.OPEN])


@cache
def read_heic() -> None:
    """Let Pillow read HEIC by a library of its own; raise `CorruptSourceError` if that is not installed."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise CorruptSourceError(
            "a HEIC image, which needs a package that is not installed",
            run="pip install 'spectral-shards[heif]', then the same command",
        ) from error


def as_pixels(image: Image.Image, channels: int) -> npt.NDArray[np.uint8]:
    """Return the pixels (height, width, channels) of a Pillow image of any 8-bit mode; alpha is dropped."""
    converted = image if image.mode == MODES[channels] else _straight(image).convert(MODES[channels])
    return np.array(converted).reshape(image.height, image.width, channels)


def _straight(image: Image.Image) -> Image.Image:
    """Return an image whose colours were multiplied by alpha without that: Pillow converts these to no other mode."""
    return image.convert(STRAIGHT[image.mode]) if image.mode in STRAIGHT else image


def _plain_jpeg(raw: bytes, channels: int, max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of a JPEG that libjpeg-turbo decodes without a word of complaint, else None."""
    name, plain = _AS_STORED[channels]
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
        if colours not in plain:
            return None
        if int(height) * int(width) > max_pixels:
            raise _too_large(f"{height}x{width} pixels", max_pixels)
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(raw, name)
        return pixels
    except ValueError:  # its errors and, as it is strict by default, libjpeg's warnings
        return None


def _too_large(got: object, max_pixels: int) -> CorruptSourceError:
    return CorruptSourceError(
        "an image too large to be one",
        expected=f"at most {max_pixels} pixels",
        got=got,
        run="if it is one, with --max-pixels above that",
    )


@contextmanager
def _explained(max_pixels: int) -> Iterator[None]:
    """Turn whatever Pillow raises into our error; keep its warnings to itself, but for the one about bombs."""
    before = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = max_pixels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except CorruptSourceError:
        raise
    except UnidentifiedImageError as error:
        raise CorruptSourceError("not an image of a known format") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(error, max_pixels) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise CorruptSourceError("truncated or damaged image", got=f"{type(error).__name__}: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _eight_bit(image: Image.Image) -> Image.Image:
    """Read a whole image, and bring 16-bit grey to 8: Pillow would clip it at 255.

    A mode of 32 bits a pixel is what Pillow reads 16-bit grey into as well: it has the same scale, and what lies beyond
    is black or white. Floating-point and L*a*b* pixels have none that is known, or that Pillow converts.
    """
    image.load()
    if image.mode in UNSCALED:
        raise CorruptSourceError(f"{UNSCALED[image.mode]} image", expected="grey or colour, 8 or 16 bits a channel")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    grey = np.clip(np.asarray(image, np.float64), 0, 65535) / _SIXTEEN_BIT
    return Image.fromarray(np.rint(grey).astype(np.uint8))
