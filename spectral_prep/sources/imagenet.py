"""ImageNet-1K (ILSVRC2012): the archives as downloaded, the extracted tree, or some of each.

Training images: ILSVRC2012_img_train.tar (a tar of class tars), those class tars in train/, or class folders in train/.
Validation images: ILSVRC2012_img_val.tar, val/ with all images in one folder, or class folders in val/. Where the
images do not stand in class folders their classes come from the development kit, ILSVRC2012_devkit_t12 (extracted or
.tar.gz), or from Kaggle's LOC_val_solution.csv. Nothing is extracted, and every form gives the same rows.
"""

from __future__ import annotations

import csv
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at, exists, is_there
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.archive import ARCHIVES_AT_ONCE, Archive
from spectral_prep.sources.folder import class_folders, classes_without_images, flat_folder
from spectral_prep.sources.ignored import Ignored, tell_untaken
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.matlab import matlab_variables
from spectral_prep.sources.name_list import text_of
from spectral_prep.sources.opening import (
    EXTENSIONS,
    contents,
    is_image,
    missing,
    no_images,
    open_plain,
    small_file,
    small_lines,
)
from spectral_prep.sources.row_table import SPAN, ClassNumbers, RowTable, Span
from spectral_prep.sources.sniff import HEAD_BYTES, is_image_content
from spectral_prep.sources.split_folders import TEST_FOLDERS, has_classes, subfolders
from spectral_prep.sources.tar_header import BoundedHeader
from spectral_prep.sources.tar_reader import TarReader
from spectral_prep.sources.tars import (
    TAR,
    WHOLE_SUFFIXES,
    Member,
    Run,
    class_and_folder,
    indexed,
    members,
)

TREES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12"
META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
SOLUTION = "LOC_val_solution.csv"
WNID = re.compile(r"n\d{8}")
VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.")
SUFFIXES = tuple(extension.encode() for extension in EXTENSIONS)
HIDDEN = ord(".")
LARGEST_META = 1 << 24
"""Bytes of the development kit's list of classes without compression."""

LARGEST_TRUTH = 1 << 20
"""Bytes of its labels of 50,000 images."""

EXPECTED = f"{TRAIN_TAR}, or train/<wnid>/ of image files"

ClassOf = Callable[[str], str]


def open_imagenet(dataset: str, path: Place, staging: Path, *, to_train: bool = True) -> EncodedSource:
    """Open ImageNet-1K in any of its forms; only names and places go into the scratch folder.

    A part of ImageNet may have validation classes without training images; they are classes all the same. Without
    validation images there is no test split; they may stand alone where nothing is to be trained.

    Raises
    ------
    InputError
        If there are no images to train on, or none at all, a class has none, or validation images have no labels.
    CorruptSourceError
        If an archive or the development kit is truncated or damaged.
    """
    root = path.parent if exists(path) else path
    numbers, ignored = ClassNumbers(), Ignored()
    found = {}
    if (train := _train(root, numbers, ignored)) is not None:
        found["train"] = train
    elif to_train:
        raise missing(dataset, root, EXPECTED, got=contents(root))
    if (validation := _validation(root, numbers, ignored, to_train=to_train)) is not None:
        found["test"] = validation
    if not found:
        raise missing(dataset, root, f"{EXPECTED}; or {VAL_TAR}, or val/", got=contents(root))
    ignored.tell(root)
    return assemble(staging, numbers, found)


def class_tars(
    archives: Iterable[Place],
    numbers: ClassNumbers,
    ignored: Ignored,
    *,
    empty: bool = False,
    index: Callable[[Sequence[tuple[Place, str]]], Iterator[tuple[int, Member | Run]]] = indexed,
) -> Found:
    """Return the images in tars of class tars or of class folders; an archive called <class>.tar may be a class tar.

    With another `index`, that of a compressed archive, an image is known by its name alone.

    Raises
    ------
    InputError
        If a class holds no image, unless `empty`.
    CorruptSourceError
        If an archive is truncated or damaged.
    """
    rows, filled, loose, paths = RowTable(), set[str](), list[str](), list(archives)
    with ThreadPoolExecutor(ARCHIVES_AT_ONCE) as pool:
        looked_at = list(pool.map(Archive.of, paths))
    tars = [path.stem if WNID.fullmatch(path.stem) else "" for path in paths]
    for name in filter(None, tars):
        numbers.number(name)
    for number, found in index(list(zip(paths, tars, strict=True))):
        if isinstance(found, Run) and _add_run(found, number, numbers, rows):
            filled.add(text_of(found.tar))
            continue
        for member in found.members() if isinstance(found, Run) else (found,):
            name, folder = class_and_folder(member)
            if not name:
                loose += [member.path] if is_image(member.path) else []
                continue
            label = numbers.number(name)
            if is_image(member.path) or (index is indexed and _begins_as_image(looked_at[number], member)):
                rows.add(folder, member.path.rpartition("/")[2], label, Span(member.offset, member.size, number))
                filled.add(text_of(name))
            elif member.path:
                ignored.add(member.path)
    tell_untaken("Images outside all classes, which are not converted", paths[0].parent, loose)
    if (without := sorted(set(numbers.sorted()[0]) - filled)) and not empty:
        raise classes_without_images(Path(looked_at[0].path), without)
    return Found(rows, lambda staged: TarReader.over(staged, looked_at))


def _add_run(run: Run, archive: int, numbers: ClassNumbers, rows: RowTable) -> bool:
    """Add the files of a class tar as rows, if all are images that lie in no folder; else none."""
    names = run.files.names
    lowered = [name.lower() for name in names]
    if not run.tar or not all(name.endswith(SUFFIXES) and name[0] != HIDDEN for name in lowered):
        return False
    if b"/" in b"".join(names):
        return False
    spans = np.empty(len(names), SPAN)
    spans["offset"], spans["size"], spans["archive"] = run.files.offsets, run.files.sizes, archive
    rows.add_files(run.tar, names, numbers.number(run.tar), spans)
    return True


def tars_in(folder: Place) -> list[Place]:
    """Return what is called as class tars in a folder, in order: a folder of that name is refused when it is opened."""
    here = at(folder)
    names = here.children() if here.is_folder() else []
    return [folder / name for name in names if name.endswith(TAR) and WNID.fullmatch(name[: -len(TAR)])]


def require_whole(taken: Found, where: Place, other: Found, archive: object) -> None:
    """Refuse images that were extracted from an archive beside them, if the archive has more: it stopped half-way.

    Raises
    ------
    InputError
        With both counts.
    """
    if len(other.rows) > len(taken.rows):
        raise InputError(
            "an archive holds more images than were extracted from it",
            where=where,
            expected=f"the {len(other.rows)} images of {archive}",
            got=len(taken.rows),
            run=f"the same command once they are extracted, or with {where} elsewhere, or with the archive elsewhere",
        )


def _begins_as_image(archive: Archive, member: Member) -> bool:
    """Whether a member whose name says nothing is an image by its content."""
    return bool(member.path) and is_image_content(archive.read(member.offset, min(HEAD_BYTES, member.size)))


def _train(root: Place, numbers: ClassNumbers, ignored: Ignored) -> Found | None:
    archive = _near(root, TRAIN_TAR)
    for folder in (root / tree / "train" for tree in TREES):
        tars = tars_in(folder)
        if at(folder).is_folder() and subfolders(folder):
            found = class_folders(folder, numbers, ignored)
            if tars:
                require_whole(found, folder, class_tars(tars, ClassNumbers(), Ignored(), empty=True), f"{folder}/*.tar")
        elif tars:
            found = class_tars(tars, numbers, ignored)
        else:
            continue
        if archive is not None:
            require_whole(found, folder, class_tars([archive], ClassNumbers(), Ignored(), empty=True), archive)
        return found
    if archive is not None:
        return class_tars([archive], numbers, ignored)
    if at(root).is_folder() and any(map(WNID.fullmatch, subfolders(root))):
        return class_folders(root, numbers, ignored)
    return None


def _validation(root: Place, numbers: ClassNumbers, ignored: Ignored, *, to_train: bool) -> Found | None:
    archive = _near(root, VAL_TAR)
    folders = [root / tree / name for tree in TREES for name in TEST_FOLDERS]
    folders = [folder for folder in folders if at(folder).is_folder()]
    for folder in folders:
        if has_classes(folder):
            found = class_folders(folder, numbers, ignored)
        elif any(VAL_NAME.match(name) for name in at(folder).names()):
            found = flat_folder(folder, _class_of(root, folder, to_train=to_train), numbers, ignored)
        else:
            continue
        if archive is not None:
            require_whole(found, folder, _flat_tar(archive, lambda _: "", ClassNumbers(), Ignored()), archive)
        tell_untaken("Folders that are not converted", root, [str(each) for each in folders if each != folder])
        return found
    return (
        None if archive is None else _flat_tar(archive, _class_of(root, archive, to_train=to_train), numbers, ignored)
    )


def _flat_tar(archive: Place, class_of: ClassOf, numbers: ClassNumbers, ignored: Ignored) -> Found:
    rows, looked_at = RowTable(), Archive.of(archive)
    for member in members(archive):
        if is_image(member.path):
            name = member.path.rpartition("/")[2]
            label = class_of(name)
            rows.add(label, name, numbers.number(label), Span(member.offset, member.size, 0))
        elif member.path:
            ignored.add(member.path)
    if not len(rows):
        raise no_images(archive)
    return Found(rows, lambda staged: TarReader.over(staged, [looked_at]))


def _near(root: Place, name: str) -> Place | None:
    """Return the file or folder of this name in a folder or one level below it."""
    folders = at(root).folders() if at(root).is_folder() else []
    found = (folder / name for folder in (root, *(root / each for each in folders)))
    return next((place for place in found if is_there(place)), None)


def _class_of(root: Place, images: Place, *, to_train: bool) -> ClassOf:
    """Return what gives the class of a validation image's file name.

    Raises
    ------
    InputError
        If neither the development kit nor Kaggle's list of labels is there.
    CorruptSourceError
        If it is damaged, or (from the returned function) has no label for a name.
    """
    for name in (DEVKIT, *(f"{DEVKIT}{suffix}" for suffix in WHOLE_SUFFIXES)):
        if (devkit := _near(root, name)) is not None:
            return _devkit_classes(devkit)
    if (solution := _near(root, SOLUTION)) is not None:
        return _kaggle_classes(solution)
    without = "; or, for training rows alone, with the validation images elsewhere" if to_train else ""
    raise InputError(
        "the validation images have no labels",
        where=images,
        expected=f"{DEVKIT}.tar.gz (or its folder, or Kaggle's {SOLUTION}) in {root}",
        got=contents(root),
        run=f"the same command with {DEVKIT}.tar.gz from the same download page beside the images{without}",
    )


def _devkit_classes(devkit: Place) -> ClassOf:
    meta, truth = _devkit_files(devkit)
    wnids, where = _leaf_classes(meta, devkit), f"{devkit}!{TRUTH}"
    try:
        labels = [wnids[int(line)] for line in truth.split()]
    except (ValueError, KeyError) as error:
        raise CorruptSourceError("not an id of a class among the labels", where=where, got=error) from error

    def class_of(name: str) -> str:
        found = VAL_NAME.match(name)
        if found is None or not 1 <= int(found[1]) <= len(labels):
            expected = f"ILSVRC2012_val_00000001.JPEG to {len(labels):08}"
            raise CorruptSourceError(f"no label for {shown(name)}", where=where, expected=expected)
        return labels[int(found[1]) - 1]

    return class_of


def _devkit_files(devkit: Place) -> tuple[bytes, bytes]:
    """Return meta.mat and the ground truth of an extracted or packed development kit."""
    if at(devkit).is_folder():
        return small_file(devkit / META, LARGEST_META), small_file(devkit / TRUTH, LARGEST_TRUTH)
    found: dict[str, bytes] = {}
    with open_plain(devkit) as plain, tarfile.open(fileobj=plain, mode="r|", tarinfo=BoundedHeader) as tar:
        for member in tar:
            for wanted, most in ((META, LARGEST_META), (TRUTH, LARGEST_TRUTH)):
                if member.name.endswith(wanted) and member.size <= most:
                    file = tar.extractfile(member)
                    found[wanted] = file.read() if file else b""
    if lacking := [name for name in (META, TRUTH) if not found.get(name)]:
        raise CorruptSourceError("the development kit is not whole", where=devkit, expected=", ".join(lacking))
    return found[META], found[TRUTH]


def _leaf_classes(meta: bytes, devkit: Place) -> dict[int, str]:
    """Return the WNID of each id of a class: the synsets that have no children, 1 to 1000."""
    try:
        synsets = matlab_variables(meta, LARGEST_META)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if not int(row["num_children"])}
    except Exception as error:  # whatever scipy meets in a damaged file
        raise CorruptSourceError("damaged list of classes", where=f"{devkit}!{META}", got=error) from error


def _kaggle_classes(solution: Place) -> ClassOf:
    """Return the classes of lines such as "ILSVRC2012_val_00048981,n03995372 85 1 499 272"."""
    lines = (line.decode("utf-8", "surrogateescape") for line in small_lines(solution))
    try:
        rows = (row for row in csv.reader(lines) if len(row) > 1 and row[1].strip() and VAL_NAME.match(f"{row[0]}."))
        classes = {row[0]: row[1].split(maxsplit=1)[0] for row in rows}
    except csv.Error as error:
        raise CorruptSourceError("damaged list of classes", where=solution, got=error) from error

    def class_of(name: str) -> str:
        label = classes.get(name.partition(".")[0])
        if label is None:
            raise CorruptSourceError(f"no label for {shown(name)}", where=solution, expected="a line for each image")
        return label

    return class_of
