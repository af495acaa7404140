"""What will be done, fixed before the first image is converted: the plan.

Input: a source and what the user asked for. Output: a `Plan`, from which every byte of the output follows: the
transform, the encoding, the order of the rows and the boundaries of the blocks. It is written once and never again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np

from spectral_prep.conversion.calibrate import Calibration, calibrated
from spectral_prep.conversion.execution import BY_DEFAULT, Execution
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.sample import training_sample
from spectral_prep.encoding import Encoding
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.grid import SpectralSpec, parse_q
from spectral_prep.images.decode import MAX_PIXELS
from spectral_prep.images.load import Geometry, image_size
from spectral_prep.images.views import choose_augmentation
from spectral_prep.sources.interface import RowIndex, Source
from spectral_prep.store import STORES
from spectral_prep.store.plan_record import Plan, SplitPlan

SIZE_SAMPLE_ROWS = 64
CHUNK_BYTES = 512 << 10
CHUNK_ROWS = (64, 2048)
PART_BYTES = 32 << 20
BLOCK_ROWS = 8192
FEW_BLOCKS = 64
FEWEST_BLOCK_ROWS = 128
FEWEST_BLOCK_BYTES = 4 << 20
MOST_PARTS = 1800


def choose_geometry(source: Source, index: Mapping[str, RowIndex], request: Request) -> Geometry:
    """Decide the size of the images that are converted.

    Without `request.size`: what all images of the source share; for ImageNet 224 after a resize of the short side to
    256; for other encoded images the size of a seeded sample of 64 if they all agree.

    Raises
    ------
    InputError
        If the images differ and no `size` was given.
    """
    size, resize, imagenet = request.size, request.resize, request.dataset in ("imagenet", "imagenet21k")
    limit = request.max_pixels or MAX_PIXELS
    if size is None and imagenet:
        size = 224
    if size is not None:
        channels = source.image_shape[2] if source.image_shape else 3
        ratio = 256 / 224 if imagenet else 1
        return Geometry(size, size, channels, resize or round(size * ratio), limit)
    if resize is not None:
        raise InputError("--resize without --size", expected="both", run=f"the same command with --size {resize}")
    if source.image_shape is not None:
        return Geometry(*source.image_shape, resize=None)
    sizes: set[tuple[int, int]] = set()
    for row in training_sample(source, index, SIZE_SAMPLE_ROWS, request.seed):
        with contextlib.suppress(CorruptSourceError):  # a bad image is reported when its block is converted
            sizes.add(image_size(source.read(*row), limit))
    if len(sizes) != 1:
        examples = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:3]) or "no readable image"
        raise InputError("the images do not share one size", got=examples, run="the same command with --size 224")
    return Geometry(*sizes.pop(), channels=3, resize=None, max_pixels=limit)


def make_plan(
    source: Source,
    index: Mapping[str, RowIndex],
    index_sha256: Mapping[str, str],
    request: Request,
    fixed: Plan | None = None,
    execution: Execution = BY_DEFAULT,
) -> Plan:
    """Decide everything; images are read only to calibrate int8 and to learn their size.

    What the user did not ask for is as in the plan that is `fixed` already, if there is one: the scalars of int8, which
    are not calibrated again, and the rows of a block, which an older version may have chosen.

    By how many processes and in how much memory int8 is calibrated, `execution` says.

    Of a selection, `source` and `index` have the selected rows alone.

    Raises
    ------
    InputError
        If the source holds no training rows, cannot be shuffled, or `q` does not divide the images.
    """
    if not len(index.get("train", RowIndex((), np.empty(0, np.int32))).names):
        raise InputError("no training images", where=request.dataset)
    if request.shuffle == "global" and not source.random_access:
        raise InputError(
            "these images can only be read one after the other, so training rows cannot be stored in a shuffled order",
            where=request.dataset,
            expected="a source that can be read at any place: an uncompressed tar, or the extracted files",
            run="the same command with --shuffle none (training then shuffles what it loads)",
        )
    geometry = choose_geometry(source, index, request)
    spec = SpectralSpec(*parse_q(request.q, geometry.height, geometry.width), request.layout, request.transform)
    augmentation = choose_augmentation(request.augmentation, geometry) if request.views else None
    encoding = fixed.encoding if fixed is not None else None
    if encoding is None or encoding.dtype != request.dtype:
        if request.dtype == "int8":
            calibration = Calibration(geometry, spec, request.seed, augmentation, 1 + request.views)
            encoding = calibrated(source, index["train"], calibration, request.psnr, execution)
        else:
            encoding = Encoding(request.dtype)
    row_bytes = geometry.values * encoding.itemsize
    views = {name: 1 + request.views if name == "train" else 1 for name in index}
    images = {name: len(each.names) for name, each in index.items()}
    rows = sum(views[name] * count for name, count in images.items())
    usual = dict.fromkeys(index, _block_rows(sum(images.values()), rows, row_bytes, spec.q))
    if request.views:
        usual["train"] = _shared_block_rows(images["train"], rows, views["train"], row_bytes, spec.q, usual["train"])
    before = {name: part.block_rows for name, part in fixed.splits.items()} if fixed is not None else {}
    wanted = {name: request.block_rows or before.get(name, usual[name]) for name in index}
    splits = {
        name: _split_plan(count, views[name], row_bytes, spec.q, wanted[name], index_sha256[name])
        for name, count in images.items()
        if count
    }
    return Plan(
        request.dataset,
        source.fingerprint,
        source.classes,
        geometry,
        spec,
        encoding,
        request.format,
        request.compression or STORES[request.format].compressions[0],
        request.seed,
        request.shuffle,
        splits,
        augmentation,
        request.selection,
        request.name,
        request.psnr,
    )


def _block_rows(images: int, rows: int, row_bytes: int, q: int) -> int:
    """Return how many rows a block has, for so many images, and rows of so many bytes over all spectrals.

    At least 64 blocks a view, so that no worker waits long for the last one, unless they then had fewer than 128 rows
    or 4 MiB of pixels: small files take longer than what is in them. At most parts of 32 MiB before compression, some
    seconds of work, which is what a kill can cost (times the views), and at most 8192 rows; with views both may be a
    quarter more. At most 1800 parts a spectral in all, so that 14 million rows still give fewer than 2000 files a
    folder.
    """
    shared = max(-(-images // FEW_BLOCKS), FEWEST_BLOCK_ROWS, -(-FEWEST_BLOCK_BYTES // row_bytes))
    return max(1, min(PART_BYTES * q // row_bytes, BLOCK_ROWS, shared), -(-rows // MOST_PARTS))


def _shared_block_rows(images: int, rows: int, views: int, row_bytes: int, q: int, usual: int) -> int:
    """Return how many rows a block of views has: about as many as usual, so that images are nearly a multiple of it.

    Blocks of all views then hold nearly the same images, and few are decoded twice (`store.block_groups`).
    """

    def apart(wanted: int) -> float:
        block_rows = _split_plan(images, views, row_bytes, q, wanted, "").block_rows
        return -images % block_rows / block_rows

    fewest = max(min(usual * 3 // 4, images), -(-rows // MOST_PARTS), 1)
    return min(range(fewest, max(fewest, min(usual * 5 // 4, images)) + 1), key=apart)


def _split_plan(images: int, views: int, row_bytes: int, q: int, block_rows: int, index_sha256: str) -> SplitPlan:
    rows = images * views
    fewest, most = CHUNK_ROWS
    chunk = min(max(fewest, min(most, CHUNK_BYTES * q // row_bytes)), rows, block_rows)
    chunks = -(-min(block_rows, rows) // chunk)
    if views > 1:  # chunks are as many, and smaller, so that a block has the rows that suit the images
        chunk = -(-min(block_rows, rows) // chunks)
    return SplitPlan(rows, chunks * chunk, chunk, index_sha256, views)
