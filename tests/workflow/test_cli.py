"""The commands as a user meets them: their options, their exit codes, and one clear paragraph for each mistake."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
import torch

from spectral_prep.console.commands import prep_group
from spectral_prep.console.group import section_of
from spectral_train.commands import train_command
from spectral_train.ensemble_commands import ensemble_group
from spectral_train.models import MODELS
from spectral_train.recipe.recipes import RECIPES
from spectral_train.training import fit
from tests.support.commands import run
from tests.support.releases import cifar_rows, write_cifar, write_folder, write_mnist

ROOT = Path(__file__).parents[2]
REQUEST = (
    "--dataset --source --out --q --layout --transform --dtype --size --resize --format --compression "
    "--seed --shuffle --views --augmentation --block-rows --max-pixels "
    "--test-fraction --limit --fraction --classes --name --psnr "
    "--image-key --image-column --label-column "
)
OPTIONS = {
    "plan": REQUEST + "--tasks --workers --max-memory --json",
    "begin": REQUEST + "--workers --max-memory --no-space-check --download --mirror",
    "convert": REQUEST + "--task --workers --max-memory --no-space-check --on-error --device --download --mirror "
    "--engine --ray-address --json",
    "cache": "--cache --clean --json",
    "finalize": "",
    "info": "--json",
    "verify": "--source --image-key --image-column --label-column --deep --json",
    "show": "--row --rows --split --source --image-key --image-column --label-column --out",
    "spectral-train": "--shard --baseline --data --run --recipe --model --optimizer --lr --batch-size --epochs --seed "
    "--augment --set --memory --shards --grouping --common --device --joint --workers --compile --version "
    "--cache --cache-size --no-cache --engine --ray-address --gpus-per-branch --list-recipes --list-models "
    "--list-settings --log --json --fuse-inputs --gpu --gpu-tflops --dry-run --width-by --find-rate",
    "fuse": "--data --on --hidden --epochs --seed --device --without --allow-missing",
    "runs": "--clean --unfinished --yes --json",
    "collect": "--json",
    "evaluate": "--scheme --space --p --k --without --allow-missing --ablate --source --dataset --split "
    "--image-key --image-column --label-column --predictions --json --data --views",
    "export": "--out --precision --scheme --space --p --k --calibrate --without --allow-missing --json",
    "report": "--out --space --allow-missing",
    "soup": "--out --data --method --device",
    "predict": "--scheme --top --space --p --k --calibrate --without --allow-missing --predictions --json --views",
}

LOUDNESS = ("--quiet", "--verbose")
"""Options of every command."""


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commands() -> dict[str, click.Command]:
    return {**prep_group.commands, "spectral-train": train_command, **ensemble_group.commands}


def test_the_option_surface_is_pinned() -> None:
    found = {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for name, command in commands().items()
    }
    assert found == {name: {*options.split(), *LOUDNESS} for name, options in OPTIONS.items()}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_explained(name: str) -> None:
    for parameter in commands()[name].params:
        if isinstance(parameter, click.Option) and parameter.name not in ("compression", "device"):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("program", ["spectral-prep", "spectral-train", "spectral-ensemble"])
def test_help_and_version(program: str) -> None:
    assert run(f"{program} --help").code == 0
    assert run(f"{program} --version").code == 0


def test_help_lists_the_commands_in_the_order_of_the_work() -> None:
    shown = run("spectral-prep --help").out.partition("Commands:")[2]
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  ")] == [
        "plan",
        "begin",
        "convert",
        "finalize",
        "verify",
        "info",
        "cache",
        "show",
    ]


def test_help_of_training_lists_every_model_and_recipe_without_importing_torch() -> None:
    program = """
import sys, cli
try:
    cli.train(["--help"])
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    shown = "".join(done.stdout.split())
    assert ",".join(RECIPES) in shown
    assert ",".join(MODELS) in shown


def test_settings_of_training_reach_the_recipe(digits: Path) -> None:
    settings = "--set width=4 --set ema=0.9 --set patience=1 --set schedule=one-cycle"
    finished = run(f"spectral-train --shard 1 --data {digits} --model conv --run r --epochs 1 {settings}")
    assert finished.code == 0, finished.err
    recipe = json.loads(Path("r/branch-01/branch.json").read_text())["plan"]["recipe"]
    assert (recipe["ema"], recipe["patience"], recipe["schedule"]) == (0.9, 1, "one-cycle")
    assert recipe["model_options"] == {"width": 4}
    mistake(f"spectral-train --shard 1 --data {digits} --set emma=1", 2, "emma", "label_smoothing")
    mistake(f"spectral-train --shard 1 --data {digits} --model resnet", 2, "resnet34")


def test_the_verbatim_lines_work_with_their_defaults() -> None:
    write_mnist(Path("data/mnist"), rows=60, test_rows=20)
    converted = run("spectral-prep convert --dataset mnist --q 16")
    assert (converted.code, converted.err.count("Error")) == (0, 0)
    assert "Complete: spectral/mnist-q16" in converted.out
    trained = run("spectral-train --shard 3")
    assert trained.code == 0, trained.err
    assert "branch 3: " in trained.out
    assert Path("runs/mnist-q16-fc/branch-03/branch.json").exists()


def test_json_is_one_object_on_stdout(digits: Path) -> None:
    for line in (f"spectral-prep info {digits} --json", f"spectral-prep verify {digits} --json"):
        finished = run(line)
        assert finished.code == 0
        assert json.loads(finished.out)["rows"] == {"train": 1438, "test": 359}


def test_convert_says_in_json_what_it_made(tmp_path: Path) -> None:
    line = f"spectral-prep convert --dataset digits --q 1x2 --block-rows 900 --workers 1 --json --out {tmp_path}/d"
    part = json.loads(run(f"{line} --task 0/2").out)
    assert (part["complete"], part["blocks_done"]) == (False, 2)
    whole = json.loads(run(line).out)
    assert (whole["folder"], whole["rows"]) == (f"{tmp_path}/d", {"train": 1438, "test": 359})
    assert whole["bytes"] == json.loads(run(f"spectral-prep info {tmp_path}/d --json").out)["bytes"]
    assert 40 < whole["psnr"] < 80
    assert whole["seconds"] > 0


@pytest.mark.parametrize("program", ["spectral-prep", "spectral-prep convert", "spectral-train", "spectral-ensemble"])
def test_short_help_is_the_long_one(program: str) -> None:
    assert run(f"{program} -h").out == run(f"{program} --help").out != ""


def test_options_of_large_commands_stand_in_groups() -> None:
    titles = re.compile(r"^(\w+):$", re.MULTILINE)
    shared = ["Data", "Model", "Optimisation", "Output", "Machine", "Options"]
    assert titles.findall(run("spectral-train --help").out) == shared
    assert titles.findall(run("spectral-prep convert --help").out) == [
        "Source",
        "Transform",
        "Output",
        "Machine",
        "Options",
    ]
    for name in ("convert", "spectral-train"):
        command = commands()[name]
        loose = [each for each in command.params if section_of(each, command) == "Options"]
        assert {option for each in loose for option in each.opts} <= {*LOUDNESS, "--version", "--json"}, (
            "name it in console.group"
        )


def test_bash_completes_commands_and_options() -> None:
    def completed(words: str, number: int) -> str:
        program = "import sys, cli; sys.argv = ['spectral-prep']; cli.prep()"
        asked = {"_SPECTRAL_PREP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **asked}, cwd=ROOT
        )
        return done.stdout

    assert completed("spectral-prep conv", 1) == "plain,convert\n"
    assert "plain,blocks" in completed("spectral-prep convert --layout b", 3)


def test_info_of_a_single_spectral_folder(digits: Path) -> None:
    shutil.copytree(digits / "spectral-02", "alone")
    found = json.loads(run("spectral-prep info alone --json").out)
    assert found["spectrals"] == [2]
    assert len(found["energy"]) == 4
    assert "energy %" in run("spectral-prep info alone").out


def test_info_of_an_unfinished_conversion(digits: Path) -> None:
    (digits / "manifest.json").unlink()
    (digits / "blocks" / "00003.json").unlink()
    assert "unfinished, 6 of 7 blocks" in run(f"spectral-prep info {digits}").out


def test_verify_compares_digits_with_their_source_by_itself(digits: Path) -> None:
    finished = run(f"spectral-prep verify {digits}")
    assert finished.code == 0
    assert "images put back together and compared with the source" in finished.out


def test_verify_lists_faults_and_exits_with_1(digits: Path) -> None:
    (digits / "spectral-01" / "spectral.json").unlink()
    finished = run(f"spectral-prep verify {digits}")
    assert finished.code == 1
    assert "spectral-01/spectral.json: No such file or directory" in finished.out
    assert "delete the files named" in finished.err
    assert run(f"spectral-prep convert --dataset digits --q 4 --block-rows 300 --out {digits}").code == 0
    assert run(f"spectral-prep verify {digits}").code == 0


def mistake(line: str, code: int, *told: str) -> None:
    """Run a command that must fail with this code and one paragraph that holds these words."""
    finished = run(line)
    assert finished.code == code, finished.err
    message = [text for text in finished.err.splitlines() if text.startswith("Error: ")]
    assert len(message) == 1, finished.err
    assert "Traceback" not in finished.err
    for words in told:
        assert words in finished.err


class TestBadInput:
    """Each mistake of a user or of the data: what, where, expected, got, what to run next."""

    def test_a_missing_folder(self) -> None:
        mistake("spectral-prep convert --dataset mnist --q 16", 2, "data/mnist", "--download")
        mistake("spectral-prep convert --dataset digits --q 4 --device cuda", 2, "no GPU", "--device cpu")
        mistake("spectral-prep info nowhere", 2, "nowhere", "Expected:")
        mistake("spectral-prep verify nowhere", 2, "nowhere", "Expected:")
        mistake("spectral-train --shard 3", 2, "spectral", "spectral-prep convert")
        mistake("spectral-ensemble evaluate nowhere", 2, "nowhere")

    def test_an_unknown_data_set(self) -> None:
        mistake("spectral-prep convert --dataset imagenette --q 4", 2, "imagenette", "Expected: one of digits, mnist")

    def test_a_truncated_idx_file(self) -> None:
        write_mnist(Path("m"), zipped=False)
        path = Path("m/train-images-idx3-ubyte")
        path.write_bytes(path.read_bytes()[:-1])
        mistake(
            "spectral-prep convert --dataset mnist --q 16 --source m", 1, "train-images-idx3-ubyte", "Expected:", "Got:"
        )

    def test_a_truncated_gz_file(self) -> None:
        write_mnist(Path("m"))
        path = Path("m/train-images-idx3-ubyte.gz")
        path.write_bytes(path.read_bytes()[:-40])
        mistake("spectral-prep convert --dataset mnist --q 16 --source m", 1, "train-images-idx3-ubyte.gz")

    def test_a_truncated_tar(self) -> None:
        archive = write_cifar(Path("c"), "cifar10", "binary.tar.gz", cifar_rows())
        archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
        mistake(f"spectral-prep convert --dataset cifar10 --q 4 --source {archive}", 1, archive.name)

    def test_a_wrong_magic(self) -> None:
        write_mnist(Path("m"), zipped=False)
        path = Path("m/t10k-images-idx3-ubyte")
        path.write_bytes(struct.pack(">I", 1234) + path.read_bytes()[4:])
        mistake("spectral-prep convert --dataset mnist --q 16 --source m", 1, "t10k-images", "0x00000803", "0x000004d2")

    def test_a_label_out_of_range(self) -> None:
        write_mnist(Path("m"))
        path = Path("m/train-labels-idx1-ubyte.gz")
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[8 + 7] = 10
        path.write_bytes(gzip.compress(bytes(content)))
        mistake(
            "spectral-prep convert --dataset mnist --q 16 --source m", 1, "row 7", "0 to 9", "Got: 10", "train-labels"
        )

    def test_a_q_that_does_not_divide(self) -> None:
        write_mnist(Path("m"))
        mistake("spectral-prep convert --dataset mnist --q 15 --source m", 2, "{1, 2, 4, 7, 14, 28}", "--q 4x4")

    def test_a_text_file_named_jpg(self) -> None:
        write_folder(Path("f"), ["train/a/1.png", "train/b/2.png"])
        Path("f/train/b/readme.jpg").write_text("hello")
        mistake("spectral-prep convert --dataset folder --q 4 --source f", 1, "b/readme.jpg", "--on-error skip")

    def test_class_folders_that_are_all_empty(self) -> None:
        Path("f/train/empty").mkdir(parents=True)
        mistake("spectral-prep convert --dataset folder --q 4 --source f", 2, "empty", "class folders without an image")

    def test_a_target_that_cannot_be_written(self) -> None:
        Path("file").write_text("")
        mistake("spectral-prep convert --dataset digits --q 4 --out file/out", 2, "file/out", "--out")

    def test_what_to_run_next_is_said_for_the_file_at_hand(self, digits: Path) -> None:
        Path("file").write_text("")
        mistake(f"spectral-train --shard 0 --data {digits} --epochs 1 --run file/run", 2, "file/run", "with --run")
        mistake(f"spectral-prep show {digits} --row 1 --out file/row.png", 2, "file/row.png", "with --out in such")

    def test_a_pickle_that_calls_os_system(self) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.system, ("touch it-ran",)

        folder = write_cifar(Path("c"), "cifar10", "python", cifar_rows())
        (folder / "data_batch_2").write_bytes(pickle.dumps({b"data": Evil()}, protocol=2))
        mistake(f"spectral-prep convert --dataset cifar10 --q 4 --source {folder}", 1, "os.system", "data_batch_2")
        assert not Path("it-ran").exists()

    def test_a_plan_that_differs(self, digits: Path) -> None:
        mistake(f"spectral-prep convert --dataset digits --q 2 --out {digits}", 2, "--q")
        blocks = "--block-rows 200"  # without a word on them those that stand there count
        mistake(f"spectral-prep convert --dataset digits --q 4 {blocks} --out {digits}", 2, "block_rows: 300 there")

    def test_a_shard_with_a_flipped_byte(self, digits: Path) -> None:
        part = digits / "spectral-03" / "train" / "x" / "c" / "2" / "0" / "0" / "0"
        content = bytearray(part.read_bytes())
        content[100] ^= 1
        part.write_bytes(bytes(content))
        mistake(f"spectral-train --shard 3 --data {digits}", 1, "spectral-03/train/x/c/2/0/0/0")

    def test_shard_99(self, digits: Path) -> None:
        mistake(f"spectral-train --shard 99 --data {digits}", 2, "99", "0 to 3")

    def test_neither_shard_nor_baseline(self, digits: Path) -> None:
        for line in ("spectral-train", "spectral-train --shard 1 --baseline", "spectral-train --shard first"):
            assert run(line).code == 2

    def test_an_ensemble_with_a_branch_missing(self, digits: Path) -> None:
        assert run(f"spectral-train --shard all --data {digits} --epochs 1 --run r").code == 0
        shutil.rmtree("r/branch-02")
        mistake("spectral-ensemble evaluate r", 2, "2", "spectral-train --shard 2")

    def test_an_image_that_is_none(self, digits: Path) -> None:
        assert run(f"spectral-train --shard all --data {digits} --epochs 1 --run r").code == 0
        Path("text.png").write_text("hello")
        mistake("spectral-ensemble predict r text.png", 1, "text.png")
        mistake("spectral-ensemble predict r nowhere.png", 2, "nowhere.png")
        write_folder(Path("f"), ["train/a/1.png"], size=(20, 30))
        several = run("spectral-ensemble predict r text.png f/train/a/1.png")
        assert several.code == 1
        assert several.out.startswith("f/train/a/1.png: ")
        assert "text.png: not an image of a known format" in several.err


def test_a_run_is_evaluated_and_predicts(digits: Path) -> None:
    assert run(f"spectral-train --shard all --data {digits} --run r").code == 0
    found = json.loads(run("spectral-ensemble evaluate r --json").out)
    assert [branch["shard"] for branch in found["branches"]] == [0, 1, 2, 3]
    assert set(found["branches"][0]) == {"shard", "accuracy", "loss"}
    assert found["mean_accuracy"] == pytest.approx(sum(branch["accuracy"] for branch in found["branches"]) / 4)
    assert found["best_accuracy"] == max(branch["accuracy"] for branch in found["branches"])
    assert set(found["ensemble"]) == {"average", "loss", "geometric", "best", "top-k", "learned", "stacked"}
    assert found["ensemble"]["geometric"] > found["best_accuracy"]
    write_folder(Path("f"), ["train/a/1.png"], size=(20, 30))
    predicted = json.loads(run("spectral-ensemble predict r f/train/a/1.png --json --top 3").out)
    assert len(predicted["classes"]) == 3


def test_ctrl_c_while_training_keeps_the_finished_epochs(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score, calls = fit.score, iter(range(100))

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return score(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(fit, "score", interrupted)
        finished = run(f"spectral-train --shard 0 --data {digits} --run r --epochs 4")
    assert finished.code == 130
    assert "Stopped: finished epochs are kept" in finished.err
    assert run(f"spectral-train --shard 0 --data {digits} --run r --epochs 4").code == 0
    assert run(f"spectral-train --shard 0 --data {digits} --run undisturbed --epochs 4").code == 0
    weights = [Path(root) / "branch-00" / "model.safetensors" for root in ("r", "undisturbed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_gpu_without_room_is_said_in_words(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB.")

    monkeypatch.setattr(fit, "score", full)
    finished = run(f"spectral-train --shard 0 --data {digits} --run r --epochs 4")
    assert finished.code == 2
    assert "too little memory" in finished.err
    assert "Got: CUDA out of memory" in finished.err


def test_show_draws_a_row_and_says_where() -> None:
    run("spectral-prep convert --dataset digits --q 4")
    shown = run("spectral-prep show spectral/digits-q4 --row 3")
    assert shown.code == 0
    assert "train row 3" in shown.out
    assert Path("digits-train-3.png").read_bytes().startswith(b"\x89PNG")
    several = run("spectral-prep show spectral/digits-q4 --row 3 --rows 4")
    assert several.out.count("train row ") == 4
    assert Path("digits-train-3-6.png").read_bytes().startswith(b"\x89PNG")
