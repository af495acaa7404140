"""WebDataset tars, such as imagenet1k-train-{0000..1023}.tar: samples of files that share a key.

Input: a folder of tars, compressed (.tar.gz, .tgz) or not. Each sample is an image (<key>.jpg, .jpeg, .png, …) beside
its label: a number or the name of a class in <key>.cls, or "label" in <key>.json. Output: a source that reads images in
place, in any order; if any tar is compressed in their stored order. Rows are called "tar/key.jpg".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from spectral_prep.errors import CorruptSourceError
from spectral_prep.places import at
from spectral_prep.places.url import Place, below
from spectral_prep.printable import shown
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.gzip_tar import GzipReader, is_gzip, near, zipped_stream
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.interface import Fields
from spectral_prep.sources.labels import Labels, UnusableLabelError
from spectral_prep.sources.opening import LARGEST_TEXT, explained, is_image, listed
from spectral_prep.sources.release_files import class_names, labelled_splits, split_files
from spectral_prep.sources.row_table import RowTable, Span
from spectral_prep.sources.tar_reader import TarReader
from spectral_prep.sources.tars import WHOLE_SUFFIXES, Member, members, walk
from spectral_prep.system.json_text import json_value
from spectral_prep.system.staging import kept_beside

ANY = Fields()
MOST_FAULTS = 1000
MOST_VALUES = 1 << 16
"""Of the JSON of a sample, counted as `json_value` does."""

NUMBER = re.compile(r"[0-9]{1,10}")
LABEL_KINDS = ("cls", "json")
NO_LABEL = "no label"

Content = Callable[[], bytes]
MOST_LABEL = 1 << 10
"""Bytes of a label that is a name, more than any class is called."""


@dataclass(frozen=True)
class Sample:
    """The members of one key, by what follows the key in their names, and the bytes of its label."""

    key: str
    parts: dict[str, Member]
    label: int | str | None
    problem: str = ""


def open_webdataset(
    dataset: str, path: Place, staging: Path, fields: Fields = ANY, *, to_train: bool = True
) -> EncodedSource:
    """Open WebDataset tars; only names and places go into the scratch folder.

    Class names come from classes.txt or dataset_info.json beside the tars, or are the labels themselves; otherwise
    classes are called "0", "1", ….

    Raises
    ------
    InputError
        If there are no tars, some do not say their split, or there is none to train on though that is meant.
    CorruptSourceError
        If a tar is truncated or damaged, or samples lack an image or a label, have one twice, or one out of range.
    """
    files = split_files(dataset, path, WHOLE_SUFFIXES, to_train=to_train)
    opening = _Opening(path, Labels(class_names(path)), fields.image_key, kept_beside(staging))
    expected = "<key>.cls, or <key>.json with label"
    found = labelled_splits(path, files, opening.rows, opening.labels, expected)
    return assemble(staging, opening.labels.classes(), found)


@dataclass(frozen=True)
class _Opening:
    """What the samples of all splits are gathered with."""

    root: Place
    labels: Labels
    image_key: str | None
    kept: Path

    def rows(self, files: Sequence[Place]) -> Found | None:
        """Return the samples of a split, None if none has a label.

        Rows are called after their tar; where tars in two folders have one name and samples of one key, after both.
        """
        names = [_stem(path.name) for path in files]
        if len(set(names)) < len(names) and self._has_a_key_twice(files, names):
            names = [_stem(below(self.root, path)) for path in files]
        return self._rows(files, names)

    def _has_a_key_twice(self, files: Sequence[Place], names: Sequence[str]) -> bool:
        seen: dict[str, set[int]] = {}
        for path, name in zip(files, names, strict=True):
            if names.count(name) > 1:
                zipped = is_gzip(path)
                keys = {
                    hash(sample.key) for sample in _samples(near(path, self.kept) if zipped else path, zipped=zipped)
                }
                if keys & seen.setdefault(name, set()):
                    return True
                seen[name] |= keys
        return False

    def _rows(self, files: Sequence[Place], names: Sequence[str]) -> Found | None:
        zipped_files = [path for path in files if is_gzip(path)]
        places = [near(path, self.kept) if path in zipped_files else path for path in files]
        archives = [Archive.of(path) for path in places]
        rows, faults, unlabelled = RowTable(), list[str](), 0
        for number, (path, name) in enumerate(zip(places, names, strict=True)):
            before = len(rows) + len(faults)
            for sample in _samples(path, zipped=files[number] in zipped_files):
                problem = self._add(rows, sample, name, number, str(path))
                if problem:
                    faults.append(f"{path.name}!{shown(sample.key)} ({problem}; it holds {listed(sample.parts)})")
                    unlabelled += problem == NO_LABEL
            if len(rows) + len(faults) == before:
                raise CorruptSourceError(
                    "no sample in it", where=path, expected="an image and its label, at least once"
                )
            if len(faults) > MOST_FAULTS and unlabelled < len(faults):
                break
        if faults and len(faults) == unlabelled and not len(rows):
            return None
        if faults:
            raise CorruptSourceError(
                f"{len(faults)} samples cannot be used",
                where=files[0].parent,
                expected='one image (.jpg, .png, …) and a number or the name of a class (in .cls, or "label" in .json) '
                "for each key",
                got=listed(faults),
            )
        if zipped_files:
            return Found(rows, lambda staged: GzipReader.over(staged, archives, self.kept), sort=False)
        return Found(rows, lambda staged: TarReader.over(staged, archives))

    def _add(self, rows: RowTable, sample: Sample, name: str, number: int, where: str) -> str:
        """Add the row of a sample; return what is wrong with it, if anything is."""
        images = [extension for extension in sample.parts if is_image(f"x.{extension}")]
        if self.image_key is not None:
            images = [extension for extension in images if extension == self.image_key.lower().lstrip(".")]
        if len(images) != 1:
            several = ": choose one by --image-key" if len(images) > 1 else ""
            return f"{len(images)} images{several}"
        if sample.label is None:
            return sample.problem
        try:
            label = self.labels.number(sample.label, f"{where}!{shown(sample.key)}")
        except UnusableLabelError as error:
            return str(error)
        folder, _, base = f"{name}/{sample.key}".rpartition("/")
        image = sample.parts[images[0]]
        rows.add(folder, f"{base}.{images[0]}", label, Span(image.offset, image.size, number))
        return ""


def _stem(name: str) -> str:
    suffix = next((each for each in WHOLE_SUFFIXES if name.lower().endswith(each)), "")
    return name[: len(name) - len(suffix)]


def _samples(path: Place, *, zipped: bool) -> Iterator[Sample]:
    """Yield the samples of a tar; the members of one follow one another, and its label is read on the way."""
    key, parts, labels = "", dict[str, Member](), dict[str, bytes]()
    for member, content in _zipped_members(path) if zipped else _members(path):
        folder, slash, name = member.path.rpartition("/")
        base, _, extension = name.partition(".")
        if folder + slash + base != key:
            if parts:
                yield _sample(key, parts, labels)
            key, parts, labels = folder + slash + base, {}, {}
        extension = extension.lower()
        if extension in parts:
            raise CorruptSourceError(f"{member.path} is there twice", where=path, expected="each key once")
        if member.path:
            parts[extension] = member
        if extension in LABEL_KINDS and member.size <= LARGEST_TEXT:
            labels[extension] = content()
    if parts:
        yield _sample(key, parts, labels)


def _members(path: Place) -> Iterator[tuple[Member, Content]]:
    """Yield each member of a tar with what reads it."""
    with explained(path), at(path).open() as file:
        for member in members(path):
            yield member, partial(file.read, member.offset, member.size)


def _zipped_members(path: Place) -> Iterator[tuple[Member, Content]]:
    """Yield each member of a compressed tar with what reads it, before the next one is asked for."""
    with zipped_stream(path) as stream:
        for member in walk(stream, str(path), sys.maxsize):
            yield member, partial(_read_forwards, stream, member)


def _read_forwards(stream: BinaryIO, member: Member) -> bytes:
    stream.seek(member.offset)
    return stream.read(member.size)


def _sample(key: str, parts: dict[str, Member], labels: dict[str, bytes]) -> Sample:
    """Return a sample with its label, or what is wrong with that."""
    kind = next((kind for kind in LABEL_KINDS if kind in parts), None)
    if kind is None:
        return Sample(key, parts, None, NO_LABEL)
    if kind not in labels:
        return Sample(key, parts, None, f"a label of {parts[kind].size} bytes")
    content = labels[kind]
    try:
        if kind == "cls":
            value: object = content.decode("utf-8", "surrogateescape").strip()
        else:
            value = json_value(content, MOST_VALUES)["label"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Sample(key, parts, None, f"label {content[:40]!r}")
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
        return Sample(key, parts, value)
    if isinstance(value, str) and _may_be_a_name(value):
        return Sample(key, parts, value)
    return Sample(key, parts, None, f"label {shown(repr(value))}" if kind == "json" else f"label {content[:40]!r}")


def _may_be_a_name(text: str) -> bool:
    """Whether a text that is no number may be the name of a class: "-1" and "1_0" are mistaken numbers."""
    return 0 < len(text) <= MOST_LABEL and any(map(str.isalpha, text)) and not any(map(str.isspace, text[:1]))
