"""What the pages of a Parquet file state is known, and bounded, before pyarrow believes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from spectral_prep.errors import CorruptSourceError
from spectral_prep.sources import open_source
from spectral_prep.sources.parquet_pages import _Header, largest_page, require_room
from tests.support.releases import random_images
from tests.torture.hostile_sources import equal_rows, prefixes

MIB = 1 << 20


def write(path: Path, images: list[bytes], **options: Any) -> pyarrow.parquet.ParquetFile:
    columns = pyarrow.table({"image": pyarrow.array(images, pyarrow.binary()), "label": [0] * len(images)})
    pyarrow.parquet.write_table(columns, path, **options)
    return pyarrow.parquet.ParquetFile(path)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("checked", [False, True])
def test_the_pages_of_every_writer_are_understood(
    tmp_path: Path, version: str, dictionary: bool, compression: str, checked: bool
) -> None:
    images = [random_images(1, 1000 + row, seed=row).tobytes() for row in range(100)]
    file = write(
        tmp_path / "a.parquet",
        images,
        row_group_size=40,
        data_page_size=4000,
        write_batch_size=3,
        data_page_version=version,
        use_dictionary=dictionary,
        compression=compression,
        write_page_checksum=checked,
        write_page_index=checked,
    )
    for group in range(3):
        found = largest_page(tmp_path / "a.parquet", file.metadata, group, "image")
        assert 3000 < found < 60_000
        assert largest_page(tmp_path / "a.parquet", file.metadata, group, "label") < 1000
    require_room(tmp_path / "a.parquet", file.metadata)


def test_a_page_that_inflates_out_of_all_proportion(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [bytes(65 * MIB)], use_dictionary=False, compression="zstd")
    with pytest.raises(CorruptSourceError, match=r"a Parquet page that is larger than images are.*bytes for 68157"):
        largest_page(tmp_path / "a.parquet", file.metadata, 0, "image")


def test_rows_of_nothing(tmp_path: Path) -> None:
    equal_rows(tmp_path)
    with pytest.raises(CorruptSourceError, match=r"more rows than a file has room for.*10000000"):
        open_source("parquet", tmp_path / "source", tmp_path / "staging")


def test_copies_of_a_large_value_come_a_few_at_a_time(tmp_path: Path) -> None:
    """Sixteen values of 32 MiB in a page of as much, and a file of a few kilobytes has no room for all of them."""
    prefixes(tmp_path)
    source = open_source("parquet", tmp_path / "source", tmp_path / "staging")
    pool = pyarrow.default_memory_pool()
    before = pool.bytes_allocated()
    assert len(source.read("train", 1, "train/1")) == 32 * MIB
    assert pool.bytes_allocated() - before < 200 * MIB
    with pytest.raises(CorruptSourceError, match="more bytes of images than the file has room for"):
        source.read("train", 15, "train/15")
    assert len(source.read("train", 0, "train/0")) == 32 * MIB


@pytest.mark.parametrize(
    "content", [b"", b"\x15", b"\x15" + b"\xff" * 20, b"\x1d\0", b"\x1c" * 100, b"\x19\xfc" + b"\xff" * 9]
)
def test_headers_that_are_none(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        _Header(content).struct()
