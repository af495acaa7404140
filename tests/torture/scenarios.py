"""The commands that are disturbed, what they need, and what they give when nothing disturbs them.

Input: a bench. Output: `Materials`: small data sets and runs, made by the command line; for each `Scenario` the bytes
and the number of file calls of an undisturbed run.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.torture.bench import Bench, Ended
from tests.torture.outcome import Tree, tree

DIGITS = "spectral-prep convert --dataset digits --q 4 --block-rows 400"
PHOTOS = "spectral-prep convert --dataset folder --source {photos} --q 4 --size 16 --views 1 --block-rows 4"
RECIPE = "--epochs 2 --model fc --set depth=2 --set width=16"
TRAIN = f"spectral-train --shard all --data {{zarr}} {RECIPE}"
PHOTO_COUNT = 10


@dataclass(frozen=True)
class Scenario:
    """One command, run in a folder of its own: what it writes there, and what lies there before."""

    name: str
    line: str
    result: str
    before: str = ""


SCENARIOS = (
    Scenario("convert zarr", f"{DIGITS} --workers 1 --out out", "out"),
    Scenario("convert zarr, two workers", f"{DIGITS} --workers 2 --out out", "out"),
    Scenario("convert webdataset", f"{DIGITS} --format webdataset --workers 1 --out out", "out"),
    Scenario("convert webdataset, two workers", f"{DIGITS} --format webdataset --workers 2 --out out", "out"),
    Scenario("convert photographs", f"{PHOTOS} --workers 1 --out out", "out"),
    Scenario("finalize zarr", "spectral-prep finalize out", "out", before="begun-zarr"),
    Scenario("finalize webdataset", "spectral-prep finalize out", "out", before="begun-webdataset"),
    Scenario("train", f"{TRAIN} --workers 1 --run run", "run"),
    Scenario("train, two workers", f"{TRAIN} --workers 2 --run run", "run"),
    Scenario("soup", "spectral-ensemble soup {run} {other} --data {zarr} --out soup", "soup"),
    Scenario("export", "spectral-ensemble export {run} --out network.pt2", "network.pt2"),
)


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario gives, with how many file calls and in what time."""

    tree: Tree
    calls: int
    seconds: float


@dataclass
class Materials:
    """What the scenarios read, in one folder; shared by all benches, written by none but the first."""

    root: Path

    @classmethod
    def make(cls, bench: Bench, root: Path) -> Materials:
        """Convert, begin and train what the scenarios need."""
        root.mkdir(parents=True)
        made = cls(root.resolve())
        _draw_photos(root / "photos")
        lines = (
            f"{DIGITS} --workers 1 --out zarr",
            f"{DIGITS} --workers 1 --format webdataset --out webdataset",
            f"{DIGITS} --workers 1 --task 0/2 --out begun-zarr",
            f"{DIGITS} --workers 1 --task 1/2 --out begun-zarr",
            f"{DIGITS} --workers 1 --format webdataset --task 0/2 --out begun-webdataset",
            f"{DIGITS} --workers 1 --format webdataset --task 1/2 --out begun-webdataset",
            f"{TRAIN} --workers 1 --run run",
            f"{TRAIN} --workers 1 --run other --seed 1",
        )
        for line in lines:
            whole(bench.run(made.filled(line), root), line)
        return made

    def filled(self, line: str) -> str:
        """Return a command line with the paths of the materials."""
        return line.format_map(_Paths(self.root))

    def lay_out(self, scenario: Scenario, folder: Path) -> None:
        """Put into a case's folder what lies there before the command."""
        (folder / "beside").mkdir()
        (folder / "beside" / "mine").write_text("not yours")
        if scenario.before:
            shutil.copytree(self.root / scenario.before, folder / scenario.result)

    def undisturbed(self, bench: Bench, scenario: Scenario) -> Undisturbed:
        """Return what a scenario gives, from one run each."""
        if scenario not in self._known:
            with bench.case() as folder:
                self.lay_out(scenario, folder)
                bench.disk.count(folder)
                ended = whole(bench.run(self.filled(scenario.line), folder), scenario.line)
                self._known[scenario] = Undisturbed(tree(folder / scenario.result), bench.disk.calls, ended.seconds)
        return self._known[scenario]

    @functools.cached_property
    def _known(self) -> dict[Scenario, Undisturbed]:
        return {}


class _Paths(Mapping[str, Path]):
    """A folder as the mapping from the names in it to their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, name: str) -> Path:
        return self.root / name

    def __iter__(self):
        return iter(())

    def __len__(self) -> int:
        return 0


def whole(ended: Ended, line: str) -> Ended:
    """Return how a command ended that nothing disturbed; raise RuntimeError if it failed all the same."""
    if ended.code != 0:
        raise RuntimeError(f"{line}\nended with {ended.code}, though nothing disturbed it:\n{ended.err}")
    return ended


def _draw_photos(root: Path) -> None:
    import numpy as np
    from PIL import Image

    random = np.random.RandomState(0)
    for number in range(PHOTO_COUNT):
        for split in ("train", "test"):
            path = root / split / f"class-{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.randint(0, 256, (20, 24, 3), np.uint8)).save(path)
