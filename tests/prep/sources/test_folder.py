"""Class folders: which layouts are understood, in which order the rows stand, and what is refused."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import pytest

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.sources import open_source, opening
from spectral_prep.sources.image_files import EncodedSource
from tests.support.releases import encoded, random_images, write_folder

REAL = os.environ.get("SPECTRAL_TEST_DATA")
NAMES = ["train/cat/2.png", "train/cat/10.png", "train/dog/1.png", "val/dog/9.png", "val/cat/8.png"]
NAMELESS = {"a/1.png": b"x", "a/photo": encoded(random_images(8, 8, 3)), "a/notes.txt": b"x" * 40, "b/2.jfif": b"x"}


def opened(root: Path, dataset: str = "folder") -> EncodedSource:
    source = open_source(dataset, root, root / ".staging")
    assert isinstance(source, EncodedSource)
    return source


def names(source: EncodedSource) -> dict[str, list[str]]:
    return {split: list(rows.names) for split, rows in source.index().items()}


def refused(root: Path, dataset: str = "folder") -> str:
    with pytest.raises(InputError) as caught:
        opened(root, dataset)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_rows_stand_by_file_name_then_class(tmp_path: Path) -> None:
    write_folder(tmp_path, [*NAMES, "train/dog/2.png"])
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.image_shape is None
    assert names(source) == {
        "train": ["dog/1.png", "cat/10.png", "cat/2.png", "dog/2.png"],
        "test": ["cat/8.png", "dog/9.png"],
    }
    assert source.index()["train"].labels.tolist() == [1, 0, 0, 1]


def test_reads_the_bytes_of_the_file(tmp_path: Path) -> None:
    write_folder(tmp_path, NAMES)
    source = opened(tmp_path)
    for split, folder in (("train", "train"), ("test", "val")):
        for row, name in enumerate(names(source)[split]):
            assert source.read(split, row, name) == (tmp_path / folder / name).read_bytes()
    (tmp_path / "train/cat/2.png").unlink()
    with pytest.raises(CorruptSourceError, match=r"cannot read an image.*train/cat/2\.png.*No such file") as caught:
        source.read("train", 2, "cat/2.png")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("folder", ["test", "val", "validation", "valid"])
def test_the_test_set_may_be_called(tmp_path: Path, folder: str) -> None:
    write_folder(tmp_path, ["train/a/1.png", f"{folder}/a/2.png"])
    assert names(opened(tmp_path)) == {"train": ["a/1.png"], "test": ["a/2.png"]}


def test_the_first_test_folder_with_classes_is_taken(tmp_path: Path) -> None:
    write_folder(tmp_path, ["train/a/1.png", "test/flat.png", "val/a/2.png", "valid/a/3.png"])
    assert names(opened(tmp_path))["test"] == ["a/2.png"]


def test_class_folders_directly_below_the_root(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a/1.png", "b/deep/er/2.png"])
    source = opened(tmp_path)
    assert names(source) == {"train": ["a/1.png", "b/deep/er/2.png"]}
    assert source.read("train", 1, "b/deep/er/2.png") == (tmp_path / "b/deep/er/2.png").read_bytes()


TINY = [
    "train/n01/images/n01_0.JPEG",
    "train/n02/images/n02_0.JPEG",
    "val/images/val_0.JPEG",
    "val/images/val_1.JPEG",
    "test/images/test_0.JPEG",
]


def test_the_official_tiny_imagenet_layout(tmp_path: Path) -> None:
    write_folder(tmp_path, TINY)
    (tmp_path / "train/n01/n01_boxes.txt").write_text("0 0 1 1")
    train = ["n01/images/n01_0.JPEG", "n02/images/n02_0.JPEG"]
    assert names(opened(tmp_path)) == {"train": train}  # without annotations val/ says nothing
    (tmp_path / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t0\t0\t9\t9\n")
    source = opened(tmp_path)
    assert names(source) == {"train": train, "test": ["n02/val_0.JPEG", "n01/val_1.JPEG"]}
    assert source.index()["test"].labels.tolist() == [1, 0]
    assert source.read("test", 1, "n01/val_1.JPEG") == (tmp_path / "val/images/val_1.JPEG").read_bytes()


def test_tiny_imagenet_images_without_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path, TINY)
    for content, expected in (
        ("val_0.JPEG\tn02\n", "no class for val_1.JPEG"),
        ("val_0.JPEG n02\n", "no class in line 1"),
    ):
        (tmp_path / "val/val_annotations.txt").write_text(content)
        with pytest.raises(CorruptSourceError, match=expected):
            opened(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_annotations_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    write_folder(tmp_path, ["train/n01/1.png", "train/n02/2.png", "val/images/caf\u00e9.png", "val/images/b.png"])
    lines = "caf\u00e9.png\tn02\t0\r\nb.png\tn01\t0\r\n"
    (tmp_path / "val/val_annotations.txt").write_bytes(lines.encode(encoding))
    source = opened(tmp_path)
    assert names(source)["test"] == ["n01/b.png", "n02/caf\u00e9.png"]
    assert source.classes == ("n01", "n02")


def test_only_images_count_whatever_the_case_of_their_extension(tmp_path: Path) -> None:
    kept = ["1.JPEG", "2.jpg", "3.PNG", "4.bmp", "5.gif", "6.ppm", "7.pgm", "8.tif", "9.TIFF", "A.webp"]
    for name in [*kept, "notes.txt", ".hidden.png", "Thumbs.db", "png"]:
        path = tmp_path / "train/a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    assert names(opened(tmp_path)) == {"train": [f"a/{name}" for name in kept]}


def test_the_order_in_which_files_were_made_does_not_matter(tmp_path: Path) -> None:
    made = [f"train/{label}/{number}.png" for label in "abc" for number in range(20)]
    fingerprints = set()
    for seed in range(3):
        random.Random(seed).shuffle(made)
        for name in made:
            path = tmp_path / str(seed) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(seed))
        fingerprints.add(opened(tmp_path / str(seed)).fingerprint)
    assert len(fingerprints) == 1


def test_the_fingerprint_follows_names_and_classes_but_not_content(tmp_path: Path) -> None:
    write_folder(tmp_path, NAMES)
    before = opened(tmp_path).fingerprint
    (tmp_path / "train/cat/2.png").write_bytes(b"repaired")
    assert opened(tmp_path).fingerprint == before
    (tmp_path / "train/cat/2.png").rename(tmp_path / "train/dog/2.png")
    assert opened(tmp_path).fingerprint != before


def test_a_source_is_small_to_send(tmp_path: Path) -> None:
    write_folder(tmp_path, NAMES)
    few = len(pickle.dumps(opened(tmp_path)))
    for number in range(200):
        (tmp_path / f"train/cat/more-{number}.png").write_bytes(b"")
    source = opened(tmp_path)
    assert len(pickle.dumps(source)) == few
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_folder(tmp_path, NAMES)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/cat/\xff.png"))).write_bytes(b"x")
    source = opened(tmp_path)
    row = names(source)["train"].index(r"cat/\xff.png")
    assert source.read("train", row, names(source)["train"][row]) == b"x"


def test_an_empty_file_is_a_damaged_image(tmp_path: Path) -> None:
    write_folder(tmp_path, NAMES)
    (tmp_path / "train/dog/1.png").write_bytes(b"")
    with pytest.raises(CorruptSourceError, match=r"empty.*dog/1\.png"):
        opened(tmp_path).read("train", 0, "dog/1.png")


def test_a_missing_folder_and_one_without_classes(tmp_path: Path) -> None:
    assert f"Where: {tmp_path}/gone" in refused(tmp_path / "gone")
    assert "no folders" in refused(tmp_path)
    (tmp_path / "file").write_text("")
    assert "Got: a file" in refused(tmp_path / "file")
    write_folder(tmp_path, ["train/loose.png"])
    assert "one folder a class" in refused(tmp_path)


def test_a_test_set_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, ["val/a/1.png", "test/a/2.png"])
    assert "train/<class>/" in refused(tmp_path)


def test_empty_class_folders_are_named_and_are_no_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, NAMES)
    before = opened(tmp_path)
    for name in ("bird", "fish", "lost+found", "__MACOSX", "@eaDir"):
        (tmp_path / "train" / name).mkdir()
    (tmp_path / "train/fish/notes.txt").write_text("no image")
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.fingerprint == before.fingerprint
    assert "Class folders without an image: bird, fish (in" in caplog.text


def test_what_is_an_image_by_its_content_is_one_and_the_rest_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, ["a/1.png"])
    png = (tmp_path / "a/1.png").read_bytes()
    for name in ("photo", "x.jfif", "y.JPE", "z.dat"):
        (tmp_path / "a" / name).write_bytes(png)
    for name in ("Thumbs.db", "desktop.ini", "boxes.txt", "more.txt", "._1.png"):
        (tmp_path / "a" / name).write_bytes(b"x" * 40)
    assert names(opened(tmp_path)) == {"train": ["a/1.png", "a/photo", "a/x.jfif", "a/y.JPE", "a/z.dat"]}
    (said,) = (record.getMessage() for record in caplog.records if "ignored" in record.getMessage())
    assert said.startswith("5 files ignored: .txt 2, ")
    assert all(kind in said for kind in ("hidden 1", ".db 1", ".ini 1"))


def test_files_with_an_image_ending_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, NAMES)
    monkeypatch.setattr("spectral_prep.sources.sniff._head", None)
    assert len(names(opened(tmp_path))["train"]) == 3


@pytest.mark.parametrize("readable", [True, False])
def test_heic_and_avif_count_where_they_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, readable: bool
) -> None:
    monkeypatch.setattr("spectral_prep.sources.opening.importlib.util.find_spec", lambda name: readable or None)
    monkeypatch.setattr("PIL.features.check", lambda name: readable)
    opening.reads.cache_clear()
    write_folder(tmp_path, ["a/1.png"])
    for name, brand in (("2.heic", b"heic"), ("3.avif", b"avif"), ("4", b"heic")):
        (tmp_path / "a" / name).write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(20))
    found = names(opened(tmp_path))["train"]
    opening.reads.cache_clear()
    assert found == (["a/1.png", "a/2.heic", "a/3.avif", "a/4"] if readable else ["a/1.png"])
    assert ("pip install 'spectral-shards[heif]' to read them" in caplog.text) != readable


def test_linked_folders_are_followed_and_rings_end(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", ["deep/2.png"])
    write_folder(tmp_path / "set", ["a/1.png"])
    (tmp_path / "set/a/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set/a")
    source = opened(tmp_path / "set")
    assert names(source) == {"train": ["a/1.png", "a/more/deep/2.png"]}
    assert source.read("train", 1, "a/more/deep/2.png") == (tmp_path / "elsewhere/deep/2.png").read_bytes()


def test_a_class_in_two_unicode_forms_is_one(tmp_path: Path) -> None:
    write_folder(tmp_path, ["train/caf\u00e9/1.png", "val/cafe\u0301/2.png"])
    source = opened(tmp_path)
    assert source.classes == ("caf\u00e9",)
    assert source.index()["test"].labels.tolist() == [0]
    assert source.read("test", 0, names(source)["test"][0]) == (tmp_path / "val/cafe\u0301/2.png").read_bytes()


def test_the_output_among_the_images_is_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, ["cat/1.png", "dog/2.png"])
    write_folder(tmp_path, ["spectral/folder-q4/sheet.png", "out/sheet.png"])
    for out in ("spectral/folder-q4", "out"):
        source = open_source("folder", tmp_path, tmp_path / out / ".staging-1")
        assert "cat" in source.classes
        assert out.partition("/")[0] not in source.classes


def test_no_image_at_all(tmp_path: Path) -> None:
    (tmp_path / "train/a").mkdir(parents=True)
    assert "without an image" in refused(tmp_path)


def test_test_classes_that_train_does_not_have(tmp_path: Path) -> None:
    write_folder(tmp_path, [*NAMES, "val/Cat/1.png"])
    error = refused(tmp_path)
    assert "test classes that train does not have" in error
    assert "Got: Cat" in error


def test_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, NAMES)
    listed = os.scandir

    def scandir(folder: Path) -> object:
        if Path(folder).name == "cat":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr("os.scandir", scandir)
    assert "Permission denied" in refused(tmp_path)


@pytest.mark.skipif(REAL is None, reason="SPECTRAL_TEST_DATA does not name a folder with the real data sets")
def test_the_real_trees() -> None:
    tiny = opened(Path(str(REAL)) / "tiny-imagenet")
    assert {split: len(rows.names) for split, rows in tiny.index().items()} == {"train": 20000, "test": 2000}
    imagenet = opened(Path(str(REAL)) / "imagenet/folder", "imagenet")
    assert len(imagenet.classes) == 500
    assert sorted(rows.labels.size for rows in imagenet.index().values()) == [100, 400]
