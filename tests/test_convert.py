"""The same bytes whatever happens on the way: kills, worker counts, layouts, full disks, bad images."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import psutil
import pytest
import torch
import zarr

from spectral_prep.convert import convert
from spectral_prep.encoding import decode
from spectral_prep.errors import CorruptSourceError, InputError, PlanMismatchError, StorageError
from spectral_prep.finalize import finalize
from spectral_prep.info import info
from spectral_prep.manifest import SpectralRecord, read_record
from spectral_prep.plan import Plan
from spectral_prep.request import Request
from spectral_prep.sources import open_source
from spectral_prep.spectrum import merge
from spectral_prep.store.layout import DatasetPaths, Format
from spectral_prep.verify import verify
from tests.make import CIFAR_LAYOUTS, cifar_rows, write_cifar, write_folder, write_mnist
from tests.trees import tree

FORMATS: tuple[Format, ...] = get_args(Format)


def stored(root: Path, split: str) -> tuple[Plan, torch.Tensor, np.ndarray, np.ndarray]:
    """Return the plan, the decoded spectrum (Q, N, C, h, w), labels and ids, read with plain zarr."""
    plan = Plan.from_dict(read_record(DatasetPaths(root).plan, "plan"))
    groups = [zarr.open_group(DatasetPaths(root).spectral(k).root, mode="r") for k in range(plan.spec.q)]
    spectrum = torch.from_numpy(np.stack([group[f"{split}/x"][:] for group in groups]))
    labels, ids = (np.stack([group[f"{split}/{name}"][:] for group in groups]) for name in ("y", "id"))
    assert (labels == labels[0]).all()
    assert (ids == ids[0]).all()
    return plan, decode(spectrum, plan.encoding), labels[0], ids[0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("q", "layout"), [("16", "blocks"), ("28", "blocks"), ("2x4", "tiles")])
def test_every_row_of_mnist_comes_back_with_its_label(tmp_path, dtype, q, layout) -> None:
    written = write_mnist(tmp_path / "mnist", rows=90, test_rows=30)
    out = convert(Request("mnist", q, layout=layout, dtype=dtype, block_rows=32), tmp_path / "mnist", tmp_path / "out")
    for split, (images, labels) in written.items():
        plan, spectrum, y, ids = stored(out.root, split)
        np.testing.assert_array_equal(merge(spectrum, plan.spec)[..., 0], images[ids])
        np.testing.assert_array_equal(y, labels[ids])
        assert sorted(ids) == list(range(len(images)))


def test_training_rows_are_shuffled_by_the_seed_unless_told_not_to_and_test_rows_never(tmp_path) -> None:
    write_mnist(tmp_path / "mnist", rows=90, test_rows=30)
    order = {}
    for seed in (0, 1):
        out = convert(Request("mnist", "16", seed=seed), tmp_path / "mnist", tmp_path / f"out{seed}")
        assert stored(out.root, "test")[3].tolist() == list(range(30))
        order[seed] = stored(out.root, "train")[3].tolist()
    assert order[0] != order[1]
    assert order[0] != sorted(order[0])
    out = convert(Request("mnist", "16", shuffle="none"), tmp_path / "mnist", tmp_path / "unshuffled")
    assert stored(out.root, "train")[3].tolist() == list(range(90))


@pytest.mark.parametrize("q", ["4", "32"])
def test_the_four_layouts_of_cifar10_give_equal_bytes(tmp_path, q) -> None:
    parts = cifar_rows("cifar10", rows=2)
    trees = []
    for number, layout in enumerate(CIFAR_LAYOUTS):
        path = write_cifar(tmp_path / str(number), "cifar10", layout, parts)
        trees.append(tree(convert(Request("cifar10", q), path, tmp_path / f"out{number}").root))
    assert len(trees) == 4
    assert trees[0] == trees[1] == trees[2] == trees[3]


@pytest.mark.parametrize(("workers", "format"), [(2, "webdataset"), (3, "zarr")])
def test_the_number_of_workers_changes_no_byte(tmp_path, workers, format) -> None:
    request = Request("digits", "4", block_rows=64, format=format)
    alone = convert(request, Path(), tmp_path / "alone", workers=1)
    several = convert(request, Path(), tmp_path / "several", workers=workers)
    assert tree(several.root) == tree(alone.root)


def test_the_number_of_torch_threads_changes_no_byte(tmp_path) -> None:
    one = convert(Request("digits", "4"), Path(), tmp_path / "one")
    torch.set_num_threads(2)
    assert tree(convert(Request("digits", "4"), Path(), tmp_path / "two").root) == tree(one.root)


KILLED = """
import os, random, signal, sys
from pathlib import Path
import spectral_prep.convert as c
out, rng = Path(sys.argv[1]), random.Random(0)
for attempt in range(10):
    child, renames = os.fork(), rng.randrange(2, 90)
    if child == 0:
        rename = os.replace
        def counted(old, new):
            global renames
            renames -= 1
            if renames == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(old, new)
        os.replace = counted
        c.convert(c.Request("digits", "4", block_rows=16, format=sys.argv[2]), Path(), out, workers=1)
        os._exit(0)
    print(os.waitpid(child, 0)[1], len(list(out.glob("blocks/*.json"))), flush=True)
"""


@pytest.mark.parametrize("format", FORMATS)
def test_ten_kills_at_random_moments_and_a_rerun_give_the_bytes_of_an_undisturbed_run(tmp_path, format) -> None:
    """Each kill comes just before a random rename of a file that is wholly written: the latest moment to lose it."""
    request = Request("digits", "4", block_rows=16, format=format)
    undisturbed = convert(request, Path(), tmp_path / "undisturbed")
    killed = tmp_path / "killed"
    program = [sys.executable, "-c", KILLED, str(killed), format]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    kills = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [status for status, _ in kills] == [signal.SIGKILL] * 10
    blocks = [count for _, count in kills]
    assert blocks == sorted(blocks)
    assert 0 < blocks[4] < blocks[-1] < len(list(undisturbed.blocks.iterdir()))
    convert(request, Path(), killed)
    assert tree(killed) == tree(undisturbed.root)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("finished", [False, True], ids=["while completing", "while mending"])
def test_a_kill_while_a_data_set_is_completed_or_mended_is_healed(tmp_path, monkeypatch, finished, format) -> None:
    """At every rename; an exception that no code of ours catches stands for the kill."""
    request = Request("digits", "1x2", format=format)
    paths = convert(request, Path(), tmp_path / "out")
    whole = tree(paths.root)
    part = paths.spectral(1).part("test", 0, format)
    replace = os.replace
    for call in range(1, 100):
        if finished:
            part.unlink()
        else:
            paths.manifest.unlink()
        calls = iter(range(1, 1000))

        def killed(old: str, new: str, calls=calls, call=call) -> None:
            if next(calls) == call:
                raise SystemExit("killed")
            replace(old, new)

        monkeypatch.setattr(os, "replace", killed)
        try:
            convert(request, Path(), paths.root)
        except SystemExit:
            assert not (paths.manifest.exists() and part.exists())
        else:
            break
        monkeypatch.setattr(os, "replace", replace)
        convert(request, Path(), paths.root)
        assert tree(paths.root) == whole
    assert call > 10


def test_two_conversions_at_once_do_each_other_no_harm(tmp_path) -> None:
    write_mnist(tmp_path / "mnist", rows=600, test_rows=10)
    arguments = ["convert", "--dataset", "mnist", "--q", "4", "--block-rows", "15", "--source", str(tmp_path / "mnist")]
    arguments += ["--out", str(tmp_path / "out"), "--workers", "1", "--on-error", "skip"]
    both = [started(*arguments) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert command(*arguments[:-6], "--out", str(tmp_path / "alone")).returncode == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_a_disk_that_fails_under_the_scratch_files_is_not_a_bad_image(tmp_path, monkeypatch) -> None:
    from spectral_prep.sources.arrays import ArraySource

    def gone(self, split, row_id, name):
        raise StorageError("cannot read row back")

    monkeypatch.setattr(ArraySource, "read", gone)
    with pytest.raises(StorageError):
        convert(Request("digits", "4", dtype="float16"), Path(), tmp_path / "out", on_error="skip")


@pytest.mark.parametrize("call", [1, 4, 9, 20, 40, 80])
def test_a_disk_that_fills_at_any_write_keeps_what_is_finished(tmp_path, monkeypatch, call) -> None:
    request = Request("digits", "2x2", block_rows=720)
    whole = tree(convert(request, Path(), tmp_path / "whole").root)
    calls = iter(range(1, 1000))
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"disk is full.*Run next: free space"):
        convert(request, Path(), tmp_path / "out")
    assert next(calls) > call
    monkeypatch.undo()
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert tree(convert(request, Path(), tmp_path / "out").root) == whole


def test_a_small_file_system_that_fills_is_one_clear_paragraph(tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        write_mnist(tmp_path / "mnist", rows=600, test_rows=10)
        arguments = [
            "convert",
            "--dataset",
            "mnist",
            "--source",
            str(tmp_path / "mnist"),
            "--q",
            "16",
            "--out",
            str(disk / "o"),
        ]
        refused = command(*arguments)
        assert refused.returncode == 1
        assert re.search(r"Error: not enough room.*Expected: [\d,]+ bytes free.*--no-space-check", refused.stderr)
        assert not (disk / "o").exists()
        done = command(*arguments, "--no-space-check")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("Error: the disk is full. Where: ")
        assert "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        assert command(*arguments).returncode == 0
        assert not verify(disk / "o").faults
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_rerunning_a_complete_conversion_writes_nothing(digits) -> None:
    times = {path: path.stat().st_mtime_ns for path in digits.rglob("*")}
    convert(Request("digits", "4", block_rows=300), Path(), digits)
    assert {path: path.stat().st_mtime_ns for path in digits.rglob("*")} == times


def test_rerunning_a_complete_conversion_needs_no_right_to_write(tmp_path, monkeypatch) -> None:
    request, out = Request("digits", "1x2"), tmp_path / "out"
    convert(request, Path(), out)
    touched = []

    def watch(name: str, writes: Callable[..., bool]) -> None:
        real = getattr(os, name)

        def watched(path, *rest, **named):
            if out in (Path(path), *Path(path).parents) and writes(*rest):
                touched.append((name, path))
            return real(path, *rest, **named)

        monkeypatch.setattr(os, name, watched)

    watch("open", lambda flags, *_: bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
    watch("mkdir", lambda *_: True)
    watch("unlink", lambda *_: True)
    watch("replace", lambda *_: True)
    convert(request, Path(), out)
    assert not touched
    DatasetPaths(out).block(0).unlink()
    convert(request, Path(), out)
    assert touched


def test_a_part_that_was_deleted_or_cut_is_written_again(digits) -> None:
    whole = tree(digits)
    paths = DatasetPaths(digits)
    paths.spectral(1).part("train", 2, "zarr").unlink()
    cut = paths.spectral(3).part("test", 0, "zarr")
    cut.write_bytes(cut.read_bytes()[:-1])
    convert(Request("digits", "4", block_rows=300), Path(), digits)
    assert tree(digits) == whole


def test_another_plan_in_the_same_folder_is_refused_with_the_difference(digits) -> None:
    whole = tree(digits)
    with pytest.raises(PlanMismatchError) as caught:
        convert(Request("digits", "4", block_rows=300, transform="none", seed=5), Path(), digits)
    assert "spec.transform: dct there, none here" in str(caught.value)
    assert "seed: 0 there, 5 here" in str(caught.value)
    assert caught.value.exit_code == 2
    assert tree(digits) == whole


def test_a_source_that_changed_is_refused(tmp_path) -> None:
    write_folder(tmp_path / "set", ["train/a/1.png", "train/b/2.png"])
    convert(Request("folder", "4"), tmp_path / "set", tmp_path / "out")
    write_folder(tmp_path / "set", ["train/b/3.png"])
    with pytest.raises(PlanMismatchError, match="fingerprint"):
        convert(Request("folder", "4"), tmp_path / "set", tmp_path / "out")


def test_what_a_kill_at_the_very_start_leaves_is_not_something_else(tmp_path) -> None:
    (tmp_path / "plan.json.0123456789ab.partial").write_text("{")
    (tmp_path / "rows").mkdir()
    (tmp_path / ".staging-0123456789ab").mkdir()
    assert info(convert(Request("digits", "4"), Path(), tmp_path).root).complete
    assert not verify(tmp_path).faults


def test_equal_names_with_other_pixels_are_another_data_set(tmp_path) -> None:
    names, ids = ["train/a/1.png", "train/b/2.png"], []
    for number, order in enumerate((names, names[::-1])):
        write_folder(tmp_path / f"set{number}", order)
        out = convert(Request("folder", "4", dtype="float16"), tmp_path / f"set{number}", tmp_path / f"out{number}")
        ids.append(info(out.root).dataset_id)
    assert ids[0] != ids[1]


def test_a_folder_with_something_else_in_it_is_not_written_to(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"something else.*thesis\.tex.*--out"):
        convert(Request("digits", "4"), Path(), tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_target_below_a_file_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"not a folder|cannot write here") as caught:
            convert(Request("digits", "4"), Path(), target)
        assert caught.value.exit_code == 2


def test_a_q_that_does_not_divide_leaves_no_folder_behind(tmp_path) -> None:
    with pytest.raises(InputError, match="--q 9 does not divide a 8x8 image"):
        convert(Request("digits", "9"), Path(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


class TestBadImages:
    """A text file named .jpg and a truncated PNG among good images."""

    @pytest.fixture
    def source(self, tmp_path) -> Path:
        root = tmp_path / "set"
        write_folder(
            root, [f"{split}/{name}/{i}.png" for split in ("train", "test") for name in "ab" for i in range(9)]
        )
        (root / "train/a/notes.jpg").write_text("not an image")
        good = (root / "train/b/3.png").read_bytes()
        (root / "train/b/3.png").write_bytes(good[: len(good) // 2])
        return root

    def test_fail_lists_them_all_and_does_not_complete(self, tmp_path, source) -> None:
        with pytest.raises(CorruptSourceError) as caught:
            convert(Request("folder", "4", block_rows=4), source, tmp_path / "out")
        assert "2 images cannot be converted" in str(caught.value)
        assert "a/notes.jpg: not an image of a known format" in str(caught.value)
        assert "b/3.png: truncated or damaged image" in str(caught.value)
        assert "--on-error skip" in str(caught.value)
        assert caught.value.exit_code == 1
        assert not info(tmp_path / "out").complete
        assert all(any(folder.iterdir()) for folder in (tmp_path / "out").rglob("*") if folder.is_dir())
        with pytest.raises(InputError, match="blocks are not converted yet"):
            finalize(tmp_path / "out")

    def test_replaced_images_are_converted_by_the_same_command(self, tmp_path, source) -> None:
        with pytest.raises(CorruptSourceError):
            convert(Request("folder", "4", block_rows=4), source, tmp_path / "out")
        write_folder(source, ["train/a/notes.jpg", "train/b/3.png"])
        out = convert(Request("folder", "4", block_rows=4), source, tmp_path / "out")
        assert not verify(out.root, lambda plan: open_source("folder", source, tmp_path / "staging")).faults

    def test_skip_keeps_their_slots_with_label_minus_one_in_every_folder(self, tmp_path, source) -> None:
        out = convert(Request("folder", "4", block_rows=4, dtype="float16"), source, tmp_path / "out", on_error="skip")
        plan, spectrum, labels, ids = stored(out.root, "train")
        names = [json.loads(line)[0] for line in out.rows("train").read_text().splitlines()]
        assert sorted(names[i] for i in ids[labels == -1]) == ["a/notes.jpg", "b/3.png"]
        assert (spectrum[:, labels == -1] == 0).all()
        assert (merge(spectrum, plan.spec)[labels >= 0].flatten(1).float().std(dim=1) > 0).all()
        assert info(out.root).bad_rows == {"train": 2, "test": 0}
        assert not verify(out.root, lambda plan: open_source("folder", source, tmp_path / "staging")).faults

    def test_statistics_do_not_count_them(self, tmp_path, source) -> None:
        out = convert(Request("folder", "4", block_rows=4, dtype="float32"), source, tmp_path / "out", on_error="skip")
        _, spectrum, labels, _ = stored(out.root, "train")
        record = SpectralRecord.from_dict(read_record(out.spectral(0).record, "spectral"))
        good = spectrum[0, labels >= 0].double().transpose(0, 1).flatten(1)
        np.testing.assert_allclose(record.mean, good.mean(1), rtol=1e-6)
        np.testing.assert_allclose(record.std, good.std(1, correction=0), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_statistics_are_those_of_the_decoded_training_rows(tmp_path, dtype) -> None:
    out = convert(Request("digits", "4", dtype=dtype, block_rows=100), Path(), tmp_path / "out")
    _, spectrum, _, _ = stored(out.root, "train")
    for k in range(4):
        record = SpectralRecord.from_dict(read_record(out.spectral(k).record, "spectral"))
        values = spectrum[k].double()
        np.testing.assert_allclose(record.mean, [values.mean()], rtol=1e-5)
        np.testing.assert_allclose(record.std, [values.std(correction=0)], rtol=1e-5)
        np.testing.assert_allclose(record.energy[k], values.var(correction=0), rtol=1e-5)


def test_images_of_several_sizes_need_a_size(tmp_path) -> None:
    write_folder(tmp_path / "set", ["train/a/1.png", "train/a/2.png"], size=(32, 32))
    write_folder(tmp_path / "set", ["train/b/3.png"], size=(24, 40))
    with pytest.raises(InputError, match=r"do not share one size.*24x40, 32x32.*--size 224"):
        convert(Request("folder", "4"), tmp_path / "set", tmp_path / "out")
    out = convert(Request("folder", "4", size=16), tmp_path / "set", tmp_path / "out")
    assert info(out.root).image_shape == (16, 16, 3)


def test_an_image_above_max_pixels_is_a_bad_image(tmp_path) -> None:
    write_folder(tmp_path / "set", ["train/a/1.png", "train/a/2.png", "train/b/3.jpg"], size=(30, 40))
    write_folder(tmp_path / "set", ["train/b/large.jpg"], size=(30, 41))
    request = Request("folder", "4", size=16, max_pixels=1200)
    with pytest.raises(CorruptSourceError, match=r"(?s)1 images cannot.*b/large\.jpg: .*30x41 pixels.*--max-pixels"):
        convert(request, tmp_path / "set", tmp_path / "out")
    with pytest.raises(PlanMismatchError, match=r"max_pixels: 1200 there, 1230 here"):
        convert(replace(request, max_pixels=1230), tmp_path / "set", tmp_path / "out")
    assert info(convert(request, tmp_path / "set", tmp_path / "out", on_error="skip").root).bad_rows["train"] == 1
    assert info(convert(replace(request, max_pixels=1230), tmp_path / "set", tmp_path / "whole").root).complete


def peak_memory(folder: Path, rows: int, block_rows: int) -> int:
    """Return the peak resident kB of converting this many images of 12,544 bytes in this process alone."""
    write_mnist(folder / "mnist", rows=rows, test_rows=10, size=112, zipped=False)
    program = (
        "import re, sys; from pathlib import Path; from spectral_prep.convert import Request, convert;"
        f"convert(Request('mnist', '16', block_rows={block_rows}), Path(sys.argv[1]), Path(sys.argv[2]), workers=1);"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    # What is freed goes back to the system at once: the peak is that of live memory, not of malloc's habits.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    arguments = [sys.executable, "-c", program, str(folder / "mnist"), str(folder / "out")]
    return int(subprocess.run(arguments, check=True, capture_output=True, text=True, env=environment).stdout)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path) -> None:
    few, many = (peak_memory(tmp_path / f"{rows}", rows, block_rows=128) for rows in (1000, 4000))
    assert many - few < 3000 * 112 * 112 / 1024 / 4, (few, many)


def test_memory_does_not_grow_with_the_size_of_a_block(tmp_path) -> None:
    """Blocks of one chunk, and of six."""
    one, six = (peak_memory(tmp_path / f"{chunks}", 4000, block_rows=chunks * 666) for chunks in (1, 6))
    assert six - one < 5 * 666 * 112 * 112 / 1024 / 4, (one, six)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from cli import prep; prep()", *arguments], capture_output=True, text=True, timeout=120
    )


def many_blocks(tmp_path: Path) -> list[str]:
    """Write a small MNIST and return the command that converts it in many blocks, without `--out`."""
    write_mnist(tmp_path / "mnist", rows=1500, test_rows=10)
    return ["convert", "--dataset", "mnist", "--q", "16", "--block-rows", "20", "--source", str(tmp_path / "mnist")]


def test_ctrl_c_ends_the_workers_and_says_what_to_run(tmp_path) -> None:
    arguments = many_blocks(tmp_path)
    process = started(*arguments, "--workers", "2", "--out", str(tmp_path / "out"))
    wait_for_blocks(process, tmp_path / "out", 3)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Stopped" in errors
    assert "the same command" in errors
    assert "Traceback" not in errors
    assert not info(tmp_path / "out").complete
    assert group_ends(process.pid)


@pytest.mark.parametrize("victim", ["converter", "worker"])
def test_kill_9_leaves_no_process_behind_and_a_rerun_completes(tmp_path, victim) -> None:
    arguments = many_blocks(tmp_path)
    process = started(*arguments, "--workers", "2", "--out", str(tmp_path / "out"))
    wait_for_blocks(process, tmp_path / "out", 3)
    workers = [each for each in psutil.Process(process.pid).children(recursive=True) if each.ppid() != process.pid]
    os.kill(process.pid if victim == "converter" else workers[-1].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert group_ends(process.pid)
    if victim == "worker":
        assert process.returncode == 1
        assert re.search(r"Error: a worker process was killed at block \d+ \(train rows \d+ to \d+\)", errors)
        assert "Traceback" not in errors
    assert command(*arguments, "--out", str(tmp_path / "out")).returncode == 0
    assert command(*arguments, "--out", str(tmp_path / "undisturbed")).returncode == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")


def started(*arguments: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", "from cli import prep; prep()", *arguments]
    return subprocess.Popen(program, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_blocks(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while process.poll() is None and len(list(out.glob("blocks/*.json"))) < count:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it could be disturbed"


def group_ends(group: int) -> bool:
    """Wait until no process of a group is left."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
