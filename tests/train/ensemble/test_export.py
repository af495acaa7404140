import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError, StorageError
from spectral_prep.spectrum import SpectralSpec
from spectral_train.data.grouping import ShardChoice
from spectral_train.ensemble.combination import Combination
from spectral_train.ensemble.drawn import drawn_images
from spectral_train.ensemble.export import METADATA, ImagesToProbabilities, export, halved
from spectral_train.ensemble.network import open_network
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.branches import outputs_of, read_branches
from spectral_train.run.outputs import TEST
from spectral_train.run.paths import RunPaths
from spectral_train.training.branch import train_branches
from tests.support.runs import make_run, on_cpu
from tests.support.shards import CLASSES, draw, make_shards

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
IMAGES = draw(60, channels=3, seed=1)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    convert(Request("digits", "4"), Path(), root / "data")
    return make_run(root / "data", root / "run")


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that digits are not: float16, tiles, dct2, three channels, grouped spectrals, batch norm."""
    root = tmp_path_factory.mktemp("other")
    spec = SpectralSpec(2, 2, "tiles", "dct2")
    data = make_shards(root / "data", train=draw(300, channels=3), test=IMAGES, spec=spec, dtype="float16")
    recipe = Recipe(model="conv", model_options={"depth": 3, "width": 4}, epochs=2)
    train_branches(on_cpu(data, root / "run", recipe, ShardChoice(2, "interleaved", (3,))))
    return root / "run"


def digit_images() -> Tensor:
    images = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)[..., None]
    return torch.from_numpy(images[np.arange(len(images)) % 5 == 4])


def run_pt2(path: Path, images: Tensor) -> tuple[Tensor, dict[str, Any]]:
    extra = {METADATA: ""}
    program = torch.export.load(path, extra_files=extra)
    return program.module()(images), json.loads(extra[METADATA])


def run_onnx(path: Path, images: Tensor) -> tuple[Tensor, dict[str, Any]]:
    session = onnxruntime.InferenceSession(path)
    ((images_in,), (probabilities,)) = session.get_inputs(), session.get_outputs()
    assert (images_in.name, images_in.shape) == ("images", ["batch", *images.shape[1:]])
    assert (probabilities.name, probabilities.shape[0]) == ("probabilities", "batch")
    (found,) = session.run(None, {"images": images.numpy()})
    return torch.from_numpy(found), json.loads(session.get_modelmeta().custom_metadata_map[METADATA])


@pytest.mark.parametrize(
    ("of", "suffix", "combination"),
    [
        ("digits_run", ".pt2", Combination("geometric", calibrate=True, without=(2,))),
        ("digits_run", ".onnx", Combination("stacked")),
        ("other_run", ".onnx", Combination("loss", "probabilities")),
    ],
)
def test_a_file_gives_what_evaluate_found(
    of: str, suffix: str, combination: Combination, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = request.getfixturevalue(of)
    images = digit_images() if of == "digits_run" else torch.from_numpy(IMAGES.pixels)
    metadata = export(run, tmp_path / f"model{suffix}", combination)
    records = read_branches(RunPaths(run), combination.without)
    outputs = outputs_of(RunPaths(run), records, TEST)
    expected = open_network(run, combination).combiner(outputs.log_probabilities)
    found, stored = (run_pt2 if suffix == ".pt2" else run_onnx)(tmp_path / f"model{suffix}", images)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-5)
    assert stored == json.loads(json.dumps(metadata))
    assert stored["classes"] == ([str(digit) for digit in range(10)] if of == "digits_run" else list(CLASSES))
    assert stored["input_shape"] == list(images.shape[1:])
    assert f"crop the centre to {images.shape[1]} x {images.shape[2]} pixels" in stored["preprocessing"]


@pytest.mark.parametrize(("of", "suffix"), [("digits_run", ".onnx"), ("other_run", ".pt2")])
def test_half_precision_is_nearly_as_exact_and_says_how_much(
    of: str, suffix: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = request.getfixturevalue(of)
    images = digit_images() if of == "digits_run" else torch.from_numpy(IMAGES.pixels)
    metadata = export(run, tmp_path / f"half{suffix}", precision="half")
    found, stored = (run_pt2 if suffix == ".pt2" else run_onnx)(tmp_path / f"half{suffix}", images)
    exact = ImagesToProbabilities(open_network(run)).eval()(images)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.02
    assert stored["precision"] == "half"
    assert stored["compared"] == metadata["compared"]
    assert 0 < stored["compared"]["largest_difference"] < 0.02
    assert stored["compared"]["rows"] == 64


def test_values_of_a_layer_that_float16_does_not_hold_are_refused_though_the_outputs_are_numbers(
    other_run: Path,
) -> None:
    network = open_network(other_run)
    name, variance = next(each for each in network.models[1].named_buffers() if each[0].endswith("running_var"))
    variance.fill_(1e6)
    with pytest.raises(InputError, match=rf"Where: branch 1, {name}\. .*±65504. Got: 1e\+06.*--precision float32"):
        halved(ImagesToProbabilities(network).eval(), drawn_images(network.plans, 4))


def test_a_counter_of_many_batches_is_no_value_that_float16_has_to_hold(other_run: Path) -> None:
    network = open_network(other_run)
    next(each for name, each in network.models[1].named_buffers() if name.endswith("num_batches_tracked")).fill_(70_000)
    assert halved(ImagesToProbabilities(network).eval(), drawn_images(network.plans, 4)).rows == 4


def test_outputs_that_float16_does_not_hold_are_refused(digits_run: Path) -> None:
    network = open_network(digits_run)
    for weights in network.models[0].parameters():
        weights.data.fill_(6e4)
    with pytest.raises(InputError, match=r"gives no numbers.*--precision float32"):
        halved(ImagesToProbabilities(network).eval(), drawn_images(network.plans, 4))


def test_a_layer_that_cannot_compute_in_half_precision_is_told_of(digits_run: Path) -> None:
    network = open_network(digits_run)
    network.models[0].register_forward_pre_hook(lambda _, inputs: inputs[0].float())
    with pytest.raises(InputError, match=r"cannot compute in half precision. Got: .*Half.*--precision float32"):
        halved(ImagesToProbabilities(network).eval(), drawn_images(network.plans, 4))


def test_too_little_memory_is_not_the_fault_of_half_precision(
    digits_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (torch.cuda.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory: 9 bytes")):
        network = ImagesToProbabilities(open_network(digits_run)).eval()
        given = iter([torch.ones(4, 10), error])
        with monkeypatch.context() as patch:
            patch.setattr(network, "forward", lambda _, given=given: _given(next(given)))
            with pytest.raises(StorageError, match="too little memory"):
                halved(network, torch.zeros(4, 8, 8, 1, dtype=torch.uint8))


def _given(what: Tensor | Exception) -> Tensor:
    if isinstance(what, Exception):
        raise what
    return what


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.pt2 or \.onnx"):
        export(tmp_path, tmp_path / "model.bin")


def test_a_torch_that_cannot_write_onnx_is_told_of(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda model, args, f: None)
    with pytest.raises(InputError, match=r"torch 2\.6 or newer"):
        export(digits_run, tmp_path / "model.onnx")


def test_onnx_that_is_not_installed_is_told_of_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnx", "onnxscript"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(InputError, match=r"ONNX is not installed.*spectral-shards\[export\].*\.pt2"):
                export(tmp_path / "no run", tmp_path / "model.onnx")


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_benchmark_of_forms_prints_a_line_a_form(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    half = runpy.run_path(str(BENCHMARKS / "half.py"))
    for digit in range(10):
        path = tmp_path / "images" / ("val" if split == "test" else "train") / str(digit) / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (8, 8), 25 * digit).save(path)
    network = ImagesToProbabilities(open_network(digits_run)).eval()
    within = half["main"].callback.__globals__
    for write in ("export", "quantize_dynamic"):
        monkeypatch.setitem(within, write, lambda _, out, precision="": out.write_bytes(b"0"))
    for load in ("in_torch", "in_onnx_runtime"):
        monkeypatch.setitem(within, load, lambda _: lambda images: network(torch.from_numpy(images)).numpy())
    done = CliRunner().invoke(half["main"], [str(digits_run), "--source", str(tmp_path / "images"), "--rows", "7"])
    assert done.exit_code == 0, done.output
    assert [line.split("|")[1].strip() for line in done.output.splitlines()[-5:]] == [
        "float32, torch",
        "half, torch",
        "float32, ONNX Runtime",
        "half, ONNX Runtime",
        "int8 weights, ONNX Runtime",
    ]
    assert done.output.count("| 0 | 0 |") == 4, "the same network in each"
