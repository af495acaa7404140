"""Which folders of a tree are its training and its test images, and where that cannot be told.

Input: a folder of class folders, or of splits that hold class folders. Output: the names of the two splits. A layout
that could be meant in another way is refused with what to run instead; folders that are seen and not taken are named.

1. train/ or training/ holds the training images. Without either, every folder is a class: unless the names say that
   they are splits (seg_train, seg_test), or the classes stand one level deeper.
2. The first of test/, val/, validation/, valid/ and testing/ that has class folders holds the test images; it may stand
   alone where nothing is to be trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from spectral_prep.errors import InputError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place
from spectral_prep.sources.ignored import is_junk, tell_untaken
from spectral_prep.sources.opening import contents, explained, is_image, listed, missing

TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "val", "validation", "valid", "testing")
# Tiny-ImageNet's official val/ and test/ hold one folder of this name and no classes.
NOT_A_CLASS = "images"
ANNOTATIONS = "val_annotations.txt"
EXPECTED = "a folder with train/<class>/ and val/<class>/, or with <class>/ folders, of image files"
FEW = 8
"""As many folders may be splits and what lies beside them; classes called "bullet train" and "test tube" are more."""


def subfolders(folder: Place) -> list[str]:
    """Return the names of the folders in a folder, in order, without hidden ones and those of operating systems."""
    with explained(folder):
        return [name for name in at(folder).folders() if not is_junk(name)]


def find_splits(dataset: str, root: Place, *, to_train: bool = True) -> tuple[str | None, str | None]:
    """Return the folders of training and test images, below root; None for one that is not there.

    Raises
    ------
    InputError
        If there are none, or the folders may be splits and classes alike.
    """
    if not at(root).is_folder():
        raise missing(dataset, root, EXPECTED, got="a file" if exists(root) else "nothing there")
    folders = subfolders(root)
    train = next((name for name in TRAIN_FOLDERS if name in folders), None)
    if train is None and not to_train and folders and set(folders) <= set(TEST_FOLDERS):
        return None, _test_set_alone(dataset, root, folders)
    if train is None:
        _require_classes(dataset, root, folders)
        return "", None
    classes = subfolders(root / train)
    if not classes:
        raise missing(dataset, root / train, "one folder a class", got="no folders")
    _refuse_one_level_too_high(root / train, classes)
    test = _test_set(root, folders, classes)
    tell_untaken(
        "Folders that are not converted" + (f" (the test images are those of {test})" if test else ""),
        root,
        [name for name in folders if name not in (train, test)],
    )
    tell_loose(root)
    return train, test


def has_classes(folder: Place, trained: Iterable[str] = ()) -> bool:
    """Whether a test set comes in class folders; one called "images" is none, unless it is a class in training."""
    return bool(set(subfolders(folder)) - ({NOT_A_CLASS} - set(trained)))


def _test_set(root: Place, folders: Sequence[str], classes: Iterable[str] = ()) -> str | None:
    """Return the first folder of a test set in which each image has its class."""
    for name in TEST_FOLDERS:
        if name in folders and (has_classes(root / name, classes) or exists(root / name / ANNOTATIONS)):
            return name
    return None


def _test_set_alone(dataset: str, root: Place, folders: Sequence[str]) -> str:
    test = _test_set(root, folders)
    if test is None:
        where = root / folders[0] if len(folders) == 1 else root
        raise missing(dataset, where, f"one folder a class, or {ANNOTATIONS} beside the images", got=contents(where))
    if not exists(root / test / ANNOTATIONS):
        _refuse_one_level_too_high(root / test, subfolders(root / test))
    tell_untaken(
        f"Folders that are not read (the test images are those of {test})",
        root,
        [name for name in folders if name != test],
    )
    tell_loose(root)
    return test


def tell_loose(folder: Place) -> None:
    """Name the images that lie beside class folders."""
    loose = [name for name in at(folder).names() if is_image(name)]
    tell_untaken("Images outside all class folders, which are not converted", folder, loose)


def _require_classes(dataset: str, root: Place, folders: Sequence[str]) -> None:
    """Refuse a folder without train/ whose folders may be something else than classes."""
    if not folders or set(folders) <= set(TEST_FOLDERS):
        raise missing(dataset, root, EXPECTED, got=listed(folders) if folders else "no folders")
    if mistaken := [name for name in folders if name.lower() in (*TRAIN_FOLDERS, *TEST_FOLDERS)]:
        raise missing(dataset, root, "the training images in train/, or nothing but class folders", listed(mistaken))
    splits = {name: kind for name in folders if (kind := _split_of(name)) is not None}
    if len(folders) <= FEW and (len(splits) == len(folders) or len(set(splits.values())) == 2):
        raise InputError(
            "folders that are called like splits stand where classes are expected",
            where=root,
            expected=EXPECTED,
            got=listed(folders),
            run="; ".join(f"mv {root / name} {root / kind}" for name, kind in splits.items())
            + ": one folder called train, one called test; then the same command",
        )
    _refuse_one_level_too_high(root, folders)


def _refuse_one_level_too_high(root: Place, folders: Sequence[str]) -> None:
    """Refuse folders that hold splits, and a single one that holds nothing but folders."""
    if len(folders) > FEW:
        return
    for name in folders:
        inner = subfolders(root / name)
        kinds = {_split_of(each) for each in inner if len(inner) <= FEW} - {None}
        nested = len(folders) == 1 and len(inner) > 1 and not any(map(is_image, at(root / name).names()))
        if len(kinds) == 2 or (set(TRAIN_FOLDERS) & set(inner)) or nested:
            raise InputError(
                "what looks like splits or classes stands one level deeper",
                where=root,
                expected=EXPECTED,
                got=f"{name}/ with {listed(f'{each}/' for each in inner)}",
                run=f"the same command with --source {root / name}",
            )


def _split_of(name: str) -> str | None:
    """Return "train" or "test" for a name that says one of them and not the other.

    >>> _split_of("seg_train"), _split_of("val2017"), _split_of("trains"), _split_of("train-test")
    ('train', 'test', None, None)
    """
    words = set(re.findall("[a-z]+", name.lower()))
    train, test = bool(words & set(TRAIN_FOLDERS)), bool(words & set(TEST_FOLDERS))
    return None if train == test else "train" if train else "test"
