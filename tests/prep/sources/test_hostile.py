"""Sources from anybody: whatever lies in the place of a file or stands in it, a sentence says so, soon and cheaply."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import socket
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from spectral_prep.errors import CorruptSourceError, InputError, SpectralError
from spectral_prep.sources import open_source, safe_pickle
from spectral_prep.sources.idx import IMAGES_MAGIC, LABELS_MAGIC
from spectral_prep.sources.interface import Source
from spectral_prep.sources.labels import MOST_UNNAMED
from spectral_prep.sources.opening import LARGEST_TEXT
from spectral_prep.sources.release_files import MOST_CLASSES
from spectral_prep.sources.tar_header import BoundedHeader
from tests.support.commands import run
from tests.support.releases import (
    cifar_rows,
    devkit_files,
    encoded,
    flat,
    imagenet_files,
    random_images,
    tar_bytes,
    write_cifar,
    write_files,
    write_mnist,
)

PNG = encoded(random_images(1, 8, 8, 3)[0])
MIB = 1 << 20


def opened(dataset: str, path: Path) -> Source:
    return open_source(dataset, path, path.parent / "staging")


@contextmanager
def cheaply(mebibytes: int = 64) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mebibytes * MIB
    finally:
        tracemalloc.stop()


def refused(dataset: str, path: Path, words: str, mebibytes: int = 64) -> None:
    with cheaply(mebibytes), pytest.raises(SpectralError, match=words):
        opened(dataset, path)


# Labels and names of classes


def test_a_giant_label_makes_no_classes(tmp_path: Path) -> None:
    samples = {"a.png": PNG, "a.cls": b"0", "b.png": PNG, "b.cls": b"2000000000"}
    write_files(tmp_path / "w", {"train.tar": tar_bytes(samples)})
    refused(
        "webdataset",
        tmp_path / "w",
        rf"label out of range.*train\.tar!b.*0 to {MOST_UNNAMED - 1}.*2000000000.*classes\.txt",
    )


def test_a_giant_label_in_parquet(tmp_path: Path) -> None:
    cells = pyarrow.array([{"bytes": PNG}], pyarrow.struct([("bytes", pyarrow.binary())]))
    (tmp_path / "p").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"image": cells, "label": [2 * 10**9]}), tmp_path / "p/train.parquet")
    refused("parquet", tmp_path / "p", r"label out of range.*train\.parquet, row 0")


@pytest.mark.parametrize("names", ["abc", {"0": "cat"}, 7, ["cat", 5], ["x"] * (MOST_CLASSES + 1)], ids=type)
def test_names_of_classes_that_are_no_list_of_texts(tmp_path: Path, names: object) -> None:
    write_files(
        tmp_path / "w",
        {
            "train.tar": tar_bytes({"a.png": PNG, "a.cls": b"0"}),
            "dataset_info.json": json.dumps({"features": {"label": {"names": names}}}).encode(),
        },
    )
    refused("webdataset", tmp_path / "w", r"no list of texts|too large|too many classes")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("dataset_info.json", b"[" * 100_000, "nested too deep"),
        ("dataset_info.json", b" " * (LARGEST_TEXT + 1), "too large"),
        ("dataset_info.json", b"\xff\xfe", "not JSON"),
        ("classes.txt", b"x" * (20 * MIB), "too large"),
        ("classes.txt", b"x\n" * (LARGEST_TEXT // 2), "too many classes"),
        ("classes.txt", b"cat\n" + b"x" * MIB, "the name of a class is too long"),
    ],
)
def test_descriptions_beside_the_images(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    write_files(tmp_path / "w", {"train.tar": tar_bytes({"a.png": PNG, "a.cls": b"0"}), name: content})
    refused("webdataset", tmp_path / "w", rf"{words}.*{name}", 512)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, r"label b'\[\["),
        (b'{"label": ' + b"9" * 5000 + b"}", "label b"),
        (b'{"label": "' + b"\x41" * 10_000 + b'"}', "label 'AAA"),
        (bytes(LARGEST_TEXT + 1), "a label of 4194305 bytes"),
    ],
    ids=["deep", "digits", "text", "long"],
)
def test_labels_in_json_members(tmp_path: Path, content: bytes, words: str) -> None:
    write_files(tmp_path / "w", {"train.tar": tar_bytes({"a.png": PNG, "a.json": content})})
    with pytest.raises(CorruptSourceError, match=rf"train\.tar!a \({words}") as caught:
        opened("webdataset", tmp_path / "w")
    assert len(str(caught.value)) < 1000


def test_hugging_faces_metadata(tmp_path: Path) -> None:
    cells = pyarrow.array([{"bytes": PNG}], pyarrow.struct([("bytes", pyarrow.binary())]))
    table = pyarrow.table({"image": cells, "label": [0]})
    (tmp_path / "p").mkdir()
    deep = b"[" * 100_000
    names = json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": 5}}}}).encode()
    for metadata, words in ((deep, "too deep"), (b"[]", "damaged"), (names, "no list of texts")):
        path = tmp_path / "p/train.parquet"
        pyarrow.parquet.write_table(table.replace_schema_metadata({b"huggingface": metadata}), path)
        refused("parquet", tmp_path / "p", words)


def test_a_label_column_of_texts(tmp_path: Path) -> None:
    cells = pyarrow.array([{"bytes": PNG}], pyarrow.struct([("bytes", pyarrow.binary())]))
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat"]}}}}
    table = pyarrow.table({"image": cells, "label": ["cat"]})
    (tmp_path / "p").mkdir()
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({b"huggingface": json.dumps(features).encode()}), tmp_path / "p/train.parquet"
    )
    assert opened("parquet", tmp_path / "p").classes == ("cat",)


# Archives


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def summed(block: bytes) -> bytes:
    """Return a changed header with a checksum that is right again."""
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def pax(kind: bytes, **fields: str) -> bytes:
    lines = b""
    for name, value in fields.items():
        line = f" {name.replace('_', '.')}={value}\n".encode()
        length = len(line)
        while length != len(line) + len(str(length)):
            length = len(line) + len(str(length))
        lines += str(length).encode() + line
    return header("pax", kind, len(lines)) + padded(lines)


MEMBER = header("c/1.png", tarfile.REGTYPE, len(PNG)) + padded(PNG)
SPARSE = header("c/1.png", tarfile.GNUTYPE_SPARSE, 0)
ENDLESS = summed(SPARSE[:482] + b"\1" + SPARSE[483:])
GLOBAL = [pax(tarfile.XGLTYPE, **{f"field{number}": "x"}) for number in range(300)]
LONG = pax(tarfile.XHDTYPE, path="c/" + "x" * 100_000 + ".png")
ODD = {
    "a pax header of eight gigabytes": header("x", tarfile.XHDTYPE, 8 << 30) + MEMBER,
    "a long name of eight gigabytes": header("x", tarfile.GNUTYPE_LONGNAME, 8 << 30) + MEMBER,
    "a negative pax header": header("x", tarfile.XHDTYPE, -512) + MEMBER,
    "ten thousand long names in a row": header("x", tarfile.GNUTYPE_LONGNAME, 0) * 10_000 + MEMBER,
    "fields that grow": b"".join(GLOBAL) + MEMBER,
    "a negative size": pax(tarfile.XHDTYPE, size="-4096") + MEMBER,
    "a huge size": pax(tarfile.XHDTYPE, size=str(10**30)) + MEMBER,
    "a size of too many digits": pax(tarfile.XHDTYPE, size="9" * 5000) + MEMBER,
    "sizes of holes that are no numbers": pax(tarfile.XHDTYPE, GNU_sparse_map="1,x") + MEMBER,
    "holes without an end": ENDLESS + (b"0" * 504 + b"\1" + bytes(7)) * 5000,
    "a real size that is no number": pax(tarfile.XHDTYPE, GNU_sparse_realsize="x") + MEMBER,
    "a map of holes in the data": pax(tarfile.XHDTYPE, GNU_sparse_major="1", GNU_sparse_minor="0") + MEMBER,
    "an endless name": LONG + MEMBER,
}


@pytest.mark.parametrize("packed", [False, True], ids=["tar", "gzip"])
@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_odd_headers(tmp_path: Path, content: bytes, packed: bool) -> None:
    whole = content + bytes(1024)
    path = tmp_path / ("winter21_whole.tar.gz" if packed else "fall11_whole.tar")
    path.write_bytes(gzip.compress(whole, 1) if packed else whole)
    refused("imagenet21k", path, r".", 32)


def test_odd_headers_in_an_archive_read_forwards(tmp_path: Path) -> None:
    bomb = header("x", tarfile.XHDTYPE, 8 << 30) + bytes(100 * MIB)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(bomb, 1))
    refused("cifar10", tmp_path, r"extended header of 8589934592 bytes", 16)


def test_sparse_files_beside_images_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "fall11_whole.tar"
    path.write_bytes(summed(SPARSE.replace(b"1.png", b"1.txt")) + MEMBER + bytes(1024))
    assert list(opened("imagenet21k", path).index()["train"].names) == ["c/1.png"]
    with tarfile.open(path, tarinfo=BoundedHeader) as archive:
        assert [member.issparse() for member in archive] == [True, False]


def test_an_archive_without_a_sample(tmp_path: Path) -> None:
    whole = tar_bytes({"a.png": PNG, "a.cls": b"0"})
    write_files(tmp_path / "w", {"train-0.tar": whole, "val-0.tar": tar_bytes({})})
    refused("webdataset", tmp_path / "w", r"no sample in it.*val-0\.tar")
    write_files(tmp_path / "w", {"val-0.tar": whole, "train-1.tar": tar_bytes({})})
    refused("webdataset", tmp_path / "w", r"no sample in it.*train-1\.tar")


def test_validation_images_that_are_none(tmp_path: Path) -> None:
    train, val = imagenet_files()
    write_files(tmp_path / "i" / "train", train)
    write_files(tmp_path / "i", {**devkit_files(val), "ILSVRC2012_img_val.tar": tar_bytes({})})
    refused("imagenet", tmp_path / "i", r"no image in it.*img_val\.tar")
    write_files(tmp_path / "f", {"train/cat/1.png": PNG, "val/val_annotations.txt": b"", "val/images/note.txt": b""})
    refused("folder", tmp_path / "f", r"no image in it.*val/images")


def test_a_tar_of_nothing_is_no_data_set(tmp_path: Path) -> None:
    write_files(tmp_path / "w", {"train.tar": tar_bytes({})})
    done = run(f"spectral-prep convert --dataset webdataset --q 4 --source {tmp_path / 'w'} --out {tmp_path / 'out'}")
    assert done.code == 1
    assert "train.tar" in done.err


# Arrays and pickles


def test_idx_headers_that_promise_too_much(tmp_path: Path) -> None:
    write_mnist(tmp_path, zipped=False)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    most = 2**32 - 1
    for shape in ((most, 28, 28), (most, most, most), (20, most, 28), (most, 1, 1), (1, 4096, 4096)):
        images.write_bytes(struct.pack(">4I", IMAGES_MAGIC, *shape) + bytes(1000))
        labels.write_bytes(struct.pack(">2I", LABELS_MAGIC, shape[0]) + bytes(10))
        refused("mnist", tmp_path, "truncated IDX|impossible image size")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02" + b"]" * 2000 + b".", "more than 393216 steps"),
        (b"\x80\x05\x96" + struct.pack("<Q", 60 << 30) + b".", "a bytearray"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2000) + b"]" * 2000 + b".", "more than 393216 steps"),
    ],
    ids=["lists", "bytearray", "frame"],
)
def test_pickles_that_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str) -> None:
    monkeypatch.setattr(safe_pickle._Counted, "left", 1000)
    folder = write_cifar(tmp_path, "cifar10", "python", cifar_rows())
    (folder / "batches.meta").write_bytes(content)
    refused("cifar10", folder, words)


def test_files_larger_than_the_release(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path, "cifar10", "binary", cifar_rows())
    os.truncate(folder / "data_batch_1.bin", 1 << 32)
    refused("cifar10", folder, r"data_batch_1\.bin is too large")
    shutil.rmtree(folder)
    write_cifar(tmp_path, "cifar10", "binary", cifar_rows())
    os.truncate(folder / "batches.meta.txt", 1 << 28)
    refused("cifar10", folder, "too long for names of classes")


def test_a_development_kit_that_inflates(tmp_path: Path) -> None:
    train, val = imagenet_files()
    write_files(tmp_path / "i" / "train", train)
    write_files(tmp_path / "i" / "val", flat(val))
    kit = devkit_files(val)
    write_files(tmp_path / "i", kit)
    assert len(opened("imagenet", tmp_path / "i").classes) == 3
    name = next(name for name in kit if name.endswith("meta.mat"))
    bomb = zlib.compress(bytes(200 * MIB), 9)
    (tmp_path / "i" / name).write_bytes(kit[name][:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    refused("imagenet", tmp_path / "i", r"damaged list of classes.*meta\.mat.*without compression", 256)


def test_a_packed_list_of_classes_reads_like_a_plain_one(tmp_path: Path) -> None:
    train, val = imagenet_files()
    write_files(tmp_path / "i" / "train", train)
    write_files(tmp_path / "i" / "val", flat(val))
    kit = devkit_files(val)
    name = next(name for name in kit if name.endswith("meta.mat"))
    packed = zlib.compress(kit[name][128:])
    write_files(tmp_path / "i", {**kit, name: kit[name][:128] + struct.pack("<II", 15, len(packed)) + packed})
    labels = opened("imagenet", tmp_path / "i").index()["test"].labels
    shutil.rmtree(tmp_path / "staging")
    write_files(tmp_path / "i", kit)
    assert np.array_equal(labels, opened("imagenet", tmp_path / "i").index()["test"].labels)


# What is no regular file


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def folder(path: Path) -> None:
    (path.parent / "elsewhere").mkdir(exist_ok=True)
    path.symlink_to(path.parent / "elsewhere")


IRREGULAR = (fifo, endless, listening, folder)


@pytest.mark.parametrize("make", IRREGULAR[:-1])  # folders that are linked are looked into
def test_in_the_place_of_an_image(tmp_path: Path, make: Callable[[Path], None]) -> None:
    write_files(tmp_path / "f", {"cat/1.png": PNG, "real.png": PNG})
    (tmp_path / "f/cat/link.png").symlink_to("../real.png")
    make(tmp_path / "f/cat/odd.png")
    source = opened("folder", tmp_path / "f")
    found = source.index()["train"].names
    assert list(found) == ["cat/1.png", "cat/link.png", "cat/odd.png"]
    assert source.read("train", 1, found[1]) == PNG
    with pytest.raises(CorruptSourceError, match=r"cannot read an image.*cat/odd\.png.*not a regular file"):
        source.read("train", 2, found[2])


def test_an_image_larger_than_any(tmp_path: Path) -> None:
    write_files(tmp_path / "f", {"cat/1.png": PNG})
    os.truncate(tmp_path / "f/cat/1.png", 1 << 40)
    with cheaply(), pytest.raises(CorruptSourceError, match=r"1099511627776 bytes, expected at most 1073741824"):
        opened("folder", tmp_path / "f").read("train", 0, "cat/1.png")


@pytest.mark.parametrize("make", IRREGULAR)
@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("webdataset", "train.tar"),
        ("parquet", "train.parquet"),
        ("imagenet21k", "n00000001.tar"),
        ("imagenet", "ILSVRC2012_img_train.tar"),
    ],
)
def test_in_the_place_of_an_archive(tmp_path: Path, make: Callable[[Path], None], dataset: str, name: str) -> None:
    (tmp_path / "s").mkdir()
    make(tmp_path / "s" / name)
    with pytest.raises(
        InputError, match=rf"cannot read a source file.*{name}.*a pipe, device or folder|no {dataset} data"
    ):
        opened(dataset, tmp_path / "s")


@pytest.mark.parametrize("make", IRREGULAR)
@pytest.mark.parametrize("dataset", ["cifar10", "mnist", "imagenet21k", "imagenet", "parquet", "folder", "webdataset"])
def test_as_the_source_itself(tmp_path: Path, make: Callable[[Path], None], dataset: str) -> None:
    make(tmp_path / "odd")
    with pytest.raises(InputError, match=str(tmp_path)):
        opened(dataset, tmp_path / "odd")


def test_in_the_place_of_a_development_kit(tmp_path: Path) -> None:
    train, val = imagenet_files()
    write_files(tmp_path / "i" / "train", train)
    write_files(tmp_path / "i" / "val", flat(val))
    fifo(tmp_path / "i/ILSVRC2012_devkit_t12.tar.gz")
    with pytest.raises(InputError, match=r"devkit_t12\.tar\.gz.*a pipe"):
        opened("imagenet", tmp_path / "i")


def test_a_pickle_of_the_release_takes_few_steps() -> None:
    largest = pickle.dumps({b"fine_labels": [1] * 50_000, b"coarse_labels": [2] * 50_000, b"x": [b"a.png"] * 50_000}, 2)
    assert len(safe_pickle.load(io.BytesIO(largest), len(largest), "here")) == 3
    assert len(largest) < safe_pickle.MOST_STEPS


# What inflates, and lists without an end


def test_gzip_streams_of_zeros_end_soon(tmp_path: Path) -> None:
    """Honest files of any ratio are read to 64 MiB, those of images to their end."""
    write_mnist(tmp_path / "m")
    rows = 1 << 18
    for kind, magic, shape in (("images-idx3", IMAGES_MAGIC, (rows, 28, 28)), ("labels-idx1", LABELS_MAGIC, (rows,))):
        with gzip.open(tmp_path / f"m/train-{kind}-ubyte.gz", "wb") as file:
            file.write(struct.pack(f">I{len(shape)}I", magic, *shape))
            for _ in range(rows >> 12):
                file.write(bytes((784 if len(shape) == 3 else 1) << 12))
    refused("mnist", tmp_path / "m", r"damaged gzip file.*train-images.*more than images ever take")


def test_a_development_kit_with_something_large_in_it(tmp_path: Path) -> None:
    train, val = imagenet_files()
    write_files(tmp_path / "i" / "train", train)
    write_files(tmp_path / "i" / "val", flat(val))
    with gzip.open(tmp_path / "i/ILSVRC2012_devkit_t12.tar.gz", "wb") as file:
        file.write(header("notes.txt", tarfile.REGTYPE, 1 << 40))
        for _ in range(200):
            file.write(bytes(MIB))
    refused("imagenet", tmp_path / "i", r"damaged gzip file.*devkit")


def test_lists_with_more_lines_than_there_are_images(tmp_path: Path) -> None:
    train, val = imagenet_files()
    write_files(tmp_path / "i" / "train", train)
    write_files(tmp_path / "i" / "val", flat(val))
    (tmp_path / "i/LOC_val_solution.csv").write_bytes(b"a,b\n" * 2 * MIB)
    refused("imagenet", tmp_path / "i", r"more lines than images.*LOC_val_solution\.csv")
    write_files(tmp_path / "f", {"train/cat/1.png": PNG, "val/images/2.png": PNG})
    (tmp_path / "f/val/val_annotations.txt").write_bytes(b"a\tb\n" * 2 * MIB)
    refused("folder", tmp_path / "f", r"more lines than images.*val_annotations\.txt")


def test_a_label_that_speaks_for_a_million_classes(tmp_path: Path) -> None:
    samples = {"a.png": PNG, "a.cls": b"0", "b.png": PNG, "b.cls": b"%d" % MOST_UNNAMED}
    write_files(tmp_path / "w", {"train.tar": tar_bytes(samples)})
    refused("webdataset", tmp_path / "w", rf"label out of range.*0 to {MOST_UNNAMED - 1}.*Got: {MOST_UNNAMED}")
    (tmp_path / "w/classes.txt").write_bytes(b"x\n" * (MOST_UNNAMED + 1))
    assert len(opened("webdataset", tmp_path / "w").classes) == MOST_UNNAMED + 1
