"""A part of a source: seeded, by class, and the same images as the whole source has under these names."""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spectral_prep.errors import InputError
from spectral_prep.sources import default_name, open_source
from spectral_prep.sources.interface import Source
from spectral_prep.sources.selection import SelectedSource, Selection, picked_again, select
from spectral_prep.sources.strata import shares
from tests.support.releases import encoded, random_images, tar_bytes, write_folder


def chosen(source: Source, selection: Selection, seed: int = 0) -> SelectedSource:
    return select(source, source.index(), selection, seed, threads=1)


def names(source: Source) -> dict[str, list[str]]:
    return {split: list(rows.names) for split, rows in source.index().items()}


@pytest.fixture
def photos(tmp_path: Path) -> Source:
    """Forty cats, twenty dogs and one bird."""
    rows = [f"{name}/{i}.png" for name, count in (("cat", 40), ("dog", 20), ("bird", 1)) for i in range(count)]
    write_folder(tmp_path / "photos", rows)
    return open_source("folder", tmp_path / "photos", tmp_path / "staging")


def test_a_test_split_takes_the_same_share_of_each_class_and_leaves_each_some_to_train_on(photos: Source) -> None:
    source = chosen(photos, Selection(test_fraction=0.1))
    counts = {split: np.bincount(rows.labels, minlength=3).tolist() for split, rows in source.index().items()}
    assert counts == {"train": [1, 36, 18], "test": [0, 4, 2]}
    assert sorted(row for rows in names(source).values() for row in rows) == sorted(names(photos)["train"])
    assert names(chosen(photos, Selection(test_fraction=0.1))) == names(source)
    assert names(chosen(photos, Selection(test_fraction=0.1), seed=1)) != names(source)


def test_duplicates_and_files_of_one_name_do_not_straddle_the_splits(tmp_path: Path) -> None:
    """Ten photographs, each three times: under another name, and as another kind of file."""
    root = tmp_path / "photos"
    write_folder(root, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(5)])
    for path in [*root.rglob("*.png")]:
        (path.parent / "again").mkdir(exist_ok=True)
        shutil.copy(path, path.parent / "again" / f"copy-of-{path.stem}.png")
        Image.open(path).save(path.with_suffix(".bmp"))
    source = open_source("folder", root, tmp_path / "staging")
    for seed in range(5):
        split = names(chosen(source, Selection(test_fraction=0.3), seed))
        originals = {
            name: {f"{row[:3]}{Path(row).stem.removeprefix('copy-of-')}" for row in rows}
            for name, rows in split.items()
        }
        assert len(split["test"]) == 6
        assert not originals["train"] & originals["test"]


def test_an_image_that_cannot_be_read_is_left_to_the_conversion(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", [f"cat/{i}.png" for i in range(9)])
    for number in (10, 11):
        (tmp_path / f"photos/cat/{number}.png").write_bytes(b"")
    source = chosen(open_source("folder", tmp_path / "photos", tmp_path / "s"), Selection(test_fraction=0.2))
    assert {split: len(rows) for split, rows in names(source).items()} == {"train": 9, "test": 2}


def test_a_source_with_a_test_split_gets_no_other(tmp_path: Path) -> None:
    source = open_source("digits", Path(), tmp_path)
    with pytest.raises(InputError, match=r"has a test split already.*359 test images.*without --test-fraction"):
        chosen(source, Selection(test_fraction=0.1))


def test_nothing_but_copies_cannot_be_divided(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", ["cat/1.png"])
    shutil.copy(tmp_path / "photos/cat/1.png", tmp_path / "photos/cat/2.png")
    with pytest.raises(InputError, match="too few images to set some apart"):
        chosen(open_source("folder", tmp_path / "photos", tmp_path / "s"), Selection(test_fraction=0.5))


@pytest.mark.parametrize("selection", [Selection(limit=7), Selection(fraction=7 / 61)], ids=["limit", "fraction"])
def test_fewer_images_keep_the_share_of_each_class_and_one_of_each(photos: Source, selection: Selection) -> None:
    source = chosen(photos, selection)
    assert np.bincount(source.index()["train"].labels).tolist() == [1, 4, 2]
    assert source.classes == photos.classes
    assert names(chosen(photos, selection, seed=3)) != names(source)


def test_a_limit_is_of_all_splits_together(tmp_path: Path) -> None:
    found = chosen(open_source("digits", Path(), tmp_path), Selection(limit=100)).index()
    assert {split: len(rows.names) for split, rows in found.items()} == {"train": 80, "test": 20}


@pytest.mark.parametrize(("limit", "expected"), [(2, [1, 1]), (3, [2, 1]), (5, [4, 1]), (6, [3, 3]), (12, [9, 3])])
def test_a_limit_below_the_number_of_classes_keeps_some_of_each_split(
    tmp_path: Path, limit: int, expected: list[int]
) -> None:
    rows = [f"train/{name}/{i}.png" for name in "abc" for i in range(6)]
    write_folder(tmp_path / "pets", [*rows, *(f"test/{name}/{i}.png" for name in "abc" for i in range(2))])
    source = open_source("folder", tmp_path / "pets", tmp_path / "staging")
    found = chosen(source, Selection(limit=limit)).index()
    assert [len(found[split].names) for split in ("train", "test")] == expected
    assert set(found["test"].labels) <= set(found["train"].labels)


def test_classes_without_test_images_can_have_some_set_apart(tmp_path: Path) -> None:
    rows = [f"train/{name}/{i}.png" for name in "abc" for i in range(6)]
    write_folder(tmp_path / "pets", [*rows, "test/c/0.png"])
    source = open_source("folder", tmp_path / "pets", tmp_path / "staging")
    assert "test" not in chosen(source, Selection(classes=("a", "b"))).index()
    selection = Selection(classes=("a", "b"), test_fraction=0.2)
    apart = chosen(source, selection)
    assert {split: len(rows) for split, rows in names(apart).items()} == {"train": 10, "test": 2}
    again = picked_again(source.index(), {split: iter(rows) for split, rows in names(apart).items()}, selection)
    assert again is not None
    assert all(np.array_equal(again[split].ids, picked.ids) for split, picked in apart.picked.items())
    with pytest.raises(InputError, match=r"1 test images"):
        chosen(source, Selection(classes=("a", "c"), test_fraction=0.2))


def test_shares_add_up_whatever_is_asked_for() -> None:
    sizes = np.array([1, 1, 40, 7, 0, 300])
    for wanted in range(1, 350):
        counts = shares(sizes, wanted)
        assert counts.sum() == wanted
        assert (counts <= sizes).all()
        assert ((counts > 0) == (sizes > 0)).all() or wanted < 5


def test_chosen_classes_are_labelled_anew_in_the_order_of_their_names(photos: Source) -> None:
    source = chosen(photos, Selection(classes=("bird", "dog")))
    assert source.classes == ("bird", "dog")
    rows = source.index()["train"]
    assert {source.classes[label] for label in rows.labels} == {"bird", "dog"}
    assert all(name.startswith(source.classes[label]) for name, label in zip(rows.names, rows.labels, strict=True))


def test_an_unknown_class_is_named_with_those_that_are_near(photos: Source) -> None:
    with pytest.raises(InputError, match=r"some of its 3: bird, cat, dog. Got: birds \(near: bird\), zebra"):
        chosen(photos, Selection(classes=("birds", "cat", "zebra")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 5, "fraction": 0.5}, "both say how many"),
        ({"limit": 0}, "unusable --limit"),
        ({"fraction": 1.5}, "unusable --fraction"),
        ({"test_fraction": 1.0}, "unusable --test-fraction"),
        ({"classes": ()}, "unusable classes"),
    ],
)
def test_what_selects_nothing_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Selection(**options)  # type: ignore[arg-type]


def folder(root: Path) -> str:
    write_folder(root, [f"{row % 3}/{row}.png" for row in range(60)])
    return "folder"


def tars(root: Path) -> str:
    root.mkdir()
    for archive in range(3):
        rows = range(archive, 60, 3)
        images = {row: encoded(random_images(1, 8, 8, 3, seed=row)[0]) for row in rows}
        members = {f"{row}{end}": text for row in rows for end, text in ((".png", images[row]), (".cls", b"0"))}
        (root / f"{archive}.tar").write_bytes(tar_bytes(members))
    return "webdataset"


def parquet(root: Path) -> str:
    pyarrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": encoded(random_images(1, 8, 8, 3, seed=row)[0]), "path": None} for row in range(60)]
    content = io.BytesIO()
    tables.write_table(
        pyarrow.table({"image": images, "label": [row % 3 for row in range(60)]}), content, row_group_size=7
    )
    root.mkdir()
    (root / "photos.parquet").write_bytes(content.getvalue())
    return "parquet"


def computed(root: Path) -> str:
    return "synthetic"


@pytest.mark.parametrize("write", [folder, tars, parquet, computed])
def test_every_source_is_read_through_a_selection_on_any_machine(tmp_path: Path, write: Callable[[Path], str]) -> None:
    dataset = write(tmp_path / "set")
    where = Path("rows=60,test=0,classes=3,size=8") if dataset == "synthetic" else tmp_path / "set"
    whole = open_source(dataset, where, tmp_path / "staging")
    source = chosen(whole, Selection(limit=40, test_fraction=0.25))
    by_name = {name: row for row, name in enumerate(whole.index()["train"].names)}
    for split, count in (("train", 30), ("test", 10)):
        rows = source.index()[split]
        assert abs(len(rows.names) - count) <= 1  # of each class its share
        ids = np.arange(len(rows.names), dtype=np.int32)[::2]
        images = pickle.loads(pickle.dumps(source.for_rows(split, np.tile(ids, 2))))  # noqa: S301
        for row in ids.tolist():
            expected = whole.read("train", by_name[rows.names[row]], rows.names[row])
            assert np.array_equal(images.read(split, row, rows.names[row]), expected)
            assert np.array_equal(source.read(split, row, rows.names[row]), expected)


def test_the_names_of_the_rows_alone_give_the_selection_again(photos: Source) -> None:
    selection = Selection(limit=30, test_fraction=0.2)
    source = chosen(photos, selection)
    again = picked_again(photos.index(), {split: iter(rows) for split, rows in names(source).items()}, selection)
    assert again is not None
    assert all(np.array_equal(again[split].ids, picked.ids) for split, picked in source.picked.items())
    assert picked_again(photos.index(), {"train": iter(["cat/1.png", "cat/gone.png"])}, Selection(limit=2)) is None


def test_a_set_of_ones_own_is_called_after_its_folder() -> None:
    assert default_name("folder", Path("/data/Étude no. 5/")) == "tude-no.-5"
    assert default_name("parquet", Path("pets.tar.gz")) == "pets"
    assert default_name("folder", Path("folder")) is None
    assert default_name("imagenet", Path("somewhere")) is None
