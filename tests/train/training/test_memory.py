"""What training needs beside the program: at most 1.2 times the int8 bytes of its shard, or the memory it is given."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from spectral_prep.spectrum import SpectralSpec
from tests.support.shards import Images, make_shards

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from spectral_train.device import Resources
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest
from tests.support.runs import QUICK

torch.set_num_threads(1)
recipe = replace(QUICK, epochs=1, batch_size=256)
resources = Resources("cpu", memory=int(sys.argv[3]))
train_branches(TrainingRequest(Path(sys.argv[1]), recipe, Path(sys.argv[2]), resources=resources), 0)
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


def noise(rows: int) -> Images:
    random = np.random.default_rng(0)
    return Images(random.integers(0, 256, (rows, 32, 32, 1), dtype=np.uint8), (np.arange(rows) % 3).astype(np.int16))


def peak(folder: Path, rows: int, memory: int = 1 << 30) -> int:
    """Return the peak resident memory, in bytes, of training on this many rows of 1024 bytes and a sixth to test."""
    data = make_shards(
        folder / "data",
        train=noise(rows),
        test=noise(rows // 6),
        spec=SpectralSpec(1, 1),
        block_rows=1024,
        chunk_rows=512,
    )
    command = [sys.executable, "-c", PROGRAM, str(data), str(folder / "run"), str(memory)]
    # What is freed goes back to the system at once: the peak is that of live memory, not of malloc's habits.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    root = Path(__file__).parents[3]
    done = subprocess.run(command, check=True, cwd=root, stdout=subprocess.PIPE, text=True, env=environment)
    return int(done.stdout) * 1024  # not ru_maxrss, which a child inherits from pytest


def test_memory_grows_by_at_most_1_2_times_the_shard(tmp_path: Path) -> None:
    few, many = 2400, 42000
    growth = peak(tmp_path / "many", many) - peak(tmp_path / "few", few)
    assert growth <= 1.2 * 1024 * (many - few) * 7 / 6


def test_a_shard_of_four_times_the_memory_trains_within_it(tmp_path: Path) -> None:
    few, many = 2400, 60000
    memory = 1024 * many // 4
    assert peak(tmp_path / "many", many, memory) - peak(tmp_path / "few", few) <= 1.2 * memory
