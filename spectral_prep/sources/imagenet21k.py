"""ImageNet-21K in its two whole releases: winter21 (19,167 classes) and fall11 (21,841).

Input: winter21_whole.tar.gz or fall11_whole.tar, as downloaded (tars of class tars), their class tars, or class
folders. Output: a source that says which release it is, by the number of its classes or, for a part of it, by name.

Neither release has test images, and none are invented. To hold some out: move them to val/<wnid>/ beside train/<wnid>/.
Classes without an image stay classes, so that labels are those of the whole release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spectral_prep.errors import InputError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.folder import class_folders
from spectral_prep.sources.gzip_tar import GzipReader, is_gzip, kept_members, near
from spectral_prep.sources.ignored import Ignored
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.imagenet import WNID, class_tars, tars_in
from spectral_prep.sources.opening import contents, missing
from spectral_prep.sources.row_table import ClassNumbers
from spectral_prep.sources.split_folders import subfolders
from spectral_prep.sources.tars import WHOLE_SUFFIXES
from spectral_prep.system.staging import kept_beside

CLASSES: Mapping[str, int] = {"winter21": 19167, "fall11": 21841}
ARCHIVES = tuple(f"{release}_whole{suffix}" for release in CLASSES for suffix in WHOLE_SUFFIXES)
EXPECTED = f"one of {', '.join(ARCHIVES)}, or class tars or folders, such as n02352591.tar"


def open_imagenet21k(dataset: str, path: Place, staging: Path) -> EncodedSource:
    """Open ImageNet-21K; a gzip-compressed archive is read through twice, and its rows keep their stored order.

    Raises
    ------
    InputError
        If nothing of the release is there, or indexed_gzip is needed and not installed.
    CorruptSourceError
        If an archive is truncated or damaged.
    """
    numbers, ignored = ClassNumbers(), Ignored()
    place, found = _find(dataset, path, _Opening(numbers, ignored, kept_beside(staging)))
    ignored.tell(path)
    classes = len(numbers.sorted()[0])
    named = [release for release in CLASSES if release in f"{path.name}/{place.name}"]
    counted = [release for release, count in CLASSES.items() if count == classes]
    return assemble(staging, numbers, found, release=next(iter(counted + named), None))


@dataclass(frozen=True)
class _Opening:
    """What a release is gathered into, and where what is kept for further runs goes."""

    numbers: ClassNumbers
    ignored: Ignored
    kept: Path


def _find(dataset: str, path: Place, opening: _Opening) -> tuple[Place, dict[str, Found]]:
    if exists(path):
        return path, {"train": _archive(path, opening)}
    for folder in (path, *(path / f"{release}_whole" for release in CLASSES)):
        if not at(folder).is_folder():
            continue
        if at(folder / "train").is_folder():
            found = {"train": _classes(folder / "train", opening)}
            if at(folder / "val").is_folder():
                found["test"] = _classes(folder / "val", opening)
            return folder, found
        if tars_in(folder) or any(map(WNID.fullmatch, subfolders(folder))):
            return folder, {"train": _classes(folder, opening)}
    for name in ARCHIVES:
        if exists(path / name):
            return path / name, {"train": _archive(path / name, opening)}
    raise missing(dataset, path, EXPECTED, got=contents(path))


def _classes(folder: Place, opening: _Opening) -> Found:
    tars = tars_in(folder)
    if not tars:
        return class_folders(folder, opening.numbers, opening.ignored, empty=True)
    found = class_tars(tars, opening.numbers, opening.ignored, empty=True)
    if any(map(WNID.fullmatch, subfolders(folder))):
        _refuse_both(folder, found, class_folders(folder, ClassNumbers(), Ignored(), empty=True))
    return found


def _refuse_both(folder: Place, tars: Found, folders: Found) -> None:
    """Refuse class folders beside class tars that do not hold the same number of images: some would be lost."""
    if len(tars.rows) != len(folders.rows):
        raise InputError(
            "class folders stand beside class tars, and do not hold the same images",
            where=folder,
            expected="either, or both whole",
            got=f"{len(tars.rows)} images in tars, {len(folders.rows)} in folders",
            run="the same command, once either are elsewhere",
        )


def _archive(path: Place, opening: _Opening) -> Found:
    numbers, ignored, kept = opening.numbers, opening.ignored, opening.kept
    if not is_gzip(path):
        return class_tars([path], numbers, ignored, empty=True)
    path = near(path, kept)
    archive = Archive.of(path)
    found = class_tars(
        [path], numbers, ignored, empty=True, index=lambda tars: ((0, each) for each in kept_members(*tars[0], kept))
    )
    return Found(found.rows, lambda staged: GzipReader.over(staged, [archive], kept), sort=False)
