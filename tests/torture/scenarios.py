"""The commands that are disturbed, what they need, and what they give when nothing disturbs them.

Input: a bench. Output: `Materials`: small data sets and runs, made by the command line; for each `Scenario` the bytes
and the number of file calls of an undisturbed run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import numpy as np
from PIL import Image

from tests.torture.bench import Bench, Ended
from tests.torture.outcome import Tree, tree, unlike

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
    again: bool = True
    """Whether the command may be given again where it has ended: a soup is not written over a run."""


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
    Scenario("soup", "spectral-ensemble soup {run} {other} --data {zarr} --out soup", "soup", again=False),
    Scenario("export", "spectral-ensemble export {run} --out network.pt2", "network.pt2"),
)


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario gives, with how many file calls and in what time."""

    tree: Tree
    calls: int
    seconds: float


MATERIALS: Mapping[str, Sequence[str]] = {
    "zarr": (f"{DIGITS} --workers 1 --out zarr",),
    "webdataset": (f"{DIGITS} --workers 1 --format webdataset --out webdataset",),
    "begun-zarr": tuple(f"{DIGITS} --workers 1 --task {task}/2 --out begun-zarr" for task in range(2)),
    "begun-webdataset": tuple(
        f"{DIGITS} --format webdataset --workers 1 --task {task}/2 --out begun-webdataset" for task in range(2)
    ),
    "run": (f"{TRAIN} --workers 1 --run run",),
    "other": (f"{TRAIN} --workers 1 --run other --seed 1",),
    "photos": (),
}
"""What the scenarios read, and the commands that make it."""


class Materials:
    """What the scenarios read and give, made when it is first asked for; never changed afterwards."""

    def __init__(self, bench: Bench, root: Path) -> None:
        root.mkdir(parents=True)
        self._bench, self._root = bench, root.resolve()
        self._known: dict[Scenario, Undisturbed] = {}
        self._lines: dict[str, str] = {}

    def path(self, name: str) -> Path:
        """Return a folder of `MATERIALS`."""
        path = self._root / name
        if not path.exists():
            if name == "photos":
                _draw_photos(path)
            for line in MATERIALS[name]:
                whole(self._bench.run(self.filled(line), self._root), line)
        return path

    def filled(self, line: str) -> str:
        """Return a command line with the paths of the materials."""
        if line not in self._lines:
            names = [name for _, name, _, _ in Formatter().parse(line) if name]
            self._lines[line] = line.format(**{name: self.path(name) for name in names})
        return self._lines[line]

    def lay_out(self, scenario: Scenario, folder: Path) -> None:
        """Put into a case's folder what lies there before the command."""
        (folder / "beside").mkdir()
        (folder / "beside" / "mine").write_text("not yours")
        if scenario.before:
            shutil.copytree(self.path(scenario.before), folder / scenario.result)

    def undisturbed(self, scenario: Scenario) -> Undisturbed:
        """Return what a scenario gives, from one run."""
        if scenario not in self._known:
            line = self.filled(scenario.line)
            with self._bench.case() as folder:
                self.lay_out(scenario, folder)
                self._bench.disk.count(folder)
                ended = whole(self._bench.run(line, folder), line)
                given = tree(folder / scenario.result)
                self._known[scenario] = Undisturbed(given, self._bench.disk.calls, ended.seconds)
        return self._known[scenario]

    def unhealed(self, bench: Bench, scenario: Scenario, folder: Path) -> str:
        """Run the command in a disturbed folder and return what is still wrong, empty if its bytes are equal now."""
        expected, result = self.undisturbed(scenario).tree, folder / scenario.result
        if not scenario.again and result.exists() and not unlike(expected, tree(result)):
            return ""
        ended = bench.run(self.filled(scenario.line), folder)
        if ended.code:
            return f"does not heal: exit code {ended.code}: {ended.err.strip()[-300:]}"
        wrong = unlike(expected, tree(result))
        return f"does not heal: {wrong}" if wrong else ""


def whole(ended: Ended, line: str) -> Ended:
    """Return how a command ended that nothing disturbed; raise RuntimeError if it failed all the same."""
    if ended.code != 0:
        raise RuntimeError(f"{line}\nended with {ended.code}, though nothing disturbed it:\n{ended.err}")
    return ended


def _draw_photos(root: Path) -> None:
    random = np.random.RandomState(0)
    for number in range(PHOTO_COUNT):
        for split in ("train", "test"):
            path = root / split / f"class-{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.randint(0, 256, (20, 24, 3), np.uint8)).save(path)
