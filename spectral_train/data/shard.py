"""What one training node loads: the spectral folders of one shard, checked, as they are stored.

1. `find_data` finds the folder; `open_shard` reads one record, computes the grouping from it and reads the records of
   the shard's own spectrals. Nothing else of the data set has to be there.
2. `check_files` proves the folders whole: every file exists with its size, and its sha256 agrees, except that the
   parts of the training rows, nearly all of the bytes, are left to the crc32c that zarr checks as it reads them (a tar
   has none: it is read twice).
3. `pieces` reads the values.

A part that is missing would read as zeros without a word: that is why step 2 comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.encoding import Encoding
from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError
from spectral_prep.places import at, exists, sha256_of
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.spectrum import SpectralSpec
from spectral_prep.store import STORES
from spectral_prep.store.interface import UNREADABLE
from spectral_prep.store.layout import DatasetPaths, SpectralPaths, spectral_name
from spectral_prep.store.read_folder import part_names, stored_labels
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord, SplitInfo
from spectral_train.data.grouping import DEFAULT_CHOICE, ShardChoice
from spectral_train.data.standardise import Standardisation
from spectral_train.folders import DEFAULT_DATA, data_sets_in, not_a_data_set, what_to_train_on, without_folders

NO_ROWS = SplitInfo(rows=0, block_rows=1)
SHARED = ("dataset", "spec", "encoding", "store", "height", "width", "channels", "classes", "splits", "energy")
"""Fields that the records of all spectral folders of a data set have alike."""
COPY_AGAIN = "spectral-prep verify on the machine that converted, then copy the folder again"


@dataclass(frozen=True)
class SpectralFolder:
    """One spectral folder that is here, with what its record says."""

    paths: SpectralPaths
    record: SpectralRecord

    @classmethod
    def read(cls, root: Place) -> SpectralFolder:
        """Read `spectral.json`; raise what `read_record` raises."""
        paths = SpectralPaths(root)
        return cls(paths, read_record(paths.record, SpectralRecord, damaged=COPY_AGAIN))


@dataclass(frozen=True)
class Shard:
    """Shard `index` of those of a choice: G spectral folders of one data set, in the order of their channels."""

    index: int
    choice: ShardChoice
    folders: tuple[SpectralFolder, ...]

    @property
    def first(self) -> SpectralRecord:
        """The record of the first folder, for what all of them share."""
        return self.folders[0].record

    @property
    def shards(self) -> int:
        """S, the number of shards."""
        return self.choice.count(self.spec.q)

    @property
    def spectrals(self) -> tuple[int, ...]:
        """The G spectrals."""
        return tuple(folder.record.k for folder in self.folders)

    @property
    def dataset_id(self) -> str:
        """Which conversion this is part of."""
        return self.first.dataset_id

    @property
    def identity(self) -> str:
        """Which data this is, wherever its folders lie: what the order of an epoch follows from."""
        return f"{self.dataset_id}/{'+'.join(map(str, self.spectrals))}"

    @property
    def spec(self) -> SpectralSpec:
        """How images became spectrals."""
        return self.first.spec

    @property
    def encoding(self) -> Encoding:
        """How coefficients are stored."""
        return self.first.encoding

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; labels index them."""
        return self.first.classes

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(G·C, h, w): what a network sees of one row."""
        h, w = self.spec.spectral_size(self.first.height, self.first.width)
        return len(self.folders) * self.first.channels, h, w

    @property
    def mean(self) -> tuple[float, ...]:
        """(G·C,) mean of the training rows, grey levels."""
        return tuple(value for folder in self.folders for value in folder.record.mean)

    @property
    def std(self) -> tuple[float, ...]:
        """(G·C,) deviation of the training rows, grey levels."""
        return tuple(value for folder in self.folders for value in folder.record.std)

    @property
    def standardise(self) -> Standardisation:
        """What turns stored values into what the network sees."""
        scalars = [self.encoding.scalars(k) for k in self.spectrals for _ in range(self.first.channels)]
        return Standardisation.of(self.mean, self.std, scalars)


@dataclass(frozen=True)
class Labels:
    """The rows of one split without their images: `y` (N,) label or −1, `ids` (N,) canonical row id.

    The first N/views rows are the images themselves, then come as many of each further view, in the same order.
    """

    y: Tensor
    ids: npt.NDArray[np.int32]
    views: int = 1


def find_data(data: Place | None = None) -> Place:
    """Return the folder to read: the one that was given, or the only data set under ./spectral.

    Raises
    ------
    InputError
        If it is not there, or there is no or more than one data set to choose from.
    """
    if data is not None:
        if not at(data).is_folder():
            raise not_a_data_set(data)
        return data
    found = data_sets_in(DEFAULT_DATA, most=None)
    if len(found) != 1:
        raise InputError(
            f"{len(found) or 'no'} data sets here",
            where=DEFAULT_DATA.resolve(),
            expected="one data set, or --data DIR",
            got=", ".join(path.name for path in found) or None,
            run=f"the same command with --data {quoted(found[0])}" if found else what_to_train_on(),
        )
    return found[0]


def open_shard(data: Place, shard: int, choice: ShardChoice = DEFAULT_CHOICE) -> Shard:
    """Return a shard by reading only the records of its own folders (and one to begin with).

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from spectral_prep.conversion.convert import convert
    >>> from spectral_prep.conversion.request import Request
    >>> folder = TemporaryDirectory()
    >>> data = convert(Request("digits", "4"), Path(), Path(folder.name) / "digits-q4").root

    Shard 3 is spectral 3, whether the other folders are there or not:

    >>> shard = open_shard(data, 3)
    >>> shard.spectrals, shard.input_shape, len(shard.classes)
    ((3,), (1, 4, 4), 10)
    >>> open_shard(data / "spectral-03", 3) == shard
    True

    Two shards of two spectrals, which become channels; and the DC spectral in each:

    >>> open_shard(data, 1, ShardChoice(shards=2)).spectrals
    (2, 3)
    >>> open_shard(data, 1, ShardChoice(shards=2, grouping="interleaved")).spectrals
    (1, 3)
    >>> shard = open_shard(data, 1, ShardChoice(shards=2, grouping="balanced", common=(0,)))
    >>> shard.spectrals[0], shard.input_shape
    (0, (3, 4, 4))
    >>> folder.cleanup()

    Parameters
    ----------
    data
        A folder with `spectral-00/` …, whole or only those of this shard, or one such folder itself.
    shard
        Its number, 0 ≤ shard < S.
    choice
        How spectrals become shards; unless said, each spectral is one.

    Raises
    ------
    InputError
        If the shard does not exist or folders of it are not here; the message names them.
    PlanMismatchError
        If folders of different conversions lie side by side.
    CorruptFileError
        If a record is damaged.
    """
    return _opened(data, shard, choice, _any_folder(data, shard))


def open_shards(data: Place, choice: ShardChoice = DEFAULT_CHOICE, only: int | None = None) -> tuple[Shard, ...]:
    """Return all S shards, or only that of a number; their folders have to be here. Raises as `open_shard` does."""
    if only is not None:
        return (open_shard(data, only, choice),)
    known = _any_folder(data, 0)
    q, energy = known.record.spec.q, known.record.energy
    members = [choice.members(number, q, energy) for number in range(choice.count(q))]
    _require(data, sorted({k for own in members for k in own}), known, members)
    return tuple(_opened(data, number, choice, known) for number in range(len(members)))


def open_folders(
    data: Place, members: Sequence[int], known: SpectralFolder | None = None
) -> tuple[SpectralFolder, ...]:
    """Return the folders of these spectrals, all of one conversion; raises as `open_shard` does."""
    known = known or _any_folder(data, members[0])
    _require(data, members, known)
    roots = _roots(data, members, known)
    folders = tuple(known if k == known.record.k else SpectralFolder.read(root) for k, root in roots.items())
    for (k, root), folder in zip(roots.items(), folders, strict=True):
        if folder.record.k != k:
            raise PlanMismatchError("a folder of another spectral", where=root, expected=k, got=folder.record.k)
        same_conversion(folders[0], folder)
    return folders


def same_conversion(one: SpectralFolder, other: SpectralFolder) -> None:
    """Raise `PlanMismatchError` if two folders are of different conversions, `CorruptFileError` if records disagree."""
    if one.record.dataset_id != other.record.dataset_id:
        raise PlanMismatchError(
            "spectral folders of different conversions",
            where=f"{one.paths.root} and {other.paths.root}",
            expected="one dataset_id",
            got=f"{one.record.dataset_id} and {other.record.dataset_id}",
        )
    if unlike := [name for name in SHARED if getattr(one.record, name) != getattr(other.record, name)]:
        raise CorruptFileError(
            "the records of two spectral folders of one conversion do not agree",
            where=f"{one.paths.record} and {other.paths.record}",
            got=f"another {', '.join(unlike)}",
            run=COPY_AGAIN,
        )


def check_files(folder: SpectralFolder, thorough: bool = False) -> None:
    """Prove that every file of a spectral folder is what its record vouches for.

    Training parts that the store checks as it reads them are checked by size only, unless `thorough`.

    Raises
    ------
    CorruptFileError
        Naming the file that is missing, has another size or another content.
    """
    root, record = folder.paths.root, folder.record
    by_size = not thorough and STORES[record.store].checks_parts
    left_to_crc = set(part_names(record, "train")) if by_size else set()
    sizes = {entry.path: entry.size for entry in at(root).files()}
    for entry in record.files:
        path, size = root / entry.path, sizes.get(entry.path)
        if size is None:
            raise CorruptFileError("a file of the shard is missing", where=path, run=COPY_AGAIN)
        if size != entry.size:
            raise CorruptFileError(
                "a file of the shard has another size",
                where=path,
                expected=f"{entry.size} bytes",
                got=size,
                run=COPY_AGAIN,
            )
        if entry.path not in left_to_crc and sha256_of(path) != entry.sha256:
            raise CorruptFileError("a file of the shard has another sha256", where=path, run=COPY_AGAIN)
    parts = {name for split in record.splits for name in part_names(record, split)}
    if unvouched := parts - {entry.path for entry in record.files}:
        raise CorruptFileError("the record does not vouch for a part", where=root / min(unvouched), run=COPY_AGAIN)


def read_labels(folders: Sequence[SpectralFolder], split: str) -> Labels:
    """Return the labels and ids that all these folders agree on; a split that the data set does not have is 0 rows.

    Raises
    ------
    CorruptFileError
        Naming the folder that cannot be read, or two whose rows are not the same.
    """
    first = _folder_labels(folders[0], split)
    for folder in folders[1:]:
        other = _folder_labels(folder, split)
        if not torch.equal(first.y, other.y) or not np.array_equal(first.ids, other.ids):
            raise CorruptFileError(
                f"the {split} rows of two spectral folders are not the same",
                where=f"{folders[0].paths.root} and {folder.paths.root}",
                run=COPY_AGAIN,
            )
    return first


def _folder_labels(folder: SpectralFolder, split: str) -> Labels:
    if split not in folder.record.splits:
        return Labels(torch.empty(0, dtype=torch.int16), np.empty(0, np.int32))
    try:
        labels, ids = stored_labels(folder.paths.root, folder.record, split)
    except UNREADABLE as error:
        where = folder.paths.root / split
        raise CorruptFileError("labels cannot be read", where=where, got=error, run=COPY_AGAIN) from error
    views = folder.record.splits[split].views
    return Labels(torch.from_numpy(labels), ids.astype(np.int32, copy=False), views)


def _opened(data: Place, shard: int, choice: ShardChoice, known: SpectralFolder) -> Shard:
    record = known.record
    folders = open_folders(data, choice.members(shard, record.spec.q, record.energy), known)
    same_conversion(known, folders[0])
    return Shard(shard, choice.resolved(record.spec.q), folders)


def _roots(data: Place, members: Sequence[int], known: SpectralFolder) -> dict[int, Place]:
    return {k: known.paths.root if k == known.record.k else DatasetPaths(data).spectral(k).root for k in members}


def _require(data: Place, members: Sequence[int], known: SpectralFolder, shards: Sequence[Sequence[int]] = ()) -> None:
    """Refuse to go on without some of these folders; of `shards` those that are whole could be trained nevertheless."""
    if missing := [k for k, root in _roots(data, members, known).items() if not at(root).is_folder()]:
        whole = [number for number, own in enumerate(shards) if not set(own) & set(missing)]
        raise without_folders(data, [spectral_name(k) for k in members], [spectral_name(k) for k in missing], whole)


def _any_folder(data: Place, preferred: int) -> SpectralFolder:
    if exists(SpectralPaths(data).record):
        return SpectralFolder.read(data)
    found = [paths.root for paths in DatasetPaths(data).spectrals()]
    if not found:
        raise not_a_data_set(data)
    own = DatasetPaths(data).spectral(max(preferred, 0)).root
    return SpectralFolder.read(own if own in found else found[0])
