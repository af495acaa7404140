import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec
from spectral_train.device import Resources
from spectral_train.ensemble.combination import Combination
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.ensemble.evaluated import Viewed
from spectral_train.ensemble.predict import predict
from spectral_train.recipe.augmentation import VIEWS, Views
from spectral_train.run.branches import outputs_of, read_branches
from spectral_train.run.outputs import TEST
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from spectral_train.training.baseline import train_baseline
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest
from spectral_train.training.view_outputs import Viewer
from tests.support.commands import run as command
from tests.support.runs import CPU, QUICK, without_test
from tests.support.shards import CLASSES, draw, make_shards

TEST_IMAGES = draw(20, channels=3, seed=1)
SPEC = SpectralSpec(2, 2, "blocks", "dct")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    train = draw(200, channels=3)
    return make_shards(tmp_path_factory.mktemp("data"), train=train, test=TEST_IMAGES, spec=SPEC, dtype="float32")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    request = TrainingRequest(data, replace(QUICK, epochs=1), folder, resources=Resources("cpu", workers=1))
    train_branches(request)
    train_baseline(request)
    return folder


@pytest.mark.parametrize("views", VIEWS)
def test_stored_rows_and_image_files_are_viewed_alike(data: Path, run: Path, views: Views, tmp_path: Path) -> None:
    paths = RunPaths(run)
    viewed = Viewer(paths, data, views, CPU).of_branches(read_branches(paths))
    plain = outputs_of(paths, read_branches(paths), TEST)
    assert len(viewed.labels) == 20
    assert not torch.allclose(viewed.log_probabilities[1], plain.log_probabilities[1], atol=1e-3)
    files = [tmp_path / f"{number}.png" for number in range(20)]
    for path, pixels in zip(files, TEST_IMAGES.pixels, strict=True):
        Image.fromarray(pixels).save(path)
    rows = [dict(each.classes) for each in predict(run, files, Combination("average", views=views))]
    got = torch.tensor([[row[name] for name in CLASSES] for row in rows])
    expected = torch.stack(list(viewed.log_probabilities)).mean(0).softmax(1)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_views_are_measured_with_the_weights_that_predict_has(data: Path, run: Path) -> None:
    paths, views = RunPaths(run), Combination(views="flip")
    viewed = Viewed(Viewer(paths, data, "flip", CPU).of_branches(read_branches(paths)), None)
    found, plain = evaluate(run, combination=views, viewed=viewed), evaluate(run)
    assert (found.weights, found.settings) == (plain.weights, plain.settings)
    assert found.calibration["learned"].temperature == plain.calibration["learned"].temperature
    assert found.calibration["learned"].before != plain.calibration["learned"].before


def test_without_test_rows_views_of_held_out_ones_are_measured(data: Path, run: Path, tmp_path: Path) -> None:
    paths = RunPaths(Path(shutil.copytree(run, tmp_path / "run")))
    without_test(paths.root)
    viewed = Viewer(paths, data, "flip", CPU).of_branches(read_branches(paths))
    assert len(viewed.labels) == 17
    assert evaluate(paths.root, viewed=Viewed(viewed, None)).rows == evaluate(paths.root).rows == 8


def test_the_data_set_of_the_run_is_taken_among_several(
    data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(tmp_path / "spectral" / "a", dataset_id="fedcba9876543210")
    monkeypatch.chdir(tmp_path)
    asked = f"spectral-ensemble evaluate {run} --views flip --quiet"
    (tmp_path / "spectral" / "b").symlink_to(data)
    assert command(asked).out == command(f"{asked} --data {data}").out
    wrong = command(f"{asked} --data spectral/a")
    assert "the run was trained on another data set" in wrong.err
    assert "Run next: the same command with the --data that it was trained on" in wrong.err


def test_the_conventional_network_gets_the_same_views(data: Path, run: Path) -> None:
    paths = RunPaths(run)
    record = read_network(paths.baseline)
    one, other = (Viewer(paths, data, views, CPU).of_baseline(record) for views in VIEWS)
    assert one.fault(20, len(CLASSES)) is None
    assert not torch.allclose(one.log_probabilities, other.log_probabilities, atol=1e-4)


def test_evaluate_and_predict_take_views(data: Path, run: Path, tmp_path: Path) -> None:
    done = command(f"spectral-ensemble evaluate {run} --views flip --data {data} --scheme average")
    assert done.code == 0, done.err
    assert done.out.startswith("Views: flip\n")
    assert done.out.partition("\n\n")[2] != command(f"spectral-ensemble evaluate {run} --scheme average").out
    plain, viewed = (
        json.loads(command(f"spectral-ensemble evaluate {run} --scheme average --json{views}").out)
        for views in ("", f" --views flip --data {data}")
    )
    assert (plain["views"], viewed["views"]) == (None, "flip")
    assert viewed["rows"] == plain["rows"]
    assert f"{100 * viewed['ensemble']['average']:.2f} %" in done.out
    assert viewed["calibration"] != plain["calibration"]
    assert viewed["baseline"] is not None
    assert "--data is for --views" in command(f"spectral-ensemble evaluate {run} --data {data}").err


def test_what_a_flip_needs_is_named(data: Path, run: Path, tmp_path: Path) -> None:
    part = shutil.copytree(data, tmp_path / "part")
    shutil.rmtree(part / "spectral-03")
    paths = RunPaths(run)
    with pytest.raises(InputError, match="no spectral-03"):
        Viewer(paths, part, "flip", CPU).of_branches(read_branches(paths, without=(3,)))
