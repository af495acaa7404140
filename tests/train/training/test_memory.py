"""What training needs beside the program: at most 1.2 times the int8 bytes of its shard, or the memory it is given."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spectral_prep.spectrum import SpectralSpec
from tests.support.shards import Images, make_shards

PROGRAM = """
import os
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
for data, memory in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork() == 0:  # of one that has imported all
        resources = Resources("cpu", memory=int(memory))
        train_branches(TrainingRequest(Path(data), recipe, Path(f"{data}-{memory}"), resources=resources), 0)
        status = open("/proc/self/status").read()
        print(int(status.partition("VmHWM:")[2].split()[0]) * 1024, flush=True)
        os._exit(0)
    os.wait()
"""
FEW, MANY, MORE = 1200, 21000, 30000
"""Rows of 1024 bytes, and a sixth to test."""
LITTLE = 1024 * MORE // 4


def noise(rows: int) -> Images:
    random = np.random.default_rng(0)
    return Images(random.integers(0, 256, (rows, 32, 32, 1), dtype=np.uint8), (np.arange(rows) % 3).astype(np.int16))


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Return the peak resident memory, in bytes, of training on few rows, on many, and on more within little."""
    arguments = []
    for rows, memory in ((FEW, 1 << 30), (MANY, 1 << 30), (MORE, LITTLE)):
        data = make_shards(
            tmp_path_factory.mktemp("data") / str(rows),
            train=noise(rows),
            test=noise(rows // 6),
            spec=SpectralSpec(1, 1),
            block_rows=1024,
            chunk_rows=512,
        )
        arguments += [str(data), str(memory)]
    # What is freed goes back to the system at once: the peak is that of live memory, not of malloc's habits.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, check=True, cwd=root, stdout=subprocess.PIPE, text=True, env=environment)
    return [int(line) for line in done.stdout.split()]


def test_memory_grows_by_at_most_1_2_times_the_shard(peaks: list[int]) -> None:
    few, many, _ = peaks
    assert 0.5 < (many - few) / (1024 * (MANY - FEW) * 7 / 6) <= 1.2


def test_a_shard_of_four_times_the_memory_trains_within_it(peaks: list[int]) -> None:
    few, _, more = peaks
    assert more - few <= 1.2 * LITTLE
