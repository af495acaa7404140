import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec
from spectral_train.data.grouping import ShardChoice
from spectral_train.ensemble.combination import Combination, SchemeName
from spectral_train.ensemble.combiners import combine
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.ensemble.predict import predict
from spectral_train.run.branches import outputs_of, read_branches
from spectral_train.run.outputs import TEST
from spectral_train.run.paths import RunPaths
from spectral_train.training.branch import train_branches
from tests.support.commands import run as command
from tests.support.runs import on_cpu, rewrite_record
from tests.support.shards import CLASSES, draw, make_shards

IMAGES = draw(20, channels=3, seed=1)


@pytest.fixture(scope="module", params=["int8", "float16"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose data set is gone, and whose test rows are `IMAGES`; two branches of three spectrals each."""
    data = make_shards(
        tmp_path_factory.mktemp("data"),
        train=draw(300, channels=3),
        test=IMAGES,
        spec=SpectralSpec(2, 2, "tiles", "dct2"),
        dtype=request.param,
    )
    folder = tmp_path_factory.mktemp("run")
    train_branches(on_cpu(data, folder, choice=ShardChoice(2, "interleaved", (3,))))
    shutil.rmtree(data)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(len(IMAGES.labels))]
    for path, pixels in zip(paths, IMAGES.pixels, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


@pytest.mark.parametrize("scheme", ["geometric", "best"])
def test_a_test_image_gets_the_probabilities_that_were_evaluated(
    run: Path, files: list[Path], scheme: SchemeName
) -> None:
    paths = RunPaths(run)
    test = outputs_of(paths, read_branches(paths), TEST)
    expected = combine(test.log_probabilities, evaluate(run).weights[scheme])
    predictions = predict(run, files, Combination(scheme))
    assert [prediction.path for prediction in predictions] == files
    got = [[dict(prediction.classes)[name] for name in CLASSES] for prediction in predictions]
    torch.testing.assert_close(torch.tensor(got, dtype=torch.float64), expected, rtol=1e-4, atol=1e-6)


def test_of_classes_of_one_name_the_command_says_the_sum(run: Path, files: list[Path], tmp_path: Path) -> None:
    renamed = Path(shutil.copytree(run, tmp_path / "run"))
    for shard in range(2):
        rewrite_record(renamed, shard, lambda each: replace(each, plan=replace(each.plan, classes=("a", "b", "a"))))
    (before,) = predict(run, files[:1])
    expected = dict(before.classes)
    said = json.loads(command(f"spectral-ensemble predict {renamed} {files[0]} --json").out)["classes"]
    assert said == pytest.approx({"a": expected["circle"] + expected["star"], "b": expected["cross"]}, abs=2e-6)


def test_classes_come_best_first_and_no_more_than_asked_for(run: Path, files: list[Path]) -> None:
    (prediction,) = predict(run, files[:1], top=2)
    (_, first), (_, second) = prediction.classes
    assert first >= second
    (everything,) = predict(run, files[:1], top=50)
    assert len(everything.classes) == 3
    assert sum(value for _, value in everything.classes) == pytest.approx(1)
    assert everything.classes[:2] == prediction.classes


def test_a_bad_image_has_a_reason_and_the_others_their_classes(run: Path, tmp_path: Path, files: list[Path]) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    first, bad, second = predict(run, [files[0], text, files[1]])
    assert (first, second) == predict(run, files[:2])
    assert (bad.path, bad.classes) == (text, ())
    assert "not an image" in str(bad.reason)
    assert predict(run, [text]) == (bad,)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(run: Path, tmp_path: Path, files: list[Path]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "large.png").touch()
    os.truncate(tmp_path / "large.png", 1 << 40)
    (tmp_path / "link.png").symlink_to(files[0])
    assert predict(run, [tmp_path / "link.png"])[0].classes == predict(run, files[:1])[0].classes
    for name, words in (("pipe", "not a regular"), ("endless", "not a regular"), ("large", "1099511627776 bytes")):
        with pytest.raises(InputError, match=rf"cannot read the image.*{name}\.png.*{words}"):
            predict(run, [tmp_path / f"{name}.png"])


def test_bad_input_is_refused_by_name(run: Path, tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(InputError, match=r"nothing\.png"):
        predict(run, [*files, tmp_path / "nothing.png"])
    with pytest.raises(InputError, match="--top"):
        predict(run, files, top=0)
    with pytest.raises(InputError, match="unknown ensemble scheme"):
        predict(run, files, Combination("median"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no trained branch"):
        predict(tmp_path, files)
