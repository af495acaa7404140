"""ImageNet-1K: every form of the release gives the same rows, the same images and the same output."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.sources import open_source
from spectral_prep.sources.interface import Source
from tests.support.releases import class_tars, devkit_files, flat, imagenet_files, tar_bytes, write_files, write_tar
from tests.support.trees import tree

TRAIN, VAL = imagenet_files()
KIT = devkit_files(VAL)
TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def train_folders(root: Path) -> None:
    write_files(root / "train", TRAIN)


def train_class_tars(root: Path) -> None:
    write_files(root / "train", class_tars(TRAIN))


def train_tar(root: Path) -> None:
    write_files(root, {TRAIN_TAR: tar_bytes(class_tars(TRAIN))})


def train_tar_of_folders(root: Path) -> None:
    write_files(root, {TRAIN_TAR: tar_bytes({f"./train/{name}": content for name, content in TRAIN.items()})})


def val_folders(root: Path) -> None:
    write_files(root / "val", VAL)


def val_flat(root: Path) -> None:
    write_files(root / "val", flat(VAL))
    write_files(root, KIT)


def val_flat_of_kaggle(root: Path) -> None:
    write_files(root / "val", flat(VAL))
    lines = [f"{name.partition('/')[2][:-5]},{name.partition('/')[0]} 85 1 499 272\n" for name in reversed(VAL)]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))


def val_tar(root: Path) -> None:
    write_files(root, {VAL_TAR: tar_bytes(flat(VAL))})
    write_tar(root / "ILSVRC2012_devkit_t12.tar.gz", KIT)


FORMS = [
    (train_tar, val_tar),
    (train_folders, val_tar),
    (train_tar, val_folders),
    (train_class_tars, val_flat),
    (train_tar_of_folders, val_flat_of_kaggle),
]


def opened(root: Path) -> Source:
    return open_source("imagenet", root, root / "staging")


def rows(source: Source) -> dict[str, list[tuple[str, int, bytes]]]:
    return {
        split: [
            (name, int(label), bytes(source.read(split, row, name)))
            for row, (name, label) in enumerate(zip(found.names, found.labels, strict=True))
        ]
        for split, found in source.index().items()
    }


@pytest.fixture
def extracted(tmp_path: Path) -> Path:
    train_folders(tmp_path / "extracted")
    val_folders(tmp_path / "extracted")
    return tmp_path / "extracted"


@pytest.mark.parametrize("forms", FORMS, ids=lambda forms: "-".join(form.__name__ for form in forms))
def test_every_form_gives_the_rows_of_the_tree(
    tmp_path: Path, extracted: Path, forms: tuple[Callable[[Path], None], ...]
) -> None:
    for form in forms:
        form(tmp_path / "other")
    expected, source = opened(extracted), opened(tmp_path / "other")
    assert rows(pickle.loads(pickle.dumps(source))) == rows(expected)  # noqa: S301
    assert source.fingerprint == expected.fingerprint
    assert source.classes == ("n01440764", "n02084071", "n03792782")
    assert source.random_access


def test_rows_stand_by_file_name_and_carry_the_labels_of_the_kit(extracted: Path) -> None:
    index = opened(extracted).index()
    assert list(index["train"].names[:2]) == ["n01440764/n01440764_0.JPEG", "n01440764/n01440764_1.JPEG"]
    assert [name[-13:-5] for name in index["test"].names] == [f"{number:08}" for number in range(1, 7)]
    assert index["test"].labels.tolist() == [2, 1, 0, 2, 1, 0]


def test_tars_and_tree_convert_to_the_same_bytes(tmp_path: Path, extracted: Path) -> None:
    train_tar(tmp_path / "tars")
    val_tar(tmp_path / "tars")
    request = Request("imagenet", "4", size=16, block_rows=4)
    alone = Execution(workers=1)
    outs = [convert(request, source, source / "out", alone).root for source in (extracted, tmp_path / "tars")]
    assert tree(outs[0]) == tree(outs[1])


@pytest.mark.parametrize("below", ["ILSVRC/Data/CLS-LOC", "Data/CLS-LOC"])
def test_the_tree_may_lie_where_kaggle_puts_it(tmp_path: Path, extracted: Path, below: str) -> None:
    write_files(tmp_path / "kaggle" / below, {"test/ILSVRC2012_test_00000001.JPEG": b"x"})
    train_folders(tmp_path / "kaggle" / below)
    val_flat_of_kaggle(tmp_path / "kaggle" / below)
    (tmp_path / "kaggle" / below / "LOC_val_solution.csv").rename(tmp_path / "kaggle/LOC_val_solution.csv")
    assert opened(tmp_path / "kaggle").fingerprint == opened(extracted).fingerprint


def test_the_train_archive_itself_or_its_folder_may_be_named(tmp_path: Path) -> None:
    train_tar(tmp_path / "data/tars")
    by_folder = open_source("imagenet", tmp_path / "data", tmp_path / "1")
    by_file = open_source("imagenet", tmp_path / "data/tars" / TRAIN_TAR, tmp_path / "2")
    assert by_folder.fingerprint == by_file.fingerprint
    assert list(by_file.index()) == ["train"]


def test_validation_may_have_classes_that_training_has_not(tmp_path: Path) -> None:
    write_files(tmp_path / "train", {"n03792782/n03792782_0.JPEG": b"x"})
    val_tar(tmp_path)
    source = opened(tmp_path)
    assert source.classes == ("n01440764", "n02084071", "n03792782")
    assert source.index()["train"].labels.tolist() == [2]


@pytest.mark.parametrize("form", [val_tar, val_flat])
def test_validation_images_without_labels(tmp_path: Path, form: Callable[[Path], None]) -> None:
    train_tar(tmp_path)
    form(tmp_path)
    for path in tmp_path.glob("ILSVRC2012_devkit_t12*"):
        path.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"validation images have no labels.*ILSVRC2012_devkit_t12\.tar\.gz"):
        opened(tmp_path)


def test_validation_alone(tmp_path: Path) -> None:
    val_tar(tmp_path)
    with pytest.raises(InputError, match=r"no imagenet data here.*ILSVRC2012_img_train\.tar.*Got: .*img_val\.tar"):
        opened(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        opened(tmp_path / "gone")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"data/meta.mat": b"no matrix"}, "damaged list of classes"),
        ({"data/meta.mat": None}, r"not whole.*data/meta\.mat"),
        ({"data/ILSVRC2012_validation_ground_truth.txt": b"2\n77\n"}, r"not an id of a class.*Got: 77"),
        ({"data/ILSVRC2012_validation_ground_truth.txt": b"2\n5\n"}, r"not an id of a class.*Got: 5"),
        ({"data/ILSVRC2012_validation_ground_truth.txt": b"2\n3\n"}, r"no label for ILSVRC2012_val_00000003\.JPEG"),
    ],
)
def test_a_damaged_development_kit(tmp_path: Path, damage: dict[str, bytes | None], message: str) -> None:
    train_tar(tmp_path)
    val_tar(tmp_path)
    kit = {**KIT, **{f"ILSVRC2012_devkit_t12/{name}": content for name, content in damage.items()}}
    write_tar(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", {name: content for name, content in kit.items() if content})
    with pytest.raises(CorruptSourceError, match=message):
        opened(tmp_path)


def test_a_class_tar_without_an_image(tmp_path: Path) -> None:
    content = {**class_tars(TRAIN), "n09999999.tar": tar_bytes({"notes.txt": b"x"}), "n09999998.tar": tar_bytes({})}
    write_files(tmp_path, {TRAIN_TAR: tar_bytes(content)})
    with pytest.raises(InputError, match=r"without an image.*Got: n09999998, n09999999"):
        opened(tmp_path)


def test_an_image_twice(tmp_path: Path) -> None:
    twice = tar_bytes({"n01440764_0.JPEG": b"1"})[:1024] + tar_bytes({"n01440764_0.JPEG": b"2"})
    write_files(tmp_path, {TRAIN_TAR: tar_bytes({"n01440764.tar": twice})})
    with pytest.raises(CorruptSourceError, match=r"n01440764/n01440764_0\.JPEG twice"):
        opened(tmp_path)


def test_an_extraction_that_stopped_half_way(tmp_path: Path) -> None:
    for form, extracted in ((train_tar, "train"), (train_class_tars, "train"), (val_tar, "val")):
        root = tmp_path / form.__name__
        train_folders(root) if extracted == "val" else val_folders(root)
        form(root)
        images = VAL if extracted == "val" else TRAIN
        whole = dict(flat(images)) if extracted == "val" else images
        write_files(root / extracted, dict(list(whole.items())[:3]))
        with pytest.raises(InputError, match=rf"more images than were extracted.*the {len(images)} images.*Got: 3"):
            opened(root)
        write_files(root / extracted, whole)
        assert {split: len(found.names) for split, found in opened(root).index().items()} == {"train": 9, "test": 6}


def test_an_image_whose_name_says_nothing(tmp_path: Path) -> None:
    image = next(iter(TRAIN.values()))
    write_files(tmp_path / "train", {"n01440764.tar": tar_bytes({"a.jfif": image, "photo": image, "b.txt": b"x"})})
    assert list(opened(tmp_path).index()["train"].names) == ["n01440764/a.jfif", "n01440764/photo"]


def test_validation_images_that_were_moved_half_way_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train_folders(tmp_path)
    moved, left = dict(list(VAL.items())[:4]), dict(list(VAL.items())[4:])
    write_files(tmp_path / "val", {**moved, **flat(left)})
    write_files(tmp_path / "test", {"ILSVRC2012_test_00000001.JPEG": b"x"})
    assert len(opened(tmp_path).index()["test"].names) == 4
    assert "not converted: ILSVRC2012_val_00000005.JPEG, ILSVRC2012_val_00000006.JPEG" in caplog.text
    assert f"Folders that are not converted: {tmp_path}/test" in caplog.text
