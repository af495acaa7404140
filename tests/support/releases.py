"""Tiny inputs in the layouts of the official releases, seeded."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import savemat

from spectral_prep.sources.cifar import RELEASES
from spectral_prep.sources.idx import IMAGES_MAGIC, LABELS_MAGIC

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]

CIFAR_LAYOUTS = ("binary", "python", "binary.tar.gz", "python.tar.gz")


def random_images(rows: int, *shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (rows, *shape), dtype=np.uint8)


def random_labels(rows: int, classes: int = 10, seed: int = 0) -> Labels:
    return np.random.default_rng(seed + 1).integers(0, classes, rows).astype(np.uint8)


def idx_bytes(magic: int, values: npt.NDArray[np.uint8]) -> bytes:
    return struct.pack(f">I{values.ndim}I", magic, *values.shape) + values.tobytes()


def write_idx(
    folder: Path,
    images: Images,
    labels: Labels,
    split: str = "train",
    *,
    prefix: str = "",
    zipped: bool = True,
    separator: str = "-",
) -> tuple[Path, Path]:
    """Write one split of an IDX release, images (n, H, W) and labels (n,); return the two paths."""
    folder.mkdir(parents=True, exist_ok=True)
    start = f"{prefix}-{split}" if prefix else split
    paths = []
    for kind, magic, values in (("images", IMAGES_MAGIC, images), ("labels", LABELS_MAGIC, labels)):
        path = folder / f"{start}-{kind}{separator}idx{values.ndim}-ubyte{'.gz' if zipped else ''}"
        content = idx_bytes(magic, values)
        path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
        paths.append(path)
    return paths[0], paths[1]


def write_mnist(
    folder: Path, rows: int = 20, test_rows: int = 10, size: int = 28, **options: Any
) -> dict[str, tuple[Images, Labels]]:
    """Write a whole IDX release of random images and return them, by split."""
    written = {}
    for seed, (split, name, count) in enumerate((("train", "train", rows), ("test", "t10k", test_rows))):
        images, labels = random_images(count, size, size, seed=seed), random_labels(count, seed=seed)
        write_idx(folder, images, labels, name, **options)
        written[split] = (images, labels)
    return written


def cifar_rows(dataset: str = "cifar10", rows: int = 3) -> dict[str, tuple[Images, Labels]]:
    """Return random rows, images (n, 32, 32, 3), for every part of a CIFAR release."""
    release = RELEASES[dataset]
    return {
        part: (random_images(rows, 32, 32, 3, seed=seed), random_labels(rows, release.class_count, seed=seed))
        for seed, part in enumerate(release.splits)
    }


def cifar_names(dataset: str) -> list[str]:
    return [f"class {number}" for number in range(RELEASES[dataset].class_count)]


def cifar_files(dataset: str, form: str, parts: Mapping[str, tuple[Images, Any]]) -> dict[str, bytes]:
    """Return the files of the "binary" or "python" form of a CIFAR release, by name."""
    release = RELEASES[dataset]
    binary, python = release.forms
    names = cifar_names(dataset)
    if form == "binary":
        files = {binary.meta: ("\n".join(names) + "\n\n").encode()}
        for part, (images, labels) in parts.items():
            coarse = np.zeros((len(images), release.label_bytes - 1), np.uint8)
            files[f"{part}.bin"] = np.hstack([coarse, labels[:, None], planes(images)]).tobytes()
        return files
    files = {python.meta: pickle.dumps({release.names_key: [name.encode() for name in names]}, protocol=2)}
    for part, (images, labels) in parts.items():
        batch = {b"batch_label": part.encode(), release.labels_key: list(map(int, labels)), b"data": planes(images)}
        files[part] = pickle.dumps(batch, protocol=2)
    return files


def write_cifar(root: Path, dataset: str, layout: str, parts: Mapping[str, tuple[Images, Any]]) -> Path:
    """Write one of `CIFAR_LAYOUTS` below root and return the folder or the archive."""
    form, _, archived = layout.partition(".")
    files = cifar_files(dataset, form, parts)
    described = RELEASES[dataset].forms[("binary", "python").index(form)]
    if archived:
        return write_tar(
            root / described.archive, {f"{described.folder}/{name}": files[name] for name in sorted(files)}
        )
    (root / described.folder).mkdir(parents=True)
    for name, content in files.items():
        (root / described.folder / name).write_bytes(content)
    return root / described.folder


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def tar_bytes(members: Mapping[str, bytes], **options: Any) -> bytes:
    """Return an uncompressed tar archive; names may be surrogate-escaped."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below root, by their path in it."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def class_tars(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a tar for each class, by its name, from files called "class/file"."""
    classes: dict[str, dict[str, bytes]] = {}
    for name, content in files.items():
        label, _, file = name.partition("/")
        classes.setdefault(label, {})[file] = content
    return {f"{label}.tar": tar_bytes(members) for label, members in classes.items()}


def imagenet_files(
    train: int = 3, val: int = 2, classes: Sequence[str] = ("n01440764", "n02084071", "n03792782")
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the training and validation images of a small ImageNet, called "class/file"; classes take turns."""
    train_names = [f"{wnid}/{wnid}_{number}.JPEG" for number in range(train) for wnid in classes]
    turns = [classes[-1 - number % len(classes)] for number in range(val * len(classes))]
    val_names = [f"{wnid}/ILSVRC2012_val_{number:08}.JPEG" for number, wnid in enumerate(turns, 1)]
    images = [encoded(random_images(24, 32, 3, seed=seed)[0], "JPEG") for seed in range(len(train_names + val_names))]
    return dict(zip(train_names, images, strict=False)), dict(zip(val_names, images[len(train_names) :], strict=True))


def flat(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the same files without their folders."""
    return {name.rpartition("/")[2]: content for name, content in files.items()}


def devkit_files(val: Iterable[str]) -> dict[str, bytes]:
    """Return the development kit of validation images called "class/ILSVRC2012_val_00000001.JPEG", by path in it.

    Ids count down through the classes, so that they are not the order of the names, and two synsets are no classes.
    """
    labels = [name.partition("/")[0] for name in sorted(val, key=lambda name: name.partition("/")[2])]
    wnids = ["n00001740", "n00002137", *sorted(set(labels))]
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height"]
    synsets = np.zeros((len(wnids), 1), [(name, object) for name in fields])
    for place, wnid in enumerate(wnids):
        children = 0 if place > 1 else len(wnids) - 2
        synsets[place, 0] = (len(wnids) - place, wnid, wnid, "gloss", children, np.arange(float(children)), 0)
    buffer = io.BytesIO()
    savemat(cast(Any, buffer), {"synsets": synsets})
    truth = "".join(f"{len(wnids) - wnids.index(label)}\n" for label in labels)
    folder = "ILSVRC2012_devkit_t12/data"
    return {
        f"{folder}/meta.mat": buffer.getvalue(),
        f"{folder}/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }


def planes(images: Images) -> Images:
    """Return (n, 32, 32, 3) images as the (n, 3072) rows of a CIFAR release."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def python2_pickle(content: Mapping[bytes, Any]) -> bytes:
    """Return what Python 2 and numpy 1 wrote, as in the official CIFAR archives: byte strings, numpy.core names."""
    items = b"".join(_python2(key) + _python2(value) for key, value in content.items())
    return b"\x80\x02}(" + items + b"u."


def _python2(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    shape = b"".join(map(_python2, value.shape))
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return made + b"(K\x01(" + shape + b"t" + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"


def encoded(pixels: Images, kind: str = "PNG", **options: Any) -> bytes:
    """Return (H, W), (H, W, 3) or (H, W, 4) pixels as an image file."""
    return saved(Image.fromarray(pixels), kind, **options)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a Pillow image as an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_folder(root: Path, names: Iterable[str], size: Sequence[int] = (8, 8)) -> dict[str, Images]:
    """Write a random image for each name ("train/cat/1.png"), and return the pixels by name."""
    written = {}
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written[name] = random_images(*size, 3, seed=seed)
        path.write_bytes(encoded(written[name], "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"))
    return written
