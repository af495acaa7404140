"""Versioned, self-checking JSON records: the only place that knows format versions.

Input: a kind ("plan", "block", "spectral", "manifest") and a plain dictionary.
Output: a JSON file that names its format, version and kind and carries the sha256 of its own content, so that a
record copied alone still proves that it is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spectral_prep.encoding import Encoding
from spectral_prep.errors import CorruptShardError, InputError
from spectral_prep.spectrum import SpectralSpec
from spectral_prep.store.layout import Format
from spectral_prep.system.files import atomic_write, sha256_of

FORMAT = "spectral-shards"
VERSION = 1
DIGEST = "sha256"


@dataclass(frozen=True)
class FileEntry:
    """One file that a record vouches for; `path` is relative to the record's folder and always uses `/`."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, root: Path, path: Path) -> FileEntry:
        """Return the entry of a file that exists, by reading it."""
        return cls(path.relative_to(root).as_posix(), path.stat().st_size, sha256_of(path))

    @classmethod
    def of_bytes(cls, root: Path, path: Path, content: bytes) -> FileEntry:
        """Return the entry of a file that was just written with this content."""
        return cls(path.relative_to(root).as_posix(), len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class SplitInfo:
    """The extent of one split: rows in all, rows a part file, how many of the rows are bad (label −1), and how many
    views of each image the rows are: rows v·N/views ≤ i < (v+1)·N/views are view v of every image, 0 the image itself.
    """

    rows: int
    block_rows: int
    bad_rows: int = 0
    views: int = 1

    def parts(self) -> Iterator[tuple[int, slice]]:
        """Yield (index, rows) of each part file.

        >>> [rows.stop for _, rows in SplitInfo(rows=10, block_rows=4).parts()]
        [4, 8, 10]
        """
        for index, start in enumerate(range(0, self.rows, self.block_rows)):
            yield index, slice(start, min(start + self.block_rows, self.rows))


@dataclass(frozen=True)
class SpectralRecord:
    """`spectral.json`: all that a training node needs to know about the one spectral folder it mounts.

    `mean` and `std` (C,) describe the training rows of this spectral in grey levels; `energy` (Q,) is the variance of
    every spectral of the data set, so that each node computes the same grouping from what it holds; `saturated` counts
    stored values beyond the calibrated range.
    """

    dataset_id: str
    dataset: str
    k: int
    spec: SpectralSpec
    encoding: Encoding
    store: Format
    height: int
    width: int
    channels: int
    resize: int | None
    classes: tuple[str, ...]
    splits: Mapping[str, SplitInfo]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    energy: tuple[float, ...]
    saturated: int
    files: tuple[FileEntry, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SpectralRecord:
        """Return the record that `to_dict` wrote."""
        return cls(
            **{
                **record,
                "spec": SpectralSpec.from_dict(record["spec"]),
                "encoding": Encoding.from_dict(record["encoding"]),
                "classes": tuple(record["classes"]),
                "splits": {name: SplitInfo(**split) for name, split in record["splits"].items()},
                "mean": tuple(record["mean"]),
                "std": tuple(record["std"]),
                "energy": tuple(record["energy"]),
                "files": entries(record["files"]),
            }
        )


def entries(records: Sequence[Mapping[str, Any]]) -> tuple[FileEntry, ...]:
    """Return file entries from their plain form."""
    return tuple(FileEntry(**record) for record in records)


def digest(kind: str, content: Mapping[str, Any]) -> str:
    """Return the sha256 of a record's content, independent of how the JSON is laid out."""
    canonical = json.dumps([FORMAT, VERSION, kind, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_record(path: Path, kind: str, content: Mapping[str, Any]) -> bytes:
    """Write a record atomically and return the bytes written."""
    plain = json.loads(json.dumps(content))
    record = {"format": FORMAT, "version": VERSION, "kind": kind, **plain, DIGEST: digest(kind, plain)}
    written = (json.dumps(record, indent=1) + "\n").encode()
    atomic_write(path, written)
    return written


def read_record(path: Path, kind: str) -> dict[str, Any]:
    """Return the content of a record.

    Raises
    ------
    InputError
        If the file is not there, or was written by a newer version of the format.
    CorruptShardError
        If it is not this kind of record or its content does not match its own sha256.
    """
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"no {kind} record", where=path, expected=f"a file {path.name}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise CorruptShardError(f"unreadable {kind} record", where=path, got=error) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("kind") != kind:
        raise CorruptShardError(f"not a {FORMAT} {kind} record", where=path)
    if record.get("version") != VERSION:
        raise InputError(
            "unknown format version",
            where=path,
            expected=VERSION,
            got=record.get("version"),
            run="pip install --upgrade spectral-shards",
        )
    content = {key: value for key, value in record.items() if key not in ("format", "version", "kind", DIGEST)}
    if record.get(DIGEST) != digest(kind, content):
        raise CorruptShardError(f"the {kind} record does not match its own sha256", where=path)
    return content
