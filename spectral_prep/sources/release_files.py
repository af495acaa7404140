"""Releases in many files: the split that each is of, a missing one of a series, and what the classes are called."""

from __future__ import annotations

import json
import re
from pathlib import Path

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.sources.opening import explained, listed, missing

# ImageNet's test files have no labels, so validation files come first.
TEST_WORDS = ("validation", "val", "valid", "test")
NUMBERED = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})")


def split_files(dataset: str, root: Path, suffix: str) -> dict[str, list[Path]]:
    """Return the files of "train" and, where there are some, of "test", each in order of their names.

    A file belongs to the split that its name or its folder (below root) says: train, validation, val, valid or test.
    Where none says anything, all are training files.

    Raises
    ------
    InputError
        If there are none, some do not say their split, or one of a numbered series ("-00003-of-00294") is missing.
    """
    files = [root] if root.is_file() else sorted(root.rglob(f"*{suffix}"))
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise missing(dataset, root, f"files called *{suffix}", got="none" if root.is_dir() else "no folder")
    words = {
        path: set(re.split(r"[^a-z]+", str(path.relative_to(root.parent if root.is_file() else root)).lower()))
        for path in files
    }
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


def class_names(root: Path) -> tuple[str, ...] | None:
    """Return the names in classes.txt (one a line) or Hugging Face's dataset_info.json, None if neither is there.

    Raises
    ------
    CorruptSourceError
        If the file cannot be understood.
    """
    folder = root.parent if root.is_file() else root
    if (path := folder / "classes.txt").is_file():
        with explained(path):
            return tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    if (path := folder / "dataset_info.json").is_file():
        with explained(path):
            content = path.read_bytes()
        try:
            return tuple(map(str, json.loads(content)["features"]["label"]["names"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptSourceError("no class names here", where=path, expected="features.label.names") from error
    return None


def checked_names(names: tuple[str, ...] | None, largest: int, where: Path) -> tuple[str, ...]:
    """Return the names of classes 0 to `largest`; without names they are called by their numbers.

    Raises
    ------
    CorruptSourceError
        If there are fewer names.
    """
    if names is None:
        return tuple(map(str, range(largest + 1)))
    if largest >= len(names):
        raise CorruptSourceError("label out of range", where=where, expected=f"0 to {len(names) - 1}", got=largest)
    return names


def _complete(files: list[Path]) -> list[Path]:
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
