"""Releases in many files: the split that each is of, a missing one of a series, and what the classes are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.name_list import decode, text_of
from spectral_prep.sources.opening import listed, missing, parsed_json, small_file
from spectral_prep.sources.row_table import LONGEST_NAME

# ImageNet's test files have no labels, so validation files come first.
TEST_WORDS = ("validation", "val", "valid", "test")
MOST_CLASSES = 1 << 20
"""More than there are words; one label that is none must not make as many classes."""

MOST_UNNAMED = 1 << 16
"""Classes that nothing but a largest label speaks for; more have to be named."""

NUMBERED = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})")


class LargestLabel(NamedTuple):
    """The largest label of a split, and which row has it."""

    label: int
    where: str


def split_files(dataset: str, root: Place, suffix: str) -> dict[str, list[Place]]:
    """Return the files of "train" and, where there are some, of "test", each in order of their names.

    A file belongs to the split that its name or its folder (below root) says: train, validation, val, valid or test.
    Where none says anything, all are training files.

    Raises
    ------
    InputError
        If there are none, some do not say their split, or one of a numbered series ("-00003-of-00294") is missing.
    """
    alone, folder = exists(root), at(root).is_folder()
    found = [root.name] if alone else at(root).paths() if folder else []
    paths = sorted(path for path in found if path.endswith(suffix) and not path.rpartition("/")[2].startswith("."))
    if not paths:
        raise missing(dataset, root, f"files called *{suffix}", got="none" if folder else "no folder")
    files: list[Place] = [root.parent / path if alone else root / path for path in paths]
    words = {file: set(re.split(r"[^a-z]+", path.lower())) for file, path in zip(files, paths, strict=True)}
    named = {word: [path for path in files if word in words[path]] for word in ("train", *TEST_WORDS)}
    if not any(named.values()):
        return {"train": _complete(files)}
    if unknown := [path.name for path in files if not words[path] & named.keys()]:
        raise InputError(
            "files that do not say which split they are of",
            where=root,
            expected=f"train or {', '.join(TEST_WORDS)} in each file's name or folder",
            got=listed(unknown),
        )
    if not named["train"]:
        raise missing(dataset, root, "training files", got=listed(path.name for path in files))
    test = next((named[word] for word in TEST_WORDS if named[word]), [])
    return {"train": _complete(named["train"]), **({"test": _complete(test)} if test else {})}


def class_names(root: Place) -> tuple[str, ...] | None:
    """Return the names in classes.txt (one a line) or Hugging Face's dataset_info.json, None if neither is there.

    Raises
    ------
    CorruptSourceError
        If the file cannot be understood.
    """
    folder = root.parent if exists(root) else root
    if exists(path := folder / "classes.txt"):
        return bounded_names([decode(line) for line in map(bytes.strip, small_file(path).splitlines()) if line], path)
    if exists(path := folder / "dataset_info.json"):
        described = parsed_json(small_file(path), path)
        try:
            return listed_names(described["features"]["label"]["names"], path)
        except (KeyError, TypeError) as error:
            raise CorruptSourceError("no class names here", where=path, expected="features.label.names") from error
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


def checked_names(names: tuple[str, ...] | None, found: Iterable[LargestLabel]) -> tuple[str, ...]:
    """Return the names of all classes up to the largest label; without names they are called by their numbers.

    Raises
    ------
    CorruptSourceError
        If there are fewer names, or so many classes without a name that the label must be wrong.
    """
    largest = max(found, key=lambda each: each.label)
    count = MOST_UNNAMED if names is None else len(names)
    if largest.label >= count:
        raise CorruptSourceError(
            "label out of range",
            where=largest.where,
            expected=f"0 to {count - 1}",
            got=largest.label,
            run="if it is one, with the names of all classes in classes.txt" if names is None else None,
        )
    return tuple(map(str, range(largest.label + 1))) if names is None else names


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
