"""ImageNet-21K in its two whole releases: winter21 (19,167 classes) and fall11 (21,841).

Input: winter21_whole.tar.gz or fall11_whole.tar, as downloaded (tars of class tars), their class tars, or class
folders. Output: a source that says which release it is, by the number of its classes or, for a part of it, by name.

Neither release has test images, and none are invented. To hold some out: move them to val/<wnid>/ beside train/<wnid>/.
Classes without an image stay classes, so that labels are those of the whole release.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from spectral_prep.places import at, copy_to, exists
from spectral_prep.places.url import Place
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.folder import class_folders, subfolders
from spectral_prep.sources.gzip_tar import GzipReader, is_gzip, kept_members
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.imagenet import WNID, class_tars, tars_in
from spectral_prep.sources.opening import contents, missing
from spectral_prep.sources.row_table import ClassNumbers
from spectral_prep.sources.tars import WHOLE_SUFFIXES
from spectral_prep.system.staging import SCRATCH, kept_beside

CLASSES: Mapping[str, int] = {"winter21": 19167, "fall11": 21841}
ARCHIVES = tuple(f"{release}_whole{suffix}" for release in CLASSES for suffix in WHOLE_SUFFIXES)
EXPECTED = f"one of {', '.join(ARCHIVES)}, or class tars or folders, such as n02352591.tar"


LOG = logging.getLogger(__name__)


def open_imagenet21k(dataset: str, path: Place, staging: Path) -> EncodedSource:
    """Open ImageNet-21K; a gzip-compressed archive is read through twice, and its rows keep their stored order.

    Raises
    ------
    InputError
        If nothing of the release is there, or indexed_gzip is needed and not installed.
    CorruptSourceError
        If an archive is truncated or damaged.
    """
    numbers = ClassNumbers()
    place, found = _find(dataset, path, numbers, kept_beside(staging))
    classes = len(numbers.sorted()[0])
    named = [release for release in CLASSES if release in f"{path.name}/{place.name}"]
    counted = [release for release, count in CLASSES.items() if count == classes]
    return assemble(staging, numbers, found, release=next(iter(counted + named), None))


def _find(dataset: str, path: Place, numbers: ClassNumbers, kept: Path) -> tuple[Place, dict[str, Found]]:
    if exists(path):
        return path, {"train": _archive(path, numbers, kept)}
    for folder in (path, *(path / f"{release}_whole" for release in CLASSES)):
        if not at(folder).is_folder():
            continue
        if at(folder / "train").is_folder():
            found = {"train": _classes(folder / "train", numbers)}
            if at(folder / "val").is_folder():
                found["test"] = _classes(folder / "val", numbers)
            return folder, found
        if tars_in(folder) or any(map(WNID.fullmatch, subfolders(folder))):
            return folder, {"train": _classes(folder, numbers)}
    for name in ARCHIVES:
        if exists(path / name):
            return path / name, {"train": _archive(path / name, numbers, kept)}
    raise missing(dataset, path, EXPECTED, got=contents(path))


def _classes(folder: Place, numbers: ClassNumbers) -> Found:
    tars = tars_in(folder)
    return class_tars(tars, numbers, empty=True) if tars else class_folders(folder, numbers, empty=True)


def _archive(path: Place, numbers: ClassNumbers, kept: Path) -> Found:
    if not is_gzip(path):
        return class_tars([path], numbers, empty=True)
    path = _copied(path, kept)
    archive = Archive.of(path)
    found = class_tars(
        [path], numbers, empty=True, index=lambda tars: ((0, each) for each in kept_members(*tars[0], kept))
    )
    return Found(found.rows, lambda staged: GzipReader.over(staged, archive, kept), sort=False)


def _copied(path: Place, kept: Path) -> Path:
    """Return a path of a gzip-compressed archive: of one in a bucket a copy, since its seek points need all of it."""
    if isinstance(path, Path):
        return path
    copy = kept / Archive.of(path).key / path.name
    if not copy.exists():
        LOG.warning("Copying %s to %s: a compressed archive cannot be read in place", path, copy)
        copy_to(copy, path, SCRATCH)
    return copy
