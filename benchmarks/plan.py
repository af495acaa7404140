"""Time and peak memory of planning a set of ImageNet-21K's size, with images that are made up.

    python benchmarks/plan.py [--rows 14197122] [--classes 21841]

The index, which is the source's affair, is made first and not timed. Then, one line each, with the seconds it took and
the peak of this process so far (VmHWM): the plan with its calibration, the estimate, fixing both on the disk, what a
worker gets for each of all blocks, and reading the labels back as completing does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.agree import agreed, fix
from spectral_prep.conversion.estimate import estimate_pending
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.row_index import read_labels
from spectral_prep.conversion.tasks import block_tasks
from spectral_prep.sources.interface import RowIndex
from spectral_prep.store.block_groups import block_groups
from spectral_prep.store.layout import DatasetPaths

SIDE = 224


@dataclass(frozen=True)
class MadeUpNames(Sequence[str]):
    """Names like ImageNet's, made when they are asked for."""

    rows: int
    classes: int

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> str:  # type: ignore[override]
        if not 0 <= row < self.rows:
            raise IndexError(row)
        wnid = f"n{10_000_000 + row % self.classes}"
        return f"{wnid}/{wnid}_{row}.JPEG"


@dataclass(frozen=True)
class MadeUp:
    """A `Source` of smooth random images."""

    rows: int
    count: int
    fingerprint: str = "0" * 64
    image_shape: tuple[int, int, int] = (SIDE, SIDE, 3)
    random_access: bool = True
    needs_scratch: bool = False
    release: None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of classes."""
        return tuple(f"n{10_000_000 + number}" for number in range(self.count))

    def index(self) -> Mapping[str, RowIndex]:
        """Return training rows alone."""
        labels = (np.arange(self.rows) % self.count).astype(np.int32)
        return {"train": RowIndex(MadeUpNames(self.rows, self.count), labels)}

    def for_rows(self, split: str, ids: npt.NDArray[np.int32]) -> MadeUp:
        """Return this source."""
        return self

    def read(self, split: str, row_id: int, name: str) -> npt.NDArray[np.uint8]:
        """Return an image that follows from its id."""
        coarse = np.random.default_rng(row_id).integers(0, 256, (14, 14, 3), dtype=np.uint8)
        return coarse.repeat(SIDE // 14, 0).repeat(SIDE // 14, 1)


@click.command()
@click.option("--rows", default=14_197_122, show_default=True)
@click.option("--classes", default=21_841, show_default=True)
def main(rows: int, classes: int) -> None:
    """Measure."""
    source, request = MadeUp(rows, classes), Request("imagenet21k", "16")
    index = source.index()
    say("index", 0.0)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        paths = DatasetPaths(Path(folder))
        start = time.monotonic()
        conversion = agreed(paths, source, index, request)
        plan = conversion.plan
        start = say("plan", start)
        found = estimate_pending(conversion, block_groups(plan), Execution())
        start = say("estimate", start)
        fix(conversion)
        start = say("fixed", start)
        tasks = block_tasks(conversion, block_groups(plan))
        names = sum([len(task.names) for task in tasks])
        start = say("blocks", start)
        labels = read_labels(paths, plan, "train")
        say("labels", start)
    assert names == len(labels) == rows
    click.echo(f"{rows:,} rows: {len(plan.blocks):,} blocks, {found.files_a_spectral:,} files a spectral")


def say(what: str, start: float) -> float:
    """Print a line; return the time."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    now = time.monotonic()
    click.echo(f"{what:9} {now - start if start else 0:6.1f} s  peak {peak / 1024:6.0f} MiB")
    return now


if __name__ == "__main__":
    main()
