"""WebDataset tars, such as imagenet1k-train-{0000..1023}.tar: samples of files that share a key.

Input: a folder of tars. Each sample is an image (<key>.jpg, .jpeg, .png, …) beside its label: a number in <key>.cls,
or "label" in <key>.json. Output: a source that reads images in place, in any order. Rows are called "tar/key.jpg".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from spectral_prep.errors import CorruptSourceError
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.opening import EXTENSIONS, LARGEST_TEXT, listed
from spectral_prep.sources.release_files import LargestLabel, checked_names, class_names, split_files
from spectral_prep.sources.row_table import RowTable, Span
from spectral_prep.sources.tars import TAR, Member, TarReader, members
from spectral_prep.system.json_text import json_value

Sample = tuple[str, dict[str, Member]]
MOST_FAULTS = 1000
MOST_VALUES = 1 << 16
"""Of the JSON of a sample, counted as `json_value` does."""


def open_webdataset(dataset: str, path: Place, staging: Path) -> EncodedSource:
    """Open WebDataset tars; only names and places go into the scratch folder.

    Class names come from classes.txt or dataset_info.json beside the tars; otherwise classes are called "0", "1", ….

    Raises
    ------
    InputError
        If there are no tars, or some do not say their split.
    CorruptSourceError
        If a tar is truncated or damaged, or samples lack an image or a label, have one twice, or one out of range.
    """
    splits = split_files(dataset, path, TAR)
    gathered = {name: _rows(files) for name, files in splits.items()}
    classes = checked_names(class_names(path), (largest for _, largest in gathered.values()))
    return assemble(staging, classes, {name: found for name, (found, _) in gathered.items()})


def _rows(files: Sequence[Place]) -> tuple[Found, LargestLabel]:
    """Return the samples of a split and the largest label."""
    rows, archives, faults = RowTable(), [Archive.of(path) for path in files], list[str]()
    largest = LargestLabel(0, "")
    for number, (path, archive) in enumerate(zip(files, archives, strict=True)):
        before = len(rows) + len(faults)
        for key, parts in _samples(path):
            images = [extension for extension in parts if f".{extension}" in EXTENSIONS]
            label = _label(archive, parts)
            if len(images) != 1 or not isinstance(label, int):
                problem = label if isinstance(label, str) else f"{len(images)} images"
                faults.append(f"{path.name}!{shown(key)} ({problem}; it holds {listed(parts)})")
                continue
            folder, _, base = f"{path.stem}/{key}".rpartition("/")
            image = parts[images[0]]
            rows.add(folder, f"{base}.{images[0]}", label, Span(image.offset, image.size, number))
            if label > largest.label:
                largest = LargestLabel(label, f"{path}!{shown(key)}")
        if len(rows) + len(faults) == before:
            raise CorruptSourceError("no sample in it", where=path, expected="an image and its label, at least once")
        if len(faults) > MOST_FAULTS:
            break
    if faults:
        raise CorruptSourceError(
            f"{len(faults)} samples cannot be used",
            where=files[0].parent,
            expected='one image (.jpg, .png, …) and a number (in .cls, or "label" in .json) for each key',
            got=listed(faults),
        )
    return Found(rows, lambda staged: TarReader.over(staged, archives)), largest


def _samples(path: Place) -> Iterator[Sample]:
    """Yield each key with its members by extension; the members of one sample follow one another."""
    key, parts = "", dict[str, Member]()
    for member in members(path):
        folder, slash, file = member.path.rpartition("/")
        base, _, extension = file.partition(".")
        if folder + slash + base != key:
            if parts:
                yield key, parts
            key, parts = folder + slash + base, {}
        if extension.lower() in parts:
            raise CorruptSourceError(f"{member.path} is there twice", where=path, expected="each key once")
        if member.path:
            parts[extension.lower()] = member
    if parts:
        yield key, parts


def _label(archive: Archive, parts: dict[str, Member]) -> int | str:
    """Return the label of a sample, or what is wrong with it."""
    found = parts.get("cls") or parts.get("json")
    if found is None:
        return "no label"
    if found.size > LARGEST_TEXT:
        return f"a label of {found.size} bytes"
    content = archive.read(found.offset, found.size)
    try:
        label = int(content) if "cls" in parts else json_value(content, MOST_VALUES)["label"]
        return label if isinstance(label, int) and 0 <= label < 1 << 31 else f"label {shown(repr(label))}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"label {content[:40]!r}"
