"""CIFAR-10 and CIFAR-100 in their binary and python releases, extracted or as the downloaded .tar.gz.

Input: the extracted folder, the archive, or a folder that holds either. Output: an `ArraySource` whose rows, names
and fingerprint are the same for all four layouts (https://www.cs.toronto.edu/~kriz/cifar.html describes them).

An archive is read once, forwards. Its members may come in any order; the rows are always in the order of
data_batch_1 … data_batch_5. At most one pickle, or a mebibyte of a binary file, is in memory.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted, shown
from spectral_prep.sources import safe_pickle
from spectral_prep.sources.arrays import ArraySource, Batch, ClassNames, rows_per_batch, stage
from spectral_prep.sources.name_list import decode, text_of
from spectral_prep.sources.opening import LARGEST_TEXT, explained, missing, open_plain, opened
from spectral_prep.sources.tar_header import BoundedHeader

SIDE, CHANNELS = 32, 3
PIXEL_BYTES = CHANNELS * SIDE * SIDE
LARGEST_MEMBER = 1 << 29


@dataclass(frozen=True)
class Form:
    """One of the two forms of a release: the names of its folder, archive and files, and how a file is parsed."""

    folder: str
    archive: str
    meta: str
    suffix: str
    names: Callable[[BinaryIO, int, Release, str], ClassNames]
    batches: Callable[[BinaryIO, int, str, Release, str], Iterator[Batch]]

    def file(self, part: str) -> str:
        """Return the file name of a part."""
        return part + self.suffix


@dataclass(frozen=True)
class Release:
    """CIFAR-10 or CIFAR-100: the split of each part, and where the label stands in a record or a pickle.

    `rows` are those of all parts, as they are published.
    """

    splits: Mapping[str, str]
    class_count: int
    label_bytes: int
    labels_key: bytes
    names_key: bytes
    forms: tuple[Form, ...]
    rows: int = 60_000


def open_cifar(dataset: str, path: Place, staging: Path, *, to_train: bool = True) -> ArraySource:
    """Open cifar10 or cifar100 (fine labels); rows are called "data_batch_1#17" or "train#17".

    One split may be missing where nothing is to be trained.

    Raises
    ------
    InputError
        If no layout of the release is found, a file of an extracted one is missing, one of its files is given, or an
        archive has no rows to train on.
    CorruptSourceError
        If a file is truncated or damaged, an archive lacks a member, a label is out of range, or a pickle asks for
        anything but its arrays and lists.
    """
    release = RELEASES[dataset]
    found = _standing(release, path)
    layouts = f"one of {', '.join(name for form in release.forms for name in (form.folder, form.archive))}"
    if found is None:
        raise missing(dataset, path, f"{layouts}, or a folder that holds one", to_train=to_train)
    place, form = found
    if form is None:
        if any(path.name in _file_names(release, each) for each in release.forms):
            raise InputError(
                "one file of a release is no source",
                where=path,
                expected=f"{layouts}, or a folder that holds one",
                run=f"the same command with --source {quoted(path.parent)}",
            )
        content = _archive_content(release, place, to_train=to_train)
    else:
        wanted = release if to_train else _splits_there(release, lambda part: exists(place / form.file(part)))
        if lacking := [name for name in _file_names(wanted, form) if not exists(place / name)]:
            whole = "all files of the release" if to_train else "all files of a split, and the names of the classes"
            raise missing(dataset, place, whole, got=f"no {', '.join(lacking)}", to_train=to_train)
        content = _folder_content(wanted, form, place)
    bytes_in_all = release.rows * PIXEL_BYTES if to_train else None  # else perhaps one split alone
    return stage(release.splits, release.class_count, content, staging, whole=to_train, bytes_in_all=bytes_in_all)


def standing(dataset: str, path: Place) -> tuple[Place, dict[str, str]] | None:
    """Return the folder or archive that `open_cifar` would read, and the md5 (hex) of each of its files, by name.

    A file that is not there has "". Of class names as text it is the md5 of the names: their line ends may differ. None
    if nothing is there.

    Raises
    ------
    CorruptSourceError, InputError
        If an archive is damaged, or a file may not be read.
    """
    release = RELEASES[dataset]
    found = _standing(release, path)
    if found is None:
        return None
    place, form = found
    if form is None:
        digests = {name: _md5(name, file) for name, file, _ in _members(place)}
        form = max(release.forms, key=lambda each: len(digests.keys() & {*_file_names(release, each)}))
        return place, {name: digests.get(name, "") for name in _file_names(release, form)}
    return place, {name: _md5_of_file(place / name) for name in _file_names(release, form)}


def _md5_of_file(path: Place) -> str:
    if not exists(path):
        return ""
    with explained(path), opened(path) as file:
        return _md5(path.name, file)


def _md5(name: str, file: BinaryIO) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    if name.endswith(".txt"):
        digest.update(b"\n".join(filter(None, map(bytes.strip, file.read(LARGEST_TEXT).splitlines()))))
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _standing(release: Release, path: Place) -> tuple[Place, Form | None] | None:
    """Return an extracted folder, whole or not, and its form, or an archive and None: its members tell the form."""
    if exists(path):
        return path, None
    for form in release.forms:
        for folder in (path, path / form.folder):
            if any(exists(folder / form.file(part)) for part in release.splits):
                return folder, form
    return next(((path / form.archive, None) for form in release.forms if exists(path / form.archive)), None)


def _splits_there(release: Release, is_there: Callable[[str], bool]) -> Release:
    """Return the release without the splits of which no part is there; whole if none is."""
    there = {split for part, split in release.splits.items() if is_there(part)}
    return replace(
        release, splits={part: split for part, split in release.splits.items() if split in there or not there}
    )


def _file_names(release: Release, form: Form) -> list[str]:
    return [form.meta, *map(form.file, release.splits)]


def _folder_content(release: Release, form: Form, folder: Place) -> Iterator[Batch | ClassNames]:
    for name in _file_names(release, form):
        path = folder / name
        size = at(path).size() or 0
        with explained(path), opened(path) as file:
            _check_size(name, size, path)
            yield from _parse(release, form, name, file, size, str(path))


def _archive_content(release: Release, archive: Place, *, to_train: bool) -> Iterator[Batch | ClassNames]:
    forms = {name: form for form in release.forms for name in _file_names(release, form)}
    form: Form | None = None
    seen: set[str] = set()
    for name, file, size in _members(archive):
        form = form or forms.get(name)
        if form is None or forms.get(name) is not form:
            continue
        if name in seen:
            raise CorruptSourceError(f"the archive holds {name} twice", where=archive)
        seen.add(name)
        with explained(archive):
            yield from _parse(release, form, name, file, size, f"{archive}!{name}")
    form = form or release.forms[0]
    wanted = release if to_train else _splits_there(release, lambda part: form.file(part) in seen)
    names = _file_names(wanted, form)
    lacking = [name for name in names if name not in seen]
    if lacking == [form.file(part) for part, split in release.splits.items() if split == "train"]:
        raise InputError(
            "the archive has no images to train on",
            where=archive,
            expected=", ".join(names),
            got=", ".join(sorted(seen)),
            run=f"the same command with the whole release, {form.archive}",
        )
    if lacking:
        raise CorruptSourceError(
            "the archive is truncated or not this release",
            where=archive,
            expected=", ".join(names),
            got=f"no {', '.join(lacking)}",
        )


def _members(archive: Place) -> Iterator[tuple[str, BinaryIO, int]]:
    with open_plain(archive) as plain:
        with explained(archive), tarfile.open(fileobj=plain, mode="r|", tarinfo=BoundedHeader) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                _check_size(member.name, member.size, archive)
                yield Path(member.name).name, cast(BinaryIO, file), member.size
        while plain.read(1 << 16):  # to the end, where gzip checks its checksum
            pass


def _check_size(name: str, size: int, where: Place) -> None:
    if size > LARGEST_MEMBER:
        raise CorruptSourceError(
            f"{shown(name)} is too large for this release",
            where=where,
            expected=f"at most {LARGEST_MEMBER} bytes",
            got=size,
        )


def _parse(
    release: Release, form: Form, name: str, file: BinaryIO, size: int, where: str
) -> Iterator[Batch | ClassNames]:
    if name == form.meta:
        yield form.names(file, size, release, where)
    else:
        yield from form.batches(file, size, name.removesuffix(form.suffix), release, where)


def _binary_names(file: BinaryIO, size: int, release: Release, where: str) -> ClassNames:
    if size > LARGEST_TEXT:
        raise CorruptSourceError("too long for names of classes", where=where, got=f"{size} bytes")
    lines = map(bytes.strip, file.read(size).splitlines())
    return _class_names([decode(line) for line in lines if line], release, where)


def _binary_batches(file: BinaryIO, size: int, part: str, release: Release, where: str) -> Iterator[Batch]:
    record = release.label_bytes + PIXEL_BYTES
    left = size
    if size % record or not size:
        raise _truncated(where, record, size)
    while left:
        wanted = min(left, record * rows_per_batch(record))
        content = file.read(wanted)
        left -= len(content)
        if len(content) < wanted:
            raise _truncated(where, record, size - left)
        rows = np.frombuffer(content, np.uint8).reshape(-1, record)
        yield Batch(part, _interleaved(rows[:, release.label_bytes :]), rows[:, release.label_bytes - 1], where)


def _python_names(file: BinaryIO, size: int, release: Release, where: str) -> ClassNames:
    names = safe_pickle.load(file, size, where).get(release.names_key)
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise CorruptSourceError(f"no list {release.names_key.decode()!r} in the pickle", where=where)
    texts = [decode(name) if isinstance(name, bytes) else text_of(name) for name in names]
    return _class_names(texts, release, where)


def _python_batches(file: BinaryIO, size: int, part: str, release: Release, where: str) -> Iterator[Batch]:
    content = safe_pickle.load(file, size, where)
    planes = content.get(b"data")
    if not isinstance(planes, np.ndarray) or planes.ndim != 2 or planes.shape[1] != PIXEL_BYTES or not len(planes):
        raise CorruptSourceError(
            "no pixels in the pickle",
            where=where,
            expected=f"an array 'data' of shape (n, {PIXEL_BYTES}), n at least 1",
            got=getattr(planes, "shape", type(planes).__name__),
        )
    yield Batch(part, _interleaved(planes), _python_labels(content, len(planes), release, where), where)


def _python_labels(content: dict[bytes, Any], count: int, release: Release, where: str) -> npt.NDArray[np.int64]:
    key = release.labels_key.decode()
    labels = content.get(release.labels_key)
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise CorruptSourceError(f"no list of whole numbers {key!r} in the pickle", where=where)
    if len(labels) != count:
        raise CorruptSourceError(
            "images and labels of different length", where=where, expected=f"{count} {key}", got=len(labels)
        )
    try:
        return np.array(labels, np.int64)
    except OverflowError as error:
        raise CorruptSourceError(f"a label of {key!r} is out of range", where=where, got=error) from error


def _class_names(names: list[str], release: Release, where: str) -> ClassNames:
    if len(names) != release.class_count:
        raise CorruptSourceError(
            "wrong number of class names", where=where, expected=release.class_count, got=len(names)
        )
    return ClassNames(tuple(names))


def _interleaved(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return planes.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)


def _truncated(where: str, record: int, size: int) -> CorruptSourceError:
    return CorruptSourceError(
        "truncated CIFAR file", where=where, expected=f"a whole number of {record}-byte records", got=f"{size} bytes"
    )


def _forms(number: int, binary_folder: str, python_folder: str, binary_meta: str, python_meta: str) -> tuple[Form, ...]:
    """Return the forms in order of preference: the binary one is smaller and needs no pickle."""
    binary = Form(binary_folder, f"cifar-{number}-binary.tar.gz", binary_meta, ".bin", _binary_names, _binary_batches)
    python = Form(python_folder, f"cifar-{number}-python.tar.gz", python_meta, "", _python_names, _python_batches)
    return binary, python


RELEASES: Mapping[str, Release] = {
    "cifar10": Release(
        splits={**{f"data_batch_{number}": "train" for number in range(1, 6)}, "test_batch": "test"},
        class_count=10,
        label_bytes=1,
        labels_key=b"labels",
        names_key=b"label_names",
        forms=_forms(10, "cifar-10-batches-bin", "cifar-10-batches-py", "batches.meta.txt", "batches.meta"),
    ),
    "cifar100": Release(
        splits={"train": "train", "test": "test"},
        class_count=100,
        label_bytes=2,  # coarse, then fine
        labels_key=b"fine_labels",
        names_key=b"fine_label_names",
        forms=_forms(100, "cifar-100-binary", "cifar-100-python", "fine_label_names.txt", "meta"),
    ),
}
