"""A run on labelled images that it never saw: the figures of its own test rows, whatever the source."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.sources import open_source
from spectral_prep.sources.layout import looks_like
from spectral_prep.spectrum import SpectralSpec
from spectral_train.ensemble.calibration import Quality
from spectral_train.ensemble.combination import Combination
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.ensemble.source import Labelled, evaluate_source
from spectral_train.ensemble.tally import Tally
from tests.support.commands import run as command
from tests.support.releases import devkit_files, encoded, flat, tar_bytes, write_files, write_folder, write_mnist
from tests.support.runs import make_run
from tests.support.shards import CLASSES, draw, make_shards

IMAGES = draw(70, channels=3, seed=1)  # more than are read at once


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose test rows are `IMAGES`."""
    root = tmp_path_factory.mktemp("run")
    data = make_shards(root / "data", train=draw(300, channels=3), test=IMAGES, spec=SpectralSpec(2, 2))
    return make_run(data, root / "run")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The same images in class folders."""
    for number, (pixels, label) in enumerate(zip(IMAGES.pixels, IMAGES.labels, strict=True)):
        path = tmp_path / "photos" / CLASSES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def test_its_own_test_rows_in_folders_give_the_figures_that_were_evaluated(run: Path, photos: Path) -> None:
    expected, found = evaluate(run, ["geometric"]), evaluate_source(run, Labelled(photos))
    assert (found.dataset, found.split, found.rows, found.absent, found.unknown) == ("folder", "train", 70, (), {})
    calibration = expected.calibration["geometric"]
    for mine, theirs in ((found.quality, calibration.before), (found.calibrated, calibration.after)):
        assert mine.accuracy == pytest.approx(theirs.accuracy)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert mine.ece == pytest.approx(theirs.ece, abs=1e-4)
    assert found.temperature == pytest.approx(calibration.temperature)
    assert list(found.branches.values()) == pytest.approx([branch.accuracy for branch in expected.branches])
    right = sum(row.get(name, 0) for name, row in found.confusion.items())
    assert (right / 70, sum(sum(row.values()) for row in found.confusion.values())) == (found.quality.accuracy, 70)
    assert sum(each.rows for each in found.bins) == 70
    assert found.top5_accuracy == 1


def test_a_tar_gives_the_figures_of_the_folder(run: Path, photos: Path, tmp_path: Path) -> None:
    members = {
        f"{number:03}.{suffix}": content
        for number, (pixels, label) in enumerate(zip(IMAGES.pixels, IMAGES.labels, strict=True))
        for suffix, content in (("png", encoded(pixels)), ("cls", str(label).encode()))
    }
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "some-0000.tar").write_bytes(tar_bytes(members))
    (tmp_path / "tars" / "classes.txt").write_text("\n".join(CLASSES))
    one, other = (evaluate_source(run, Labelled(place)) for place in (photos, tmp_path / "tars"))
    assert (other.dataset, other.quality.accuracy) == ("webdataset", one.quality.accuracy)
    assert other.confusion == one.confusion


def test_classes_are_matched_by_name_and_what_the_run_does_not_know_is_named(run: Path, photos: Path) -> None:
    whole = evaluate_source(run, Labelled(photos))
    (photos / "circle").rename(photos / "aardvark")  # first by name, so that every label is another
    found = evaluate_source(run, Labelled(photos))
    count = int((IMAGES.labels == 0).sum())
    assert (found.unknown, found.absent, found.rows) == ({"aardvark": count}, ("circle",), 70 - count)
    assert {name: whole.confusion[name] for name in CLASSES[1:]} == found.confusion


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_folder_of_a_test_set_alone_gives_the_figures_of_its_class_folders(
    run: Path, photos: Path, tmp_path: Path, name: str
) -> None:
    plain = evaluate_source(run, Labelled(photos))
    (tmp_path / "alone").mkdir()
    photos.rename(tmp_path / "alone" / name)
    found = evaluate_source(run, Labelled(tmp_path / "alone"))
    assert (found.dataset, found.split, found.rows) == ("folder", "test", 70)
    assert (found.confusion, found.quality) == (plain.confusion, plain.quality)
    with pytest.raises(InputError, match=r"no such split.*Expected: test. Got: train"):
        evaluate_source(run, Labelled(tmp_path / "alone", split="train"))
    with pytest.raises(InputError, match="no folder data here"):  # to train on
        open_source("folder", tmp_path / "alone", tmp_path / "staging")


def test_a_test_folder_whose_images_have_no_class_is_refused(run: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "flat", ["test/1.png", "test/2.png"])
    with pytest.raises(InputError, match=r"Where: \S*flat/test. Expected: one folder a class.*Got: 1.png, 2.png"):
        evaluate_source(run, Labelled(tmp_path / "flat"))
    write_folder(tmp_path / "deep", ["test/all/circle/1.png", "test/all/star/2.png"])
    with pytest.raises(InputError, match=r"one level deeper.*--source \S*deep/test/all"):
        evaluate_source(run, Labelled(tmp_path / "deep"))


def test_the_validation_tar_of_imagenet_alone_needs_the_kit_with_its_labels(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    images = {
        f"{CLASSES[label]}/ILSVRC2012_val_{number:08}.JPEG": encoded(pixels)
        for number, (pixels, label) in enumerate(zip(IMAGES.pixels, IMAGES.labels, strict=True), 1)
    }
    alone = write_files(tmp_path / "alone", {"ILSVRC2012_img_val.tar": tar_bytes(flat(images))})
    for place in (alone, alone / "ILSVRC2012_img_val.tar"):
        with pytest.raises(
            InputError, match=r"have no labels.*Expected: ILSVRC2012_devkit_t12.tar.gz.*Run next: "
        ) as told:
            evaluate_source(run, Labelled(place))
        assert "train" not in str(told.value).partition("Run next: ")[2], "nothing is trained"
    write_files(alone, devkit_files(images))
    expected = evaluate_source(run, Labelled(photos))
    for place in (alone, alone / "ILSVRC2012_img_val.tar"):
        found = evaluate_source(run, Labelled(place))
        assert (found.dataset, found.split, found.rows) == ("imagenet", "test", 70)
        assert found.confusion == expected.confusion
    (alone / "ILSVRC2012_img_val.tar").unlink()
    write_files(alone / "val", flat(images))
    assert evaluate_source(run, Labelled(alone)).confusion == expected.confusion, "extracted beside the kit"
    (tmp_path / "kit").mkdir()
    (alone / "ILSVRC2012_devkit_t12").rename(tmp_path / "kit/ILSVRC2012_devkit_t12")
    with pytest.raises(InputError, match=r"no imagenet data here.*ILSVRC2012_img_val.tar, or val/"):
        evaluate_source(run, Labelled(tmp_path / "kit"))


def test_a_source_of_other_classes_alone_is_refused(run: Path, tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", rows=20, test_rows=10)
    with pytest.raises(InputError, match=r"knows none of these classes.*circle, cross, star.*Got: 0, 1"):
        evaluate_source(run, Labelled(tmp_path / "mnist"))


def test_bad_images_are_counted_by_name_and_in_no_figure(run: Path, photos: Path) -> None:
    whole = evaluate_source(run, Labelled(photos))
    (photos / "star" / "bad.png").write_text("no picture")
    found = evaluate_source(run, Labelled(photos))
    assert (found.bad_rows, list(found.bad), found.quality) == (1, ["star/bad.png"], whole.quality)
    for path in photos.rglob("*.png"):
        path.write_text("no picture")
    with pytest.raises(CorruptSourceError, match="no image of a class"):
        evaluate_source(run, Labelled(photos))


def test_a_file_of_predictions_is_there_whole_or_not_at_all(run: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    finished = command(f"spectral-ensemble predict {run} {photos}/star {tmp_path}/nowhere.png --predictions {out}")
    assert finished.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    refused = command(f"spectral-ensemble predict {run} {photos} --predictions {tmp_path}/p.txt")
    assert (refused.code, ".csv or .parquet" in refused.err) == (2, True)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_name_that_is_no_utf8_is_written_escaped(run: Path, photos: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "named").mkdir()
    shutil.copy(next(photos.rglob("*.png")), os.fsdecode(os.fsencode(tmp_path / "named") + b"/\xff.png"))
    out = tmp_path / f"said.{kind}"
    assert command(f"spectral-ensemble predict {run} {tmp_path / 'named'} --predictions {out}").code == 0
    ids = (
        [row["id"] for row in csv.DictReader(out.read_text().splitlines())]
        if kind == "csv"
        else pyarrow.parquet.read_table(out)["id"].to_pylist()
    )
    assert ids == [f"{tmp_path / 'named'}/\\udcff.png"]


def test_predict_takes_folders_and_patterns(run: Path, photos: Path, tmp_path: Path) -> None:
    everything = sorted(map(str, photos.rglob("*.png")))
    for named in (f"{photos}", f"'{photos}/**/*.png'", f"'{photos}/*'"):
        told = command(f"spectral-ensemble predict {run} {named} --json")
        assert sorted(json.loads(line)["path"] for line in told.out.splitlines()) == everything, told.err
    (tmp_path / "empty").mkdir()
    for named, words in ((f"{tmp_path}/empty", "no image in the folder"), (f"'{photos}/*.gif'", "no file fits")):
        refused = command(f"spectral-ensemble predict {run} {named}")
        assert (refused.code, words in refused.err) == (2, True)


def test_the_text_has_the_figures_and_the_matrix(run: Path, photos: Path) -> None:
    found = evaluate_source(run, Labelled(photos, "folder", "train"), Combination("average"))
    told = command(f"spectral-ensemble evaluate {run} --source {photos} --dataset folder --scheme average").out
    assert f"{100 * found.quality.accuracy:.2f} %" in told
    counts = [str(found.confusion["cross"].get(name, 0)) for name in CLASSES]
    assert any(line.split() == ["cross", *counts] for line in told.splitlines())
    assert "Views:" not in told
    viewed = command(f"spectral-ensemble evaluate {run} --source {photos} --scheme average --views flip").out
    assert viewed.startswith("Views: flip\n")


def test_what_does_not_go_together_is_refused(run: Path, photos: Path) -> None:
    for options in ("--split test", "--predictions p.csv", "--image-key a.jpg", f"--source {photos} --ablate"):
        assert command(f"spectral-ensemble evaluate {run} {options}").code == 2
    with pytest.raises(InputError, match=r"no such split.*Expected: train"):
        evaluate_source(run, Labelled(photos, split="test"))


def test_sums_of_some_rows_after_others_are_those_of_all_at_once() -> None:
    random = np.random.RandomState(0)
    shares, labels = torch.from_numpy(random.dirichlet([0.3] * 7, 90)), torch.from_numpy(random.randint(0, 7, 90))
    tally = Tally()
    for part in (torch.arange(40), torch.arange(40, 90)):
        tally.add(shares[part], labels[part])
    expected = Quality.of(shares, labels)
    assert tally.quality.accuracy == pytest.approx(expected.accuracy)
    assert (tally.quality.loss, tally.quality.ece) == pytest.approx((expected.loss, expected.ece))
    five = shares.topk(5).indices
    assert tally.top_accuracy == pytest.approx((five == labels[:, None]).any(1).double().mean().item())
    assert tally.pairs.total() == 90


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("train/cat/1.png", "folder"),
        ("data/test-00000-of-00001.parquet", "parquet"),
        ("shard-000.tar", "webdataset"),
        ("pets/shard-000.tgz", "webdataset"),
        ("ILSVRC2012_img_val.tar", "imagenet"),
        ("cifar-10-batches-py/data_batch_1", "cifar10"),
        ("cifar-100-python.tar.gz", "cifar100"),
        ("c/test_batch", "cifar10"),
        ("LOC_val_solution.csv", "imagenet"),
        ("t10k-images-idx3-ubyte.gz", "mnist"),
        ("MNIST/raw/t10k-images-idx3-ubyte", "mnist"),
    ],
)
def test_a_source_is_taken_for_what_its_files_are_called_like(tmp_path: Path, name: str, dataset: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert looks_like(tmp_path) == dataset
