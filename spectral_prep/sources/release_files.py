"""Releases in many files: the split that each is of, a missing one of a series, and what the classes are called."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.ignored import Ignored, is_junk, tell_untaken
from spectral_prep.sources.image_files import Found
from spectral_prep.sources.labels import Labels
from spectral_prep.sources.name_list import text_lines, text_of
from spectral_prep.sources.opening import listed, missing, parsed_json, small_file
from spectral_prep.sources.row_table import LONGEST_NAME

TRAIN_WORDS = ("train", "training")
# ImageNet's test files have no labels, so validation files come first.
TEST_WORDS = ("validation", "val", "valid", "test", "testing")
MOST_CLASSES = 1 << 20
"""More than there are words; one label that is none must not make as many classes."""

CLASSES, DATASET_INFO = "classes.txt", "dataset_info.json"
DESCRIPTIONS = (CLASSES, DATASET_INFO)
WRITTEN = "plan.json"
"""What lies in each data set that this package writes; its tars are no source of images."""

LOG = logging.getLogger(__name__)

NUMBERED = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})")


@dataclass(frozen=True)
class SplitFiles:
    """The files of a release, each list in order of their names: those to train on, and test sets by what names them.

    The first test set that has labels is the one to take.
    """

    train: list[Place]
    test: Mapping[str, list[Place]]


def split_files(dataset: str, root: Place, suffixes: tuple[str, ...], *, to_train: bool) -> SplitFiles:
    """Return the files of each split; without any to train on only where nothing is to be trained.

    A file belongs to the split that its name says, or else the nearest folder (below root) that says one: train,
    training, validation, val, valid, test or testing. Where none says anything, all are training files.

    Raises
    ------
    InputError
        If there are none, some do not say their split or say two, or one of a numbered series ("-00003-of-00294") is
        missing.
    """
    alone, folder = exists(root), at(root).is_folder()
    found = [root.name] if alone else sorted(at(root).paths()) if folder else []
    paths = _taken(found, suffixes, root)
    if not paths:
        expected = f"files called *{' or *'.join(suffixes)}"
        raise missing(dataset, root, expected, got=(listed(found) or "nothing") if folder else "no folder")
    splits = {path: _split_of(path, root) for path in paths}
    files: dict[str, list[Place]] = {}
    for path, split in splits.items():
        files.setdefault(split or "", []).append(root.parent / path if alone else root / path)
    if set(files) == {""}:
        return SplitFiles(_complete(files[""]), {})
    if unknown := files.get(""):
        raise InputError(
            "files that do not say which split they are of",
            where=root,
            expected=f"train or {', '.join(TEST_WORDS)} in each file's name or folder",
            got=listed(path.name for path in unknown),
        )
    if "train" not in files and to_train:
        raise missing(dataset, root, "training files", got=listed(paths))
    train = _complete(files["train"]) if "train" in files else []
    return SplitFiles(train, {word: _complete(files[word]) for word in TEST_WORDS if word in files})


def labelled_splits(
    root: Place, files: SplitFiles, rows_of: Callable[[list[Place]], Found | None], labels: Labels, expected: str
) -> dict[str, Found]:
    """Return the rows of the training split, if there are files of it, and of the first test set that has labels.

    Raises
    ------
    InputError
        If none of the rows to train on has a label, or none at all; `expected` says where it would be.
    """
    found = {}
    if files.train:
        train = rows_of(files.train)
        if train is None:
            raise InputError("no row to train on has a label", where=root, expected=expected)
        found["train"] = train
        labels.training_ends()
    test = _first_labelled(root, files.test, rows_of)
    if test is not None:
        found["test"] = test
    if not found:
        raise InputError("no row has a label", where=root, expected=expected)
    return found


def _first_labelled(
    root: Place, test: Mapping[str, list[Place]], rows_of: Callable[[list[Place]], Found | None]
) -> Found | None:
    """Return the rows of the first test set that has labels; the others are named. None if there is none."""
    found, taken = None, ""
    for word, files in test.items():
        reason = f"the test images are those of {taken}"
        if not taken:
            found, reason = rows_of(files), "no row has a label"
        if found is not None and not taken:
            taken = word
            continue
        tell_untaken(f"Files of {word}, which are not converted ({reason})", root, [path.name for path in files])
    return found


def _taken(found: Sequence[str], suffixes: tuple[str, ...], root: Place) -> list[str]:
    """Return the paths that end so, but for hidden ones and those of a data set that was written here."""
    written = tuple(path.removesuffix(WRITTEN) for path in found if path.endswith(f"/{WRITTEN}"))
    paths, ignored = [], Ignored()
    for path in found:
        if any(map(path.startswith, written)):
            continue
        if not any(map(is_junk, path.split("/"))) and path.lower().endswith(suffixes):
            paths.append(path)
        elif path not in DESCRIPTIONS:
            ignored.add(path)
    ignored.tell(root)
    return paths


def _split_of(path: str, root: Place) -> str | None:
    """Return the split that a file's name says, or else its nearest folder that says just one; None if none does."""
    name, *folders = reversed(path.lower().split("/"))
    for part in (name, *folders):
        words = re.split(r"[^a-z]+", part)
        train = any(word in words for word in TRAIN_WORDS)
        test = next((word for word in TEST_WORDS if word in words), None)
        if train and test and part is name:
            raise InputError(
                "a file that is named after two splits",
                where=root,
                expected=f"train or one of {', '.join(TEST_WORDS)} in each file's name",
                got=shown(path),
            )
        if train != bool(test):
            return "train" if train else test
    return None


def class_names(root: Place) -> tuple[str, ...] | None:
    """Return the names in classes.txt (one a line) or Hugging Face's dataset_info.json, None if neither names any.

    Raises
    ------
    CorruptSourceError
        If the file cannot be understood.
    """
    folder = root.parent if exists(root) else root
    if exists(path := folder / CLASSES):
        return bounded_names([line for line in text_lines(small_file(path)) if line], path)
    if exists(path := folder / DATASET_INFO):
        described = parsed_json(small_file(path), path)
        try:
            names = described["features"]["label"]["names"]
        except (KeyError, TypeError):
            LOG.warning("%s names no classes: it has no features.label.names", path)
            return None
        return listed_names(names, path)
    return None


def listed_names(names: object, where: object) -> tuple[str, ...]:
    """Return class names that stand as a list in JSON.

    Raises
    ------
    CorruptSourceError
        If they are no list of texts, or more than there can be.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CorruptSourceError("the class names are no list of texts", where=where)
    return bounded_names(list(map(text_of, names)), where)


def bounded_names(names: list[str], where: object) -> tuple[str, ...]:
    """Return class names, unless there are too many, or one is too long, to be names of classes."""
    if len(names) > MOST_CLASSES:
        raise CorruptSourceError("too many classes", where=where, expected=f"at most {MOST_CLASSES}", got=len(names))
    if long := [name for name in names if len(name) > LONGEST_NAME]:
        raise CorruptSourceError(
            "the name of a class is too long",
            where=where,
            expected=f"at most {LONGEST_NAME} characters",
            got=f"{shown(long[0])} of {len(long[0])}",
        )
    return tuple(names)


def _complete(files: list[Place]) -> list[Place]:
    for path in files:
        if (found := NUMBERED.match(path.name)) is not None:
            numbers = {int(m[2]) for other in files if (m := NUMBERED.match(other.name)) and m[1] == found[1]}
            if lacking := sorted(set(range(int(found[4]))) - numbers):
                raise InputError(
                    "some files of a series are missing",
                    where=path.parent,
                    expected=f"{int(found[4])} files",
                    got="no " + listed(f"{found[1]}{number:05}{found[3]}{found[4]}" for number in lacking),
                )
            break
    return files
