"""SIGKILL while a bucket is written to, and a server that goes away: the same command again gives the same bytes.

    python -m tests.torture.buckets [--kills N] [--outages N] [--seed S]

Input: a real S3 server on this machine (`tests.support.buckets`). Output: a table of counts, each kind of finding once;
exit code 1 if there is any.

1. Killed at random moments, a few times in a row in the same folder, a command that is then run to its end gives the
   objects of an undisturbed run.
2. While it runs the bucket is listed again and again: each object that is seen has the bytes that it has in the end,
   and a record is there after all that it vouches for.
3. The server is killed in the middle. Started again it is gone on with; if it stays away the command ends in words.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spectral_prep.errors import SpectralError
from spectral_prep.places import at
from spectral_prep.places.url import Url
from tests.support.buckets import Server, own_server
from tests.support.trees import objects
from tests.torture.bench import Bench, Ended
from tests.torture.outcome import LEFT_OUT, Outcome, Table, Tree, timeless, unlike, without_words
from tests.torture.scenarios import RECIPE, whole

DIGITS = "spectral-prep convert --dataset digits --q 4 --block-rows 80 --limit 900 --workers 1"
IN_A_ROW = 4
LOOK_SECONDS = 0.02
"""Between two looks: the server and the command are to get on."""
PATIENT = {"SPECTRAL_RETRY_SECONDS": "60"}
IMPATIENT = {"SPECTRAL_RETRY_SECONDS": "1"}


@dataclass(frozen=True)
class Scene:
    """A command that writes into a bucket; `line` has the place for {out}, and the data set for {data}."""

    name: str
    line: str
    converts: bool


SCENES = (
    Scene("convert zarr", f"{DIGITS} --out {{out}}", True),
    Scene("convert webdataset", f"{DIGITS} --format webdataset --out {{out}}", True),
    Scene("train", f"spectral-train --shard all --data {{data}} {RECIPE} --no-cache --workers 1 --run {{out}}", False),
)


class Stage:
    """A server, a bucket, and what the scenes give there when nothing disturbs them."""

    def __init__(self, bench: Bench, server: Server, bucket: Url) -> None:
        self.bench, self.server, self.bucket = bench, server, bucket
        self._known: dict[Scene, tuple[Tree, float]] = {}
        self._number = 0

    def place(self) -> Url:
        """Return a folder in the bucket where nothing is yet."""
        self._number += 1
        return self.bucket / f"case-{self._number}"

    def undisturbed(self, scene: Scene) -> tuple[Tree, float]:
        """Return the objects of an undisturbed run, and its seconds."""
        if scene not in self._known:
            out = self.place()
            ended = whole(self.run(scene, out), scene.line)
            self._known[scene] = seen(out), ended.seconds
        return self._known[scene]

    def run(self, scene: Scene, out: Url, kill_after: float | None = None, patience: dict[str, str] = PATIENT) -> Ended:
        """Run a scene with its output in a folder."""
        data = self.bucket / "data"
        if "{data}" in scene.line and not at(data).is_folder():
            whole(self.bench.run(f"{DIGITS} --out {data}", self.bench.folder), "the data set")
        line = scene.line.format(out=out, data=data)
        return self.bench.run(line, self.bench.folder, kill_after, {**self.server.environment, **patience})


def seen(out: Url) -> dict[str, bytes]:
    """Return all objects below a folder, without what tells the time."""
    found = {path: content for path, content in objects(out).items() if LEFT_OUT not in path.split("/")}
    return {path: timeless(path.rpartition("/")[2], content) for path, content in found.items()}


def kills(stage: Stage, scene: Scene, chosen: random.Random, count: int = IN_A_ROW) -> Outcome:
    """Kill a command a few times in a row, then run it to its end.

    A command that was quicker than every kill is no case: other moments are tried.
    """
    expected, seconds = stage.undisturbed(scene)
    out, findings, moments = stage.place(), [], []
    for _ in range(count):
        moment = chosen.random() * seconds
        with watched(out, expected, scene.converts) as wrong:
            if stage.run(scene, out, moment).code == -signal.SIGKILL:
                moments.append(f"{moment:.2f}")
        findings += wrong
    findings += unhealed(stage, scene, out)
    if not moments and not findings:
        return kills(stage, scene, chosen, count)
    return Outcome(
        f"SIGKILL: {scene.name}",
        healed=not findings,
        findings=tuple(findings),
        cases=len(moments),
        story=f"{scene.line}; killed after {', '.join(moments)} s",
    )


def outage(stage: Stage, scene: Scene, chosen: random.Random, comes_back: bool) -> Outcome:
    """Kill the server in the middle of a command, and start it again: at once, or when the command has given up.

    A command that was quicker is no case: another moment is tried.
    """
    moment = (0.1 + 0.6 * chosen.random()) * stage.undisturbed(scene)[1]
    out, findings = stage.place(), []
    ended: list[Ended] = []
    patience = PATIENT if comes_back else IMPATIENT
    running = threading.Thread(target=lambda: ended.append(stage.run(scene, out, None, patience)))
    running.start()
    time.sleep(moment)
    in_time = running.is_alive()
    stage.server.end()
    if not comes_back:
        running.join()
    stage.server = Server.start(Path(stage.server.folder), stage.server.ports)
    running.join()
    if not in_time:  # the command was done before: what a server loses then, no command can know
        return outage(stage, scene, chosen, comes_back)
    if comes_back and ended[0].code != 0:
        findings.append(f"did not go on: {ended[0].err.strip()[-300:]}")
    if not comes_back and ended[0].code != 0:
        wrong = without_words(ended[0]) or ("" if ended[0].code == 1 else f"exit code {ended[0].code}")
        findings += [wrong] if wrong else []
    findings += unhealed(stage, scene, out)
    return Outcome(
        f"server killed, {'started again' if comes_back else 'and gone'}: {scene.name}",
        in_words=int(not comes_back and ended[0].code == 1 and not findings),
        healed=not findings,
        findings=tuple(findings),
        story=f"{scene.line}; the server killed after {moment:.2f} s",
    )


def unhealed(stage: Stage, scene: Scene, out: Url) -> list[str]:
    """Run a command to its end and return what is not as in an undisturbed run."""
    ended = stage.run(scene, out)
    if ended.code:
        return [f"does not heal: exit code {ended.code}: {ended.err.strip()[-300:]}"]
    wrong = unlike(stage.undisturbed(scene)[0], seen(out))
    return [f"does not heal: {wrong}"] if wrong else []


@contextlib.contextmanager
def watched(out: Url, expected: Tree, converts: bool) -> Iterator[list[str]]:
    """Look at all objects below a folder again and again; the list says what was not whole.

    Of a conversion every object is written once, so that it is whole if it is what it will be.
    """
    wrong: list[str] = []
    done = threading.Event()

    def look() -> None:
        known: set[str] = set()
        while not done.is_set():
            listed = {entry.path: entry.size for entry in at(out).files()}
            for path in sorted(set(listed) - known) if converts else ():
                known.add(path)
                if at(out / path).read(1 << 30) != expected.get(path):
                    wrong.append(f"half-written, or not as it will be: {path}")
            missing = [path for path in listed if path.startswith("blocks/") and not _has_parts(path, listed, expected)]
            wrong.extend(f"a record before its parts: {path}" for path in missing)
            done.wait(LOOK_SECONDS)

    thread = threading.Thread(target=_told, args=(look, wrong))
    thread.start()
    try:
        yield wrong
    finally:
        done.set()
        thread.join()


def _has_parts(record: str, listed: dict[str, int], expected: Tree) -> bool:
    """Whether all parts are listed that a block's record names."""
    named = [path for path in expected if f'"{path}"'.encode() in expected[record]]
    return bool(named) and all(path in listed for path in named)


def _told(look: object, wrong: list[str]) -> None:
    assert callable(look)
    try:
        look()
    except (SpectralError, OSError, ValueError) as error:
        wrong.append(f"looking failed: {error}")


@contextlib.contextmanager
def staged() -> Iterator[Stage]:
    """Start a server and a bench, and set the environment of this process for as long."""
    with own_server() as server, tempfile.TemporaryDirectory(prefix="torture-") as folder:
        before = dict(os.environ)
        os.environ.update({**server.environment, "SPECTRAL_CACHE": f"{folder}/cache"})
        try:
            with Bench(Path(folder)) as bench:
                yield Stage(bench, server, server.bucket())
        finally:
            os.environ.clear()
            os.environ.update(before)


def main() -> int:
    """Run what is asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.buckets", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="Of each command, at least.")
    parser.add_argument("--outages", type=int, default=3, help="Of each kind and command.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen, table = random.Random(options.seed), Table()
    with staged() as stage, contextlib.suppress(KeyboardInterrupt):  # what was counted until then is shown
        for scene in SCENES:
            while table.cases[f"SIGKILL: {scene.name}"] < options.kills:
                table.add(kills(stage, scene, chosen))
            for _ in range(options.outages):
                for comes_back in (True, False):
                    table.add(outage(stage, scene, chosen, comes_back))
    print("\n".join(table.lines()))  # noqa: T201
    return 1 if table.kinds else 0


if __name__ == "__main__":
    sys.exit(main())
