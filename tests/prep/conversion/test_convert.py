"""What is converted is what was there, and nothing but the request decides its bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from spectral_prep.choices import Format, Layout, Storage
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.inspection.info import info
from spectral_prep.inspection.verify import verify
from spectral_prep.spectrum import merge
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord
from tests.support.releases import CIFAR_LAYOUTS, cifar_rows, write_cifar, write_folder, write_mnist
from tests.support.trees import stored, tree


@pytest.mark.parametrize(
    ("q", "layout", "dtype"),
    [
        ("16", "blocks", "float16"),
        ("28", "blocks", "float32"),
        ("2x4", "tiles", "float16"),
        ("2x4", "tiles", "float32"),
    ],
)
def test_every_row_of_mnist_comes_back_with_its_label(tmp_path: Path, q: str, layout: Layout, dtype: Storage) -> None:
    written = write_mnist(tmp_path / "mnist", rows=90, test_rows=30)
    out = convert(Request("mnist", q, layout=layout, dtype=dtype, block_rows=32), tmp_path / "mnist", tmp_path / "out")
    for split, (images, labels) in written.items():
        plan, spectrum, y, ids = stored(out.root, split)
        np.testing.assert_array_equal(merge(spectrum, plan.spec)[..., 0], images[ids])
        np.testing.assert_array_equal(y, labels[ids])
        assert sorted(ids) == list(range(len(images)))


def test_training_rows_are_shuffled_by_the_seed_unless_told_not_to_and_test_rows_never(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", rows=90, test_rows=30)
    order = {}
    for seed in (0, 1):
        out = convert(Request("mnist", "4", seed=seed), tmp_path / "mnist", tmp_path / f"out{seed}")
        assert stored(out.root, "test")[3].tolist() == list(range(30))
        order[seed] = stored(out.root, "train")[3].tolist()
    assert order[0] != order[1]
    assert order[0] != sorted(order[0])
    out = convert(Request("mnist", "4", shuffle="none"), tmp_path / "mnist", tmp_path / "unshuffled")
    assert stored(out.root, "train")[3].tolist() == list(range(90))


@pytest.mark.parametrize(("q", "layouts"), [("4", CIFAR_LAYOUTS), ("32", CIFAR_LAYOUTS[::3])], ids=["4", "32"])
def test_the_four_layouts_of_cifar10_give_equal_bytes(tmp_path: Path, q: str, layouts: tuple[str, ...]) -> None:
    parts = cifar_rows("cifar10", rows=2)
    trees = []
    for number, layout in enumerate(layouts):
        path = write_cifar(tmp_path / str(number), "cifar10", layout, parts)
        trees.append(tree(convert(Request("cifar10", q), path, tmp_path / f"out{number}").root))
    assert len(trees) == len(layouts) > 1
    assert all(each == trees[0] for each in trees)


@pytest.mark.parametrize(("workers", "format"), [(2, "webdataset"), (3, "zarr")])
def test_the_number_of_workers_changes_no_byte(tmp_path: Path, workers: int, format: Format) -> None:
    request = Request("digits", "4", block_rows=64, format=format)
    alone = convert(request, Path(), tmp_path / "alone", Execution(workers=1))
    several = convert(request, Path(), tmp_path / "several", Execution(workers=workers))
    assert tree(several.root) == tree(alone.root)


def test_the_number_of_torch_threads_changes_no_byte(tmp_path: Path) -> None:
    one = convert(Request("digits", "4"), Path(), tmp_path / "one")
    torch.set_num_threads(2)
    assert tree(convert(Request("digits", "4"), Path(), tmp_path / "two").root) == tree(one.root)


def test_equal_names_with_other_pixels_are_another_data_set(tmp_path: Path) -> None:
    names, ids = ["train/a/1.png", "train/b/2.png"], []
    for number, order in enumerate((names, names[::-1])):
        write_folder(tmp_path / f"set{number}", order)
        out = convert(Request("folder", "4", dtype="float16"), tmp_path / f"set{number}", tmp_path / f"out{number}")
        ids.append(info(out.root).dataset_id)
    assert ids[0] != ids[1]


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_statistics_are_those_of_the_decoded_training_rows(tmp_path: Path, dtype: Storage) -> None:
    out = convert(Request("digits", "4", dtype=dtype, block_rows=100), Path(), tmp_path / "out")
    _, spectrum, _, _ = stored(out.root, "train")
    for k in range(4):
        record = read_record(out.spectral(k).record, SpectralRecord)
        values = spectrum[k].double()
        np.testing.assert_allclose(record.mean, [values.mean()], rtol=1e-5)
        np.testing.assert_allclose(record.std, [values.std(correction=0)], rtol=1e-5)
        np.testing.assert_allclose(record.energy[k], values.var(correction=0), rtol=1e-5)


PEAKS = """
import os, re, sys
from pathlib import Path
import spectral_prep.conversion.sampled, spectral_prep.store.zarr_store
from spectral_prep.conversion.convert import Execution, Request, convert
for number, (source, block_rows) in enumerate(zip(sys.argv[1::2], sys.argv[2::2])):
    if os.fork() == 0:  # of one that has imported all
        request, alone = Request("mnist", "16", block_rows=int(block_rows)), Execution(workers=1)
        convert(request, Path(source), Path(source) / f"out{number}", alone)
        print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], int]:
    """Return the peak resident kB of converting so many images of 12,544 bytes in blocks of so many, in one process."""
    folder, arguments = tmp_path_factory.mktemp("mnist"), []
    cases = [(1000, 128), (4000, 128), (4000, 666), (4000, 6 * 666)]
    for rows, block_rows in cases:
        if not (folder / str(rows)).exists():
            write_mnist(folder / str(rows), rows=rows, test_rows=10, size=112, zipped=False)
        arguments += [str(folder / str(rows)), str(block_rows)]
    # What is freed goes back to the system at once: the peak is that of live memory, not of malloc's habits.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    program = [sys.executable, "-c", PEAKS, *arguments]
    done = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return dict(zip(cases, map(int, done.stdout.split()), strict=True))


def test_memory_does_not_grow_with_the_number_of_images(peaks: dict[tuple[int, int], int]) -> None:
    few, many = peaks[1000, 128], peaks[4000, 128]
    assert many - few < 3000 * 112 * 112 / 1024 / 4, (few, many)


def test_memory_does_not_grow_with_the_size_of_a_block(peaks: dict[tuple[int, int], int]) -> None:
    """Blocks of one chunk, and of six."""
    one, six = peaks[4000, 666], peaks[4000, 6 * 666]
    assert six - one < 5 * 666 * 112 * 112 / 1024 / 4, (one, six)


def test_what_killed_runs_left_goes_when_the_command_of_a_complete_data_set_is_given_again(digits: Path) -> None:
    whole = tree(digits)
    (digits / ".staging-0123456789ab/deep").mkdir(parents=True)
    (digits / ".staging-kept").mkdir()
    (digits / "rows/train.jsonl.0123456789ab.partial").write_text("x")
    convert(Request("digits", "4", block_rows=300), Path(), digits)
    assert tree(digits) == whole
    assert not list(digits.glob(".staging-*"))


def test_the_row_index_of_a_killed_conversion_of_something_else_is_not_kept(digits: Path, tmp_path: Path) -> None:
    """It was killed between the row index and the plan; another source is converted in its place."""
    (tmp_path / "out/rows").mkdir(parents=True)
    for name in ("train", "test"):
        (tmp_path / f"out/rows/{name}.jsonl").write_text('["mine", 0]\n')
    convert(Request("digits", "4", block_rows=300), Path(), tmp_path / "out")
    assert tree(tmp_path / "out") == tree(digits)
    write_folder(tmp_path / "set", ["train/a/1.png", "train/b/2.png"])
    (tmp_path / "other/rows").mkdir(parents=True)
    (tmp_path / "other/rows/test.jsonl").write_text('["mine", 0]\n')
    out = convert(Request("folder", "4"), tmp_path / "set", tmp_path / "other")
    assert verify(out.root).faults == ()
