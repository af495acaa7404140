"""The hostile inputs that `hostile` measures: images and what is converted."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from spectral_prep.sources.idx import IMAGES_MAGIC, LABELS_MAGIC
from tests.prep.sources.test_hostile import ENDLESS, MEMBER, header, pax
from tests.support.releases import (
    cifar_rows,
    devkit_files,
    encoded,
    flat,
    imagenet_files,
    random_images,
    saved,
    tar_bytes,
    write_cifar,
    write_files,
    write_mnist,
    write_tar,
)
from tests.torture.hostile import Case

MIB, GIB = 1 << 20, 1 << 30
Spoil = Callable[[Path], object]
PNG = encoded(random_images(1, 8, 8, 3)[0])
PREDICT = "spectral-ensemble predict run picture.png"


def convert(dataset: str, options: str = "") -> str:
    """Return the command that converts `source`."""
    return (
        f"spectral-prep convert --dataset {dataset} --source source --q 4 --out out --workers 1 --device cpu {options}"
    )


def written(path: str, content: bytes | Callable[[], bytes]) -> Spoil:
    """Return what writes a file below the folder of a case."""
    return lambda case: write_files(case, {path: content if isinstance(content, bytes) else content()})


def pipe(path: str) -> Spoil:
    """Return what puts a pipe in the place of a file."""

    def spoil(root: Path) -> None:
        (root / path).unlink()
        os.mkfifo(root / path)

    return spoil


def endless(path: str) -> Spoil:
    """Return what puts a link to a device in the place of a file."""

    def spoil(root: Path) -> None:
        (root / path).unlink()
        (root / path).symlink_to("/dev/zero")

    return spoil


def holes(path: str, size: int) -> Spoil:
    """Return what makes a file as large as that, without taking room."""

    def spoil(root: Path) -> None:
        (root / path).touch()
        os.truncate(root / path, size)

    return spoil


# Images


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 0) -> bytes:
    """Return a PNG of these chunks."""
    first = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + first + b"".join(chunks) + chunk(b"IEND", b"")


def deflated(content: bytes) -> bytes:
    """Return a block of deflate that may follow any other, and that any other may follow."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)


def zero_blocks(size: int) -> bytes:
    """Return so many zeros as blocks of deflate, at once whatever the size."""
    return deflated(bytes(MIB)) * (size // MIB) + deflated(bytes(size % MIB)) + b"\3\0"


def gzip_start(content: bytes) -> bytes:
    """Return what a gzip file begins with; what follows is deflate, then eight bytes, here of no right checksum."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated(content)


def zeros(size: int) -> bytes:
    """Return zlib's stream of so many zeros."""
    return b"\x78\xda" + zero_blocks(size) + struct.pack(">HH", size % 65521, 1)


def scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan comes so many times."""
    honest = saved(Image.new("L", (3000, 3000), 90), "JPEG", progressive=True)
    last = honest.rindex(b"\xff\xda")
    tables = honest.rindex(b"\xff\xc4", 0, last)
    return honest[:-2] + honest[tables:-2] * count + honest[-2:]


def photograph(kind: str, **options: Any) -> Callable[[], bytes]:
    """Return what makes an honest image of 9 million pixels."""

    def make() -> bytes:
        small = Image.fromarray(random_images(1, 300, 300, 3)[0])
        return saved(small.resize((3000, 3000)), kind, **options)

    return make


def ppm(width: int, height: int) -> bytes:
    """Return a PPM that says so."""
    return f"P6 {width} {height} 255\n".encode() + bytes(100)


IMAGES: Mapping[str, tuple[str, Callable[[], bytes], Callable[[], bytes]]] = {
    "a PNG of 60,000 × 60,000 pixels": ("png", lambda: PNG, lambda: png(60000, 60000, chunk(b"IDAT", zeros(10 * MIB)))),
    "a PNG of 8 × 8 pixels that inflates to 1 GiB": (
        "png",
        lambda: PNG,
        lambda: png(8, 8, chunk(b"IDAT", zeros(GIB))),
    ),
    "a PNG with a colour profile of 1 GiB": (
        "png",
        lambda: PNG,
        lambda: png(8, 8, chunk(b"iCCP", b"x\0\0" + zeros(GIB)), chunk(b"IDAT", zeros(72))),
    ),
    "a PNG with 64 texts of 32 MiB": (
        "png",
        lambda: PNG,
        lambda: png(8, 8, chunk(b"zTXt", b"x\0\0" + zeros(32 * MIB)) * 64, chunk(b"IDAT", zeros(72))),
    ),
    "a PNG of a million empty chunks": (
        "png",
        lambda: PNG,
        lambda: png(8, 8, chunk(b"prVt", b"") * 10**6, chunk(b"IDAT", zeros(72))),
    ),
    "a JPEG of a million empty segments": (
        "jpg",
        photograph("JPEG"),
        lambda: photograph("JPEG")().replace(b"\xff\xd8", b"\xff\xd8" + b"\xff\xe5\0\2" * 10**6, 1),
    ),
    "a GIF of a million comments": (
        "gif",
        lambda: saved(Image.new("P", (8, 8)), "GIF"),
        lambda: saved(Image.new("P", (8, 8)), "GIF").replace(
            b"\x2c\0\0\0\0", b"\x21\xfe\1x\0" * 10**6 + b"\x2c\0\0\0\0", 1
        ),
    ),
    "a JPEG of 65,535 × 65,535 pixels": (
        "jpg",
        photograph("JPEG"),
        lambda: photograph("JPEG")().replace(struct.pack(">HH", 3000, 3000), b"\xff\xff\xff\xff"),
    ),
    "a progressive JPEG of 2,000 scans": ("jpg", photograph("JPEG", progressive=True), lambda: scans(2000)),
    "a GIF of 65,535 × 65,535 pixels": (
        "gif",
        lambda: saved(Image.new("P", (8, 8)), "GIF"),
        lambda: saved(Image.new("P", (8, 8)), "GIF").replace(struct.pack("<HH", 8, 8), b"\xff\xff\xff\xff"),
    ),
    "a TIFF of 2^31 × 2^31 pixels": (
        "tif",
        lambda: saved(Image.new("RGB", (8, 8)), "TIFF"),
        lambda: saved(Image.new("RGB", (8, 8)), "TIFF").replace(
            struct.pack("<HHIHH", 256, 4, 1, 8, 0), struct.pack("<HHII", 256, 4, 1, 2**31)
        ),
    ),
    "a TIFF of 1 GiB in a strip of 1 MiB": (
        "tif",
        lambda: saved(Image.new("RGB", (8, 8)), "TIFF", compression="tiff_adobe_deflate"),
        lambda: deflated_tiff(),
    ),
    "a PPM of 65,535 × 65,535 pixels": ("ppm", lambda: b"P6 8 8 255\n" + bytes(192), lambda: ppm(65535, 65535)),
    "a PPM of 9,000 × 9,000 pixels that ends": ("ppm", lambda: b"P6 8 8 255\n" + bytes(192), lambda: ppm(9000, 9000)),
    "a PPM with a number of 20 MiB": (
        "ppm",
        lambda: b"P6 8 8 255\n" + bytes(192),
        lambda: b"P6 " + b"9" * 20 * MIB + b" 8 255\n",
    ),
    "a PostScript in the place of an image": (
        "png",
        lambda: PNG,
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9000 9000\n%%EndComments\n{} loop\n",
    ),
    "an image of 1 TiB of holes": ("png", lambda: PNG, lambda: b""),
}


def deflated_tiff() -> bytes:
    """Return a TIFF of 8 × 8 pixels whose strip inflates to 1 GiB."""
    strip = zeros(GIB)
    entries = [(256, 8), (257, 8), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, 8), (279, len(strip))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(entries)) + table + bytes(4)


def image_cases(run: Spoil) -> Iterator[Case]:
    """Yield the cases of images: one beside eleven honest ones that are converted, and one to predict."""
    made: dict[str, Spoil] = {}
    for name, (suffix, honest, hostile) in IMAGES.items():
        path = f"source/cat/odd.{suffix}"
        key = f"{suffix} {honest.__qualname__} {id(honest)}" if suffix == "jpg" else suffix
        make = made.setdefault(key, _folder_with(path, honest))
        spoil = holes(path, 1 << 40) if "holes" in name else written(path, hostile)
        yield Case(name, convert("folder", "--size 8 --resize 8"), make, spoil)
        if suffix == "png":
            spoil = holes("picture.png", 1 << 40) if "holes" in name else written("picture.png", hostile)
            yield Case(name, PREDICT, run, spoil)


def _folder_with(path: str, content: Callable[[], bytes]) -> Spoil:
    def make(case: Path) -> None:
        files = {f"source/{name}/{number}.png": PNG for number in range(6) for name in ("cat", "dog")}
        write_files(case, {**files, path: content()})

    return make


# Tars


def webdataset(case: Path) -> None:
    """Write an honest set of eight samples."""
    samples = {f"{number}.{kind}": each for number in range(8) for kind, each in (("png", PNG), ("cls", b"0"))}
    write_files(case / "source", {"train.tar": tar_bytes(samples)})


def samples(**others: bytes) -> Spoil:
    """Return what writes a sample of these members beside an honest one."""
    members = {"a.png": PNG, "a.cls": b"0", "b.png": PNG, **{f"b.{kind}": each for kind, each in others.items()}}
    return lambda case: write_files(case / "source", {"train.tar": tar_bytes(members)})


def whole_tar(case: Path) -> None:
    """Write an honest ImageNet-21K of two images."""
    write_files(case / "source", {"fall11_whole.tar": tar_bytes({"n1/1.png": PNG, "n2/2.png": PNG})})


def tar_of(content: bytes) -> Spoil:
    """Return what writes a tar of these bytes."""
    return written("source/fall11_whole.tar", content + bytes(1024))


def packed_tar(case: Path) -> None:
    """Write an honest ImageNet-21K in one stream."""
    write_files(
        case / "source", {"winter21_whole.tar.gz": gzip.compress(tar_bytes({"n1/1.png": PNG, "n2/2.png": PNG}))}
    )


def packed_bomb(path: str, name: str, size: int) -> Spoil:
    """Return what writes a packed tar with a member of so many zeros."""

    begin = gzip_start(header(name, tarfile.REGTYPE, size))
    return written(path, lambda: begin + zero_blocks(size + MIB) + bytes(8))


WEBDATASET = convert("webdataset", "--size 8 --resize 8")
WHOLE, PACKED = (convert("imagenet21k", f"--size 8 --resize 8 {more}") for more in ("", "--shuffle none"))
TARS: Mapping[str, tuple[str, Spoil, Spoil]] = {
    "a label of 2,000,000,000": (WEBDATASET, webdataset, samples(cls=b"2000000000")),
    "a label of 1,000,000": (WEBDATASET, webdataset, samples(cls=b"1000000")),
    "a label nested 4 million deep": (WEBDATASET, webdataset, samples(json=b"[" * (4 * MIB - 1))),
    "a label among a million empty lists": (
        WEBDATASET,
        webdataset,
        samples(json=b'{"label": -1, "x": [' + b"[]," * 10**6 + b"0]}"),
    ),
    "names of classes in 1 GiB": (
        WEBDATASET,
        webdataset,
        holes("source/classes.txt", GIB),
    ),
    "two million names of classes": (WEBDATASET, webdataset, written("source/classes.txt", lambda: b"x\n" * 2 * 10**6)),
    "a description nested 4 million deep": (
        WEBDATASET,
        webdataset,
        written("source/dataset_info.json", lambda: b"[" * 4 * 10**6),
    ),
    "a pipe in the place of a tar": (
        WEBDATASET,
        webdataset,
        pipe("source/train.tar"),
    ),
    "/dev/zero in the place of a tar": (
        WEBDATASET,
        webdataset,
        endless("source/train.tar"),
    ),
    "a pax header of 8 GiB": (WHOLE, whole_tar, tar_of(header("x", tarfile.XHDTYPE, 8 << 30) + MEMBER)),
    "a member of 10^30 bytes": (WHOLE, whole_tar, tar_of(pax(tarfile.XHDTYPE, size=str(10**30)) + MEMBER)),
    "ten thousand long names in a row": (
        WHOLE,
        whole_tar,
        tar_of(header("x", tarfile.GNUTYPE_LONGNAME, 0) * 10_000 + MEMBER),
    ),
    "a thousand global fields of a MiB": (
        WHOLE,
        whole_tar,
        lambda case: tar_of(
            b"".join(pax(tarfile.XGLTYPE, **{f"f{n}": "x" * (MIB - 100)}) for n in range(200)) + MEMBER
        )(case),
    ),
    "holes without an end": (
        WHOLE,
        whole_tar,
        lambda case: tar_of(ENDLESS + (b"0" * 504 + b"\1" + bytes(7)) * 200_000)(case),
    ),
    "an image of 8 GiB in a packed tar": (
        PACKED,
        packed_tar,
        packed_bomb("source/winter21_whole.tar.gz", "n1/1.png", 8 << 30),
    ),
    "a file of 8 GiB in a packed tar": (
        PACKED,
        packed_tar,
        packed_bomb("source/winter21_whole.tar.gz", "n1/1.txt", 8 << 30),
    ),
    "8 GiB of zeros as a packed tar": (
        PACKED,
        packed_tar,
        packed_bomb("source/winter21_whole.tar.gz", ".hidden", 8 << 30),
    ),
}


# ImageNet


def imagenet(case: Path) -> None:
    """Write an honest ImageNet of folders and a packed development kit."""
    train, val = imagenet_files()
    write_files(case / "source" / "train", train)
    write_files(case / "source" / "val", flat(val))
    write_tar(case / "source/ILSVRC2012_devkit_t12.tar.gz", devkit_files(val))


def kaggle(case: Path) -> None:
    """Write an honest ImageNet in Kaggle's layout."""
    train, val = imagenet_files()
    write_files(case / "source" / "train", train)
    write_files(case / "source" / "val", flat(val))
    lines = "".join(f"{Path(name).stem},{name.partition('/')[0]} 1 2 3 4\n" for name in val)
    (case / "source/LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{lines}")


def kit(change: Callable[[dict[str, bytes]], object]) -> Spoil:
    """Return what changes the files of the development kit."""

    def spoil(case: Path) -> None:
        files = devkit_files(imagenet_files()[1])
        change(files)
        write_tar(case / "source/ILSVRC2012_devkit_t12.tar.gz", files)

    return spoil


def element(kind: int, content: bytes) -> bytes:
    """Return an element of a MATLAB file."""
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def packed(content: bytes) -> bytes:
    """Return a compressed element."""
    content = zlib.compress(content, 9)
    return struct.pack("<II", 15, len(content)) + content


def array(kind: int, rows: int, columns: int, *content: bytes) -> bytes:
    """Return a MATLAB array called synsets."""
    flags, shape = element(6, struct.pack("<II", kind, 0)), element(5, struct.pack("<ii", rows, columns))
    return element(14, flags + shape + element(1, b"synsets") + b"".join(content))


FIELDS = struct.pack("<HHi", 5, 4, 32) + element(1, b"WNID".ljust(32, b"\0"))


def meta(*elements: bytes) -> Spoil:
    """Return what gives the development kit another list of classes."""

    def change(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.endswith("meta.mat"))
        files[name] = files[name][:128] + b"".join(elements)

    return kit(change)


IMAGENET = convert("imagenet", "--size 8 --resize 8")
KITS: Mapping[str, tuple[str, Spoil, Spoil]] = {
    "a list of classes that inflates to 1 GiB": (
        IMAGENET,
        imagenet,
        lambda case: meta(struct.pack("<II", 15, len(inner := zeros(GIB))) + inner)(case),
    ),
    "a list of classes packed twice, 2 GiB": (
        IMAGENET,
        imagenet,
        lambda case: meta(packed(struct.pack("<II", 15, len(inner := zeros(2 * GIB))) + inner))(case),
    ),
    "a list of 2^28 cells": (IMAGENET, imagenet, meta(array(1, 1 << 28, 1, element(14, b"")))),
    "a list of 2^27 structures": (IMAGENET, imagenet, meta(array(2, 1 << 27, 1, FIELDS, element(14, b"")))),
    "a list of 8 million empty cells": (
        IMAGENET,
        imagenet,
        lambda case: meta(packed(array(1, 8 * 10**6, 1, element(14, b"") * 8 * 10**6)))(case),
    ),
    "a list of arrays nested 100,000 deep": (IMAGENET, imagenet, lambda case: meta(nested(100_000))(case)),
    "a file of 8 GiB in the development kit": (
        IMAGENET,
        imagenet,
        packed_bomb("source/ILSVRC2012_devkit_t12.tar.gz", "notes.txt", 8 << 30),
    ),
    "60 MiB of labels": (
        IMAGENET,
        imagenet,
        kit(lambda files: files.update({name: b"1 " * 30 * MIB for name in files if name.endswith(".txt")})),
    ),
    "200 MiB of short lines as Kaggle's labels": (
        IMAGENET,
        kaggle,
        written("source/LOC_val_solution.csv", lambda: b"a,b\n" * 50 * MIB),
    ),
    "200 MiB of one line as Kaggle's labels": (
        IMAGENET,
        kaggle,
        written("source/LOC_val_solution.csv", lambda: b"a" * 200 * MIB),
    ),
}


def nested(depth: int) -> bytes:
    """Return cells in cells."""
    head = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, b"")
    sizes = range(len(head), depth * (len(head) + 8), len(head) + 8)
    return b"".join(struct.pack("<II", 14, size) + head for size in reversed(sizes))


# Arrays


def mnist(case: Path) -> None:
    """Write an honest MNIST."""
    write_mnist(case / "source", zipped=True)


def plain_mnist(case: Path) -> None:
    """Write an honest MNIST, not packed."""
    write_mnist(case / "source", zipped=False)


def idx(rows: int, held: int, zipped: bool = False) -> Spoil:
    """Return what writes images that state so many rows and hold so many, all zeros."""

    def spoil(case: Path) -> None:
        for kind, magic, shape in (
            ("images-idx3", IMAGES_MAGIC, (rows, 28, 28)),
            ("labels-idx1", LABELS_MAGIC, (rows,)),
        ):
            first, size = struct.pack(f">I{len(shape)}I", magic, *shape), held * (784 if len(shape) == 3 else 1)
            path = case / f"source/train-{kind}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip_start(first) + zero_blocks(size) + bytes(8) if zipped else first + bytes(size))

    return spoil


def cifar(layout: str) -> Spoil:
    """Return what writes an honest CIFAR-10."""
    return lambda case: write_cifar(case / "source", "cifar10", layout, cifar_rows())


BINARY, PYTHON, PACKED_BINARY = map(cifar, ("binary", "python", "binary.tar.gz"))
MNIST, CIFAR = convert("mnist"), convert("cifar10")
BATCH = "source/cifar-10-batches-py/data_batch_1"
ARRAYS: Mapping[str, tuple[str, Spoil, Spoil]] = {
    "an IDX file of 2^32 rows": (MNIST, plain_mnist, idx(2**32 - 1, 1)),
    "an IDX file of 4 million rows of zeros in 4 MiB": (MNIST, mnist, idx(1 << 22, 1 << 22, zipped=True)),
    "a packed IDX file that goes on for 8 GiB": (MNIST, mnist, idx(16384, 10 << 20, zipped=True)),
    "a pickle of two million steps": (CIFAR, PYTHON, written(BATCH, b"\x80\x02" + b"]" * 2 * 10**6 + b".")),
    "a pickle of a bytearray of 60 GiB": (
        CIFAR,
        PYTHON,
        written(BATCH, b"\x80\x05\x96" + struct.pack("<Q", 60 << 30) + b"."),
    ),
    "a pickle of 30 MB of doubled tuples": (CIFAR, PYTHON, written(BATCH, b"\x80\x02)" + b"2\x86" * 5 * 10**5 + b".")),
    "a pickle of a number of a million digits": (
        CIFAR,
        PYTHON,
        written(BATCH, lambda: pickle.dumps({b"labels": [1 << (8 * 10**6)], b"data": 0}, 2)),
    ),
    "a file of 8 GiB in CIFAR's packed tar": (
        CIFAR,
        PACKED_BINARY,
        packed_bomb("source/cifar-10-binary.tar.gz", "cifar-10-batches-bin/data_batch_1.bin", 8 << 30),
    ),
    "another file of 8 GiB in CIFAR's packed tar": (
        CIFAR,
        PACKED_BINARY,
        packed_bomb("source/cifar-10-binary.tar.gz", "cifar-10-batches-bin/notes.txt", 8 << 30),
    ),
    "a batch of 1 TiB of holes": (
        CIFAR,
        BINARY,
        holes("source/cifar-10-batches-bin/data_batch_1.bin", 1 << 40),
    ),
}


# Parquet


def table(path: Path, images: Any, labels: Any, metadata: Mapping[str, str] | None = None, **options: Any) -> None:
    """Write a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = pyarrow.table({"image": pyarrow.array(images, pyarrow.binary()), "label": labels})
    if metadata:
        columns = columns.replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(columns, path, compression="zstd", **options)


def parquet(case: Path) -> None:
    """Write an honest file of 16 rows."""
    images = [encoded(pixels) for pixels in random_images(16, 8, 8, 3)]
    table(case / "source/train.parquet", images, [number % 2 for number in range(16)])


def large_images(case: Path) -> None:
    """Write an honest file of four images of 32 MiB, most of which follows their end."""
    table(case / "source/train.parquet", [PNG + os.urandom(32 * MIB) for _ in range(4)], [0, 1, 0, 1])


def equal_rows(case: Path) -> None:
    """Write ten million rows without images, in a few kilobytes."""
    rows = 10**7
    table(case / "source/train.parquet", pyarrow.nulls(rows, pyarrow.binary()), np.zeros(rows, np.int8))


def dictionary(case: Path) -> None:
    """Write sixteen rows that are the same 64 MiB of zeros."""
    images = pyarrow.DictionaryArray.from_arrays(np.zeros(16, np.int32), [bytes(64 * MIB)])
    path = case / "source/train.parquet"
    columns = pyarrow.table({"image": images, "label": np.zeros(16, np.int8)})
    pyarrow.parquet.write_table(columns, path, compression="zstd", store_schema=False)


def one_page(case: Path) -> None:
    """Write an image of 900 MiB of zeros."""
    table(case / "source/train.parquet", [bytes(900 * MIB)], [0], use_dictionary=False)


def prefixes(case: Path) -> None:
    """Write images that each say that they begin as the one before: 16 of 32 MiB."""
    table(
        case / "source/train.parquet",
        [bytes(32 * MIB)] * 16,
        [0] * 16,
        use_dictionary=False,
        column_encoding={"image": "DELTA_BYTE_ARRAY", "label": "PLAIN"},
    )


PARQUET = convert("parquet", "--size 8 --resize 8 --shuffle none")
PARQUETS: Mapping[str, tuple[str, Spoil, Spoil]] = {
    "ten million rows in a Parquet file of some kB": (PARQUET, parquet, equal_rows),
    "a Parquet dictionary of one image of 64 MiB": (PARQUET, parquet, dictionary),
    "a Parquet page of 900 MiB": (PARQUET, parquet, one_page),
    "Parquet values of 32 MiB that repeat the one before": (PARQUET, large_images, prefixes),
    "Hugging Face's metadata nested 5 million deep": (
        PARQUET,
        parquet,
        lambda case: table(case / "source/train.parquet", [PNG], [0], {"huggingface": "[" * 5 * 10**6}),
    ),
    "Hugging Face's names: 1.2 million": (
        PARQUET,
        parquet,
        lambda case: table(
            case / "source/train.parquet",
            [PNG],
            [0],
            {
                "huggingface": json.dumps(
                    {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["x"] * 1200000}}}}
                )
            },
        ),
    ),
}


def source_cases() -> Iterator[Case]:
    """Yield the cases of what is converted."""
    for cases in (TARS, KITS, ARRAYS, PARQUETS):
        for name, (command, make, spoil) in cases.items():
            yield Case(name, command, make, spoil)
