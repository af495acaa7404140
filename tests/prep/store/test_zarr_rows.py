"""A Zarr spectral folder from anybody: what this format did not write is refused before anything of it is used."""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from numcodecs.zstd import Zstd

from spectral_prep.store.interface import UNREADABLE
from spectral_prep.store.read_folder import stored_labels, stored_rows
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord

Change = Callable[[dict[str, Any]], object]


def values(folder: Path) -> npt.NDArray[Any]:
    record = read_record(folder / "spectral.json", SpectralRecord)
    rows = stored_rows(folder, record, "train")
    return np.concatenate([rows.read(part.start, part.stop) for _, part in record.splits["train"].parts()])


def labels_and_ids(folder: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return stored_labels(folder, read_record(folder / "spectral.json", SpectralRecord), "train")


def with_crc32c(content: bytes) -> bytes:
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(4, "little")


def test_our_reader_reads_what_zarr_python_does(digits: Path) -> None:
    folder = digits / "spectral-01"
    np.testing.assert_array_equal(values(folder), np.asarray(zarr.open_array(folder / "train/x", mode="r")[:]))
    for found, name in zip(labels_and_ids(folder), ("y", "id"), strict=True):
        expected = np.asarray(zarr.open_array(folder / "train" / name, mode="r")[:])
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_any_rows_of_a_part_are_read(digits: Path) -> None:
    folder = digits / "spectral-01"
    record, whole = read_record(folder / "spectral.json", SpectralRecord), values(folder)
    rows = stored_rows(folder, record, "train")
    for start, stop in [(0, 1), (299, 300), (300, 301), (310, 590), (1200, 1438), (600, 600)]:
        np.testing.assert_array_equal(rows.read(start, stop), whole[start:stop])
        wide = np.zeros((stop - start, 3, *whole.shape[2:]), whole.dtype)
        for into in (wide[:, :1].copy(), wide[:, 1:2]):
            assert rows.read(start, stop, into) is into
            np.testing.assert_array_equal(into, whole[start:stop])
        assert not wide[:, ::2].any()


CHANGES: dict[str, Change] = {
    "another zarr": lambda document: document.update(zarr_format=2),
    "a group": lambda document: document.update(node_type="group"),
    "more rows": lambda document: document["shape"].__setitem__(0, 10**12),
    "another type": lambda document: document.update(data_type="|O"),
    "another fill value": lambda document: document.update(fill_value=1),
    "another codec": lambda document: document["codecs"].append({"name": "numcodecs.pickle"}),
    "no codec": lambda document: document.update(codecs=[]),
    "codecs of no kind": lambda document: document.update(codecs="pickle"),
    "a key of ours": lambda document: document.update(must_understand=False),
    "chunks of nothing": lambda document: document["codecs"][0]["configuration"].update(chunk_shape=[0, 1, 4, 4]),
    "huge chunks": lambda document: document["codecs"][0]["configuration"].update(chunk_shape=[10**15, 1, 4, 4]),
    "other keys": lambda document: document["chunk_key_encoding"].update(name="v2"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_metadata_that_this_format_does_not_write_is_refused(digits: Path, change: Change) -> None:
    path = digits / "spectral-01/train/x/zarr.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="is not what format version 1 writes"):
        values(digits / "spectral-01")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 10**5, b" " * (2 << 20)], ids=repr)
def test_metadata_that_is_none_is_refused(digits: Path, content: bytes) -> None:
    (digits / "spectral-01/train/x/zarr.json").write_bytes(content)
    with pytest.raises(UNREADABLE):
        values(digits / "spectral-01")


class Executed:
    """What a pickle does when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def test_no_pickle_in_older_metadata_is_executed(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zarr v2 metadata with an object dtype and the codec `pickle`: zarr-python with some numcodecs would load it."""
    monkeypatch.chdir(tmp_path)
    folder = digits / "spectral-01"
    labels = folder / "train/y"
    (labels / "zarr.json").unlink()
    chunk = {"shape": [1438], "chunks": [1438], "dtype": "|O", "order": "C", "fill_value": 0, "zarr_format": 2}
    codecs = {"filters": [{"id": "vlen-utf8"}], "compressor": {"id": "pickle", "protocol": 5}}
    (labels / ".zarray").write_text(json.dumps({**chunk, **codecs}))
    (labels / "0").write_bytes(pickle.dumps(Executed()))
    with pytest.raises(UNREADABLE):
        labels_and_ids(folder)
    assert not Path("executed").exists()


def bomb(chunk_bytes: int) -> bytes:
    """Return a part whose only chunk states `chunk_bytes` and decompresses to a GiB."""
    content = bytearray(Zstd(1).encode(bytes(1 << 30)))
    assert content[4] >> 6 == 2  # a content size of four bytes
    start = 5 + (not content[4] >> 5 & 1)
    content[start : start + 4] = chunk_bytes.to_bytes(4, "little")
    chunk = with_crc32c(bytes(content))
    return chunk + with_crc32c(np.array([[0, len(chunk)]], "<u8").tobytes())


PROGRAM = """
import resource, sys
from pathlib import Path
from spectral_prep.store.read_folder import stored_rows
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord
folder = Path(sys.argv[1])
rows = stored_rows(folder, read_record(folder / "spectral.json", SpectralRecord), "train")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    rows.read(0, 1)
except (ValueError, RuntimeError) as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("stated", [1 << 30, 300 * 16], ids=["says so", "lies"])
def test_a_chunk_is_never_decompressed_into_more_than_it_stands_for(digits: Path, stated: int) -> None:
    folder = digits / "spectral-01"
    (folder / "train/x/c/0/0/0/0").write_bytes(bomb(stated))
    done = subprocess.run([sys.executable, "-c", PROGRAM, folder], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 << 10  # KiB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


INDEXES = {
    "outside": [[1 << 40, 8]],
    "no chunk": [[2**64 - 1, 2**64 - 1]],
    "huge": [[0, 1 << 62]],
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_a_part_whose_index_points_elsewhere_stops_the_reader(digits: Path, index: list[list[int]]) -> None:
    part = digits / "spectral-01/train/x/c/0/0/0/0"
    part.write_bytes(part.read_bytes()[:-20] + with_crc32c(np.array(index, "<u8").tobytes()))
    with pytest.raises(ValueError, match=r"bytes"):
        values(digits / "spectral-01")


@pytest.mark.parametrize("path", ["train/x/c/0/0/0/0", "train/x/zarr.json", "train/y/zarr.json", "train/id/c/0"])
def test_a_pipe_in_the_place_of_a_file_does_not_hang_the_reader(digits: Path, path: str) -> None:
    folder = digits / "spectral-01"
    (folder / path).unlink()
    os.mkfifo(folder / path)
    read = values if "/x/" in path else labels_and_ids
    with pytest.raises(ValueError, match="is not a regular file"):
        read(folder)


def test_a_pipe_in_the_place_of_a_record_does_not_hang_the_reader(digits: Path) -> None:
    path = digits / "spectral-01/spectral.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Exception, match="is not a regular file"):
        read_record(path, SpectralRecord)
