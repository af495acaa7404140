import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnxruntime  # type: ignore[import-untyped]
import pytest
import safetensors.torch
import torch
from PIL import Image

from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError, StorageError
from spectral_prep.store.record_file import plain, read_content, write_content
from spectral_prep.store.records import FileEntry
from spectral_prep.system.files import AtomicFile
from spectral_train.device import Resources
from spectral_train.ensemble.combination import Combination
from spectral_train.ensemble.evaluate import evaluate, table
from spectral_train.ensemble.export import export
from spectral_train.ensemble.fuse import fuse, verdict
from spectral_train.ensemble.fused import require_fused
from spectral_train.ensemble.fusion import Fitted
from spectral_train.ensemble.head import Head
from spectral_train.ensemble.predict import predict
from spectral_train.run.branches import read_branches
from spectral_train.run.fused import LEARNED, Candidate, Fusion
from spectral_train.run.outputs import TEST
from spectral_train.run.paths import RunPaths
from spectral_train.run.said import ON, On
from spectral_train.training.branch import train_branches
from spectral_train.training.collect import collect
from spectral_train.training.request import TrainingRequest
from spectral_train.training.words import write_all_words
from tests.support.commands import run as command
from tests.support.runs import QUICK, on_cpu
from tests.support.shards import CLASSES, draw, make_shards
from tests.support.trees import tree

HOW = Fitted(hidden=16, epochs=8)
TEST_IMAGES = draw(100, seed=1)


RECIPE = replace(QUICK, holdout=0.25)


@pytest.fixture(autouse=True, scope="module")
def _few_heads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("spectral_train.ensemble.fusion.DECAYS", (0.1,))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"), train=draw(600))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four branches that have said what they know."""
    request = TrainingRequest(data, RECIPE, tmp_path_factory.mktemp("run"), resources=Resources("cpu", workers=1))
    train_branches(request)
    for on in ON:
        write_all_words(request, None, on)
    assert request.run is not None
    return Path(str(request.run))


def fused(run: Path, on: On = "logits", *, without: tuple[int, ...] = (), how: Fitted = HOW) -> Fusion:
    paths = RunPaths(run)
    return fuse(paths, read_branches(paths, without), on, how)


def hidden_first(candidate: Candidate) -> float:
    """Let the head with a hidden layer be kept, whichever is better."""
    return float(candidate.hidden)


@pytest.fixture(scope="module")
def with_head(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("fused") / "shapes"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("spectral_train.ensemble.fuse.merit", hidden_first)
        assert fused(run).head.hidden == 16
    return run


@pytest.fixture
def run(with_head: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(with_head, tmp_path / "shapes"))


def test_a_head_learns_what_the_branches_know(with_head: Path) -> None:
    evaluation = evaluate(with_head, ["fused", "average"])
    assert evaluation.ensemble["fused"] > evaluation.best_accuracy
    assert "fused on logits (hidden = 16" in table(evaluation)
    assert sum(evaluation.weights["fused"]) == pytest.approx(1)


def test_learned_is_kept_where_no_head_is_better_on_held_out_rows(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    monkeypatch.setattr("spectral_train.ensemble.fuse.merit", lambda each: float(each.name == LEARNED))
    fusion = fused(run)
    assert fusion.head.name == LEARNED
    assert "No head is better than learned" in verdict(fusion)
    evaluation = evaluate(run, ["fused", "learned"])
    assert evaluation.ensemble["fused"] == evaluation.ensemble["learned"]
    assert evaluation.settings["fused"] == evaluation.settings["learned"]


def test_what_is_kept_is_the_best_on_held_out_rows(trained: Path, tmp_path: Path) -> None:
    fusion = fused(Path(shutil.copytree(trained, tmp_path / "run")))
    assert fusion.head.held_out_accuracy == max(each.held_out_accuracy for each in fusion.candidates)
    assert {each.name for each in fusion.candidates} == {LEARNED, "linear", "hidden-16"}


def test_the_same_seed_gives_the_same_head(run: Path) -> None:
    assert fused(run) == fused(run) != fused(run, how=replace(HOW, seed=1))


@pytest.mark.parametrize(("on", "calibrate"), [("logits", True), ("features", False)])
def test_images_and_exported_files_get_the_probabilities_that_were_evaluated(
    run: Path, tmp_path: Path, on: On, calibrate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectral_train.ensemble.fuse.merit", hidden_first)
    assert fused(run, on).on == on
    paths = RunPaths(run)
    network = require_fused(paths, read_branches(paths))
    combiner = network.spoken
    expected = combiner(network.outputs(TEST).log_probabilities)
    if calibrate:
        expected = (expected.log() / evaluate(run, ["fused"]).calibration["fused"].temperature).softmax(1)
    pixels = TEST_IMAGES.pixels[:10]
    files = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for path, image in zip(files, pixels, strict=True):
        Image.fromarray(image[..., 0]).save(path)
    combination = Combination("fused", calibrate=calibrate)
    rows = [dict(each.classes) for each in predict(run, files, combination)]
    got = torch.tensor([[row[name] for name in CLASSES] for row in rows], dtype=torch.float64)
    tolerance = 0.05 if network.takes_features else 1e-3  # features were stored as int8
    torch.testing.assert_close(got, expected[:10], rtol=0, atol=tolerance)
    if on == "features":
        assert export(run, tmp_path / "model.onnx", combination)["scheme"] == "fused"
        (said,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"images": pixels})
        torch.testing.assert_close(torch.from_numpy(said).double(), got, rtol=0, atol=1e-5)


def test_a_head_is_given_what_it_was_fitted_to_where_that_was_rounded() -> None:
    exact = torch.linspace(-2.303, -2.302, 9)[:, None].expand(9, 2)
    layer = torch.eye(2) * torch.tensor([1.0, -1.0]), torch.zeros(2)
    head = Head("logits", (2,), torch.full((2,), -2.303), torch.full((2,), 1e4), (layer,), {})
    stored = exact.half().float()
    assert not torch.equal(stored, exact)
    torch.testing.assert_close(head([exact]), head([stored]), rtol=0, atol=0)


@pytest.mark.parametrize("settled", range(3))
def test_a_full_disk_leaves_the_head_that_was_there(run: Path, settled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before, done = tree(run / "fused"), list[str]()

    def settle(file: AtomicFile) -> None:
        if len(done) == settled:
            raise StorageError("the disk is full", where=file.place)
        done.append(file.place.name)

    monkeypatch.setattr(AtomicFile, "settle", settle)
    with pytest.raises(StorageError, match="the disk is full"):
        fused(run, how=replace(HOW, seed=1))
    assert tree(run / "fused") == before


def test_a_run_that_may_not_be_written_is_said_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("spectral_prep.system.files.make_folder", refuse)
    with pytest.raises(InputError, match=r"cannot write here.*fused.*on a copy of the run"):
        fused(run)


def test_ctrl_c_leaves_the_head_that_was_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = tree(run)
    monkeypatch.setattr("spectral_train.ensemble.fuse.candidates", interrupted)
    done = command(f"spectral-ensemble fuse {run}")
    assert (done.code, tree(run)) == (130, before)
    assert "Stopped: what branches have written and an older head are kept. Run next: the same command." in done.err


def test_another_data_set_is_refused_though_nothing_is_to_be_written(run: Path, tmp_path: Path) -> None:
    other = make_shards(tmp_path / "other", dataset_id="fedcba9876543210")
    with pytest.raises(PlanMismatchError, match="branch 0 was trained on another shard"):
        write_all_words(on_cpu(other, run, RECIPE), None, "logits")
    assert "no such data folder" in command(f"spectral-ensemble fuse {run} --data {tmp_path / 'nosuch'}").err


def test_a_head_that_cannot_be_used_leaves_the_other_schemes(run: Path) -> None:
    (run / "fused" / "model.safetensors").write_bytes(b"")
    done = command(f"spectral-ensemble evaluate {run} --quiet")
    assert done.code == 0, done.err
    assert "Warning: the fused network is left out: a file of the fused network is missing or damaged" in done.err
    assert "learned" in done.out
    assert "fused" not in done.out
    assert command(f"spectral-ensemble evaluate {run} --scheme fused").code != 0
    assert command(f"spectral-ensemble evaluate {run} --scheme learned").err == ""


def test_the_command_names_the_branches_that_are_lost_and_the_head_that_it_replaces(run: Path) -> None:
    shutil.rmtree(run / "branch-02")
    options = "--allow-missing --hidden 2 --epochs 1"
    done = command(f"spectral-ensemble fuse {run} {options}")
    assert f"Run next: spectral-ensemble evaluate {run} --without 2\n" in done.out
    assert "the new one replaces it" not in done.err
    assert "the new one replaces it" in command(f"spectral-ensemble fuse {run} {options}").err
    assert "fused on logits" in command(f"spectral-ensemble evaluate {run} --without 2").out


def test_a_lost_branch_is_trained_with_what_a_head_is_given(run: Path) -> None:
    shutil.rmtree(run / "branch-02")
    assert f"--run {run} --fuse-inputs logits\n" in command(f"spectral-ensemble fuse {run}").err
    for file in (run / "branch-01").glob("fusion-logits.*"):
        file.unlink()
    assert f"--run {run} --fuse-inputs features\n" in command(f"spectral-ensemble fuse {run}").err
    assert f"fuse {run} --on features --without 2, or" in command(f"spectral-ensemble fuse {run} --without 2").err


def test_branches_without_features_are_refused_before_they_are_trained(data: Path, tmp_path: Path) -> None:
    train = f"spectral-train --shard all --data {data} --run {tmp_path / 'run'} --model tnn --epochs 1 --fuse-inputs"
    refused = command(f"{train} features")
    assert refused.code == 2
    assert "no features that its last layer makes logits of" in refused.err
    assert not (tmp_path / "run").exists()
    assert command(f"{train} logits").code == 0


def test_a_lost_branch_takes_a_head_of_its_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectral_train.ensemble.evaluate.schemes_in", lambda space: ("average",))
    lost = Combination("fused", without=(2,))
    assert list(evaluate(run).ensemble) == ["average", "fused"]
    assert list(evaluate(run, combination=lost).ensemble) == ["average"]
    with pytest.raises(InputError, match=r"fused-without-02.*Run next: spectral-ensemble fuse .* --without 2"):
        evaluate(run, ["fused"], lost)
    assert len(fused(run, without=(2,)).branches) == 3
    shutil.rmtree(run / "branch-02")
    evaluation = evaluate(run, combination=Combination(allow_missing=True))
    assert list(evaluation.ensemble) == ["average", "fused"]
    assert len(evaluation.weights["fused"]) == 3


def test_a_branch_that_said_nothing_is_named_with_what_to_run(run: Path) -> None:
    RunPaths(run).branch(1).fusion_record("logits").unlink()
    with pytest.raises(InputError, match=r"branch 1 has not written .*fuse .* --on logits --data DATASET"):
        fused(run)
    with pytest.raises(InputError, match=r"fuse .* --on logits --without 2 --data DATASET"):
        fused(run, without=(2,))


def test_the_data_set_to_say_it_from_is_named_where_it_is_found(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunPaths(run).branch(1).fusion_record("logits").unlink()
    (tmp_path / "spectral").mkdir()
    (tmp_path / "spectral" / "shapes").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"Run next: spectral-ensemble fuse .* --data spectral/shapes, or") as error:
        fused(run)
    asked = str(error.value).partition("Run next: ")[2].partition(", or")[0]
    assert command(asked).code == 0


@pytest.mark.parametrize("name", ["fused/model.safetensors", "fused/outputs.safetensors"])
def test_a_damaged_file_of_the_head_is_named(run: Path, name: str) -> None:
    content = bytearray((run / name).read_bytes())
    content[-1] ^= 1
    (run / name).write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"a file of the fused network is missing or damaged.*{name}"):
        evaluate(run, ["fused"])


@pytest.mark.parametrize(
    ("name", "advice"),
    [("fused/fused.json", "spectral-ensemble fuse"), ("branch-01/fusion-logits.json", "delete .*fusion-logits.json")],
)
def test_a_damaged_record_is_named_with_what_to_run(run: Path, name: str, advice: str) -> None:
    (run / name).write_text('{"format":')
    with pytest.raises(CorruptFileError, match=f"unreadable .*{name}.*Run next: {advice}"):
        evaluate(run, ["fused"]) if name.startswith("fused") else fused(run)


def test_a_record_of_a_head_without_its_rows_leaves_the_other_schemes(run: Path) -> None:
    record = run / "fused" / "fused.json"
    content = read_content(record, "fused")
    write_content(record, "fused", {**content, "fusion": {**content["fusion"], "rows": {}}})
    done = command(f"spectral-ensemble evaluate {run} --quiet")
    assert done.code == 0, done.err
    assert "Warning: the fused network is left out: " in done.err
    assert "Expected: training, held_out, test" in done.err


@pytest.mark.parametrize(("name", "dtype"), [("ids", torch.bfloat16), ("ids", torch.int64), ("labels", torch.uint64)])
def test_words_of_other_types_are_refused(run: Path, name: str, dtype: torch.dtype) -> None:
    paths = RunPaths(run).branch(1)
    file, record = paths.fusion_inputs("logits"), paths.fusion_record("logits")
    tensors = safetensors.torch.load_file(file)
    safetensors.torch.save_file({**tensors, f"training.{name}": tensors[f"training.{name}"].to(dtype)}, file)
    content = read_content(record, "fusion-inputs")
    entry = plain(FileEntry.of(paths.root, file))
    write_content(record, "fusion-inputs", {**content, "files": [entry]})
    with pytest.raises(CorruptFileError, match=rf"cannot be read.*{file.name}.*{name} of training rows are {dtype}"):
        fused(run)


def test_a_head_whose_record_is_lost_is_named(run: Path) -> None:
    (run / "fused" / "fused.json").unlink()
    with pytest.raises(CorruptFileError, match=r"without its record.*fused.json. Run next: spectral-ensemble fuse"):
        evaluate(run, ["fused"])
    assert "Warning: the fused network is left out" in command(f"spectral-ensemble evaluate {run} --quiet").err


def test_damaged_words_are_named(run: Path) -> None:
    path = RunPaths(run).branch(1).fusion_inputs("logits")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"a file of branch 1 is missing or damaged.*{path.name}"):
        fused(run)


def test_a_head_on_branches_that_were_trained_anew_is_refused(run: Path, data: Path) -> None:
    shutil.rmtree(run / "branch-03")
    train_branches(on_cpu(data, run, replace(RECIPE, epochs=1)), 3)
    with pytest.raises(PlanMismatchError, match=r"other branches.*spectral-ensemble fuse"):
        evaluate(run, ["fused"])
    with pytest.raises(InputError, match="branch 3 has not written"):
        fused(run)


def test_a_fused_network_is_not_ablated_by_the_way(with_head: Path) -> None:
    with pytest.raises(InputError, match="spectral-ensemble fuse with --without"):
        evaluate(with_head, ["fused"], ablate=True)


@pytest.mark.parametrize(("on", "values"), [("logits", 2 * len(CLASSES)), ("features", 16)])
def test_rows_are_stored_in_few_bytes(trained: Path, on: On, values: int) -> None:
    paths = RunPaths(trained).branch(0)
    rows = 600 + 100
    assert paths.fusion_inputs(on).stat().st_size < rows * (values + 4 + 2) + 2000


def test_what_branches_say_is_collected_with_them_or_later(trained: Path, tmp_path: Path) -> None:
    node, lines = Path(shutil.copytree(trained / "branch-01", tmp_path / "node")), list[str]()
    for file in node.glob("fusion-*"):
        file.unlink()
    (node / "metrics.jsonl").write_text("{}")  # which curves alone need
    collect(tmp_path / "run", [node, trained / "branch-00", trained / "branch-02", trained / "branch-03"])
    with pytest.raises(InputError, match="branch 1 has not written"):
        fused(tmp_path / "run")
    before = tree(tmp_path / "run")
    collect(tmp_path / "run", [trained], lines.append)
    assert [line.partition(", of ")[0] for line in lines] == [
        "branch 0: there already",
        "branch 1: there already, what it says of its rows copied",
        "branch 2: there already",
        "branch 3: there already",
    ]
    new = set(tree(tmp_path / "run")) - set(before)
    assert new == {f"branch-01/fusion-{on}.{end}" for on in ON for end in ("json", "safetensors")}
    assert len(fused(tmp_path / "run").branches) == 4


def test_damaged_words_in_the_run_are_brought_anew(trained: Path, run: Path) -> None:
    words = RunPaths(run).branch(1).fusion_inputs("logits")
    before = words.read_bytes()
    words.write_bytes(b"")
    with pytest.raises(CorruptFileError, match=r"branch 1 is missing or damaged"):
        fused(run)
    collect(run, [trained / "branch-01"])
    assert words.read_bytes() == before


def test_damaged_words_are_found_before_anything_is_copied(trained: Path, tmp_path: Path) -> None:
    node = Path(shutil.copytree(trained / "branch-01", tmp_path / "node"))
    (node / "fusion-logits.safetensors").write_bytes(b"")
    with pytest.raises(CorruptFileError, match=r"node/fusion-logits.safetensors"):
        collect(tmp_path / "run", [trained / "branch-00", node])
    assert not (tmp_path / "run").exists()
