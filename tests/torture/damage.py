"""One byte flipped, a file cut, a file deleted: what reads it says so and names the file.

Input: data sets and a run. Output: one `Outcome` a group of damaged files.

1. `spectral-prep verify --deep` names every damaged file of a data set; several at once, and one alone if it was not
   named among others.
2. `spectral-train` on a damaged data set fails and names the file, or trains what it trains on the whole one: then it
   does not read the file.
3. `spectral-ensemble evaluate` names the damaged file of a run, `report` the damaged metrics.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.torture.bench import Bench, Ended
from tests.torture.faults import Case
from tests.torture.outcome import LEFT_OUT, Outcome, tree, unlike, without_words
from tests.torture.scenarios import RECIPE, Materials, Scenario

AT_ONCE = 6
STORES = ("zarr", "webdataset")
TRAIN = f"spectral-train --shard all --workers 1 --run run {RECIPE.replace('--epochs 2', '--epochs 1')} --data "


@dataclass(frozen=True)
class Damage:
    """What is done to one file."""

    path: Path
    content: bytes | None
    told: str

    @contextmanager
    def done(self) -> Iterator[None]:
        """Damage the file for a while."""
        whole = self.path.read_bytes()
        if self.content is None:
            self.path.unlink()
        else:
            self.path.write_bytes(self.content)
        try:
            yield
        finally:
            self.path.write_bytes(whole)


def _flipped(content: bytes, chosen: random.Random) -> tuple[bytes | None, str]:
    place, change = chosen.randrange(len(content)), chosen.randrange(1, 256)
    return content[:place] + bytes([content[place] ^ change]) + content[place + 1 :], f"byte {place} ^ {change}"


def _cut(content: bytes, chosen: random.Random) -> tuple[bytes | None, str]:
    size = chosen.randrange(len(content))
    return content[:size], f"cut to {size} bytes"


def _deleted(content: bytes, chosen: random.Random) -> tuple[bytes | None, str]:
    return None, "deleted"


KINDS: Sequence[Callable[[bytes, random.Random], tuple[bytes | None, str]]] = (_flipped, _cut, _deleted)


def damage_cases(materials: Materials, seed: int) -> Iterator[Case]:
    """Return cases without end: each data set verified, each trained on, the run evaluated and reported."""
    for name in ("run", *STORES):
        materials.path(name)
    for store in STORES:
        materials.undisturbed(_training_on(store))
    return _endless(materials, seed)


def _endless(materials: Materials, seed: int) -> Iterator[Case]:
    numbers = random.Random(seed)
    while True:
        for store in STORES:
            yield _verified(materials, store, numbers.randrange(1 << 32))
            yield _trained(materials, store, numbers.randrange(1 << 32))
        for _ in range(3):
            yield _run(materials, "evaluate", numbers.randrange(1 << 32))
        yield _run(materials, "report", numbers.randrange(1 << 32))


def chosen_damage(root: Path, chosen: random.Random, count: int, wanted: Callable[[Path], bool]) -> list[Damage]:
    """Choose files, and what happens to them."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.stat().st_size and wanted(path)]
    damages = []
    for path in chosen.sample(files, count):
        content, told = chosen.choice(KINDS)(path.read_bytes(), chosen)
        damages.append(Damage(path, content, f"{path.relative_to(root)} {told}"))
    return damages


def own_copy(bench: Bench, materials: Materials, name: str) -> Path:
    """Return the bench's own copy of a data set or run, to be damaged."""
    copied = bench.folder / "damaged" / name
    if not copied.exists():
        shutil.copytree(materials.path(name), copied)
    return copied


def _verified(materials: Materials, store: str, seed: int) -> Case:
    def case(bench: Bench) -> Outcome:
        data = own_copy(bench, materials, store)
        damages = chosen_damage(data, random.Random(seed), AT_ONCE, lambda path: True)
        line = f"spectral-prep verify --deep {data}"
        silent = _silent(bench, line, data, damages)
        alone = [_silent(bench, line, data, [damage]) for damage in silent]
        findings = [text for texts in alone for text in texts.values()]
        return Outcome(
            f"damage: verify {store}",
            in_words=AT_ONCE - len(findings),
            findings=tuple(text.replace(str(data), "…") for text in findings),
            cases=AT_ONCE,
            story=line.replace(str(data), store),
        )

    return case


def _silent(bench: Bench, line: str, data: Path, damages: Sequence[Damage]) -> dict[Damage, str]:
    """Return which damages a command does not name, with what it says instead."""
    with _all_done(damages):
        ended = bench.run(line, bench.folder)
    return {damage: text for damage in damages if (text := _unnamed(ended, damage, data))}


@contextmanager
def _all_done(damages: Sequence[Damage]) -> Iterator[None]:
    if not damages:
        yield
        return
    with damages[0].done(), _all_done(damages[1:]):
        yield


def _unnamed(ended: Ended, damage: Damage, root: Path) -> str:
    """Return what is wrong with how a command met a damaged file, empty if it failed in words and named it.

    A branch whose record is deleted is one that is not trained: then its number is its name.
    """
    if ended.code == 0:
        return f"succeeds with {damage.told}"
    if wrong := without_words(ended, named=True):
        return f"{damage.told}: {wrong}"
    name = str(damage.path.relative_to(root))
    gone = f"branch {int(name[len('branch-') : name.index('/')])} " if name.endswith("branch.json") else name
    if name not in ended.out + ended.err and not (damage.content is None and gone in ended.err):
        return f"does not name {damage.told}: {ended.err.strip()[-300:]}"
    return ""


def _training_on(store: str) -> Scenario:
    return Scenario(f"one epoch on {store}", f"{TRAIN}{{{store}}}", "run")


def _trained(materials: Materials, store: str, seed: int) -> Case:

    expected = materials.undisturbed(_training_on(store))

    def case(bench: Bench) -> Outcome:
        data = own_copy(bench, materials, store)
        [damage] = chosen_damage(data, random.Random(seed), 1, lambda path: True)
        with bench.case() as folder, damage.done():
            ended = bench.run(f"{TRAIN}{data}", folder)
            if ended.code == 0:
                wrong = unlike(expected.tree, tree(folder / "run"))
                found = f"trains on damaged rows, {damage.told}: {wrong}" if wrong else ""
            else:
                found = _unnamed(ended, damage, data)
        return Outcome(
            f"damage: train on {store}",
            in_words=ended.code != 0 and not found,
            findings=(found.replace(str(data), "…"),) if found else (),
            story=f"{TRAIN}{store}",
        )

    return case


def _run(materials: Materials, command: str, seed: int) -> Case:
    def case(bench: Bench) -> Outcome:
        run = own_copy(bench, materials, "run")
        metrics = command == "report"
        [damage] = chosen_damage(
            run,
            random.Random(seed),
            1,
            lambda path: LEFT_OUT not in path.parts and (path.name == "metrics.jsonl") == metrics,
        )
        with bench.case() as folder, damage.done():
            ended = bench.run(f"spectral-ensemble {command} {run}{' --out report' if metrics else ''}", folder)
        found = _unnamed(ended, damage, run)
        return Outcome(
            f"damage: {command} a run",
            in_words=not found,
            findings=(found.replace(str(run), "…"),) if found else (),
            story=f"spectral-ensemble {command} run",
        )

    return case
