"""Everything that reads a data set or a run, given ones with one wrong field behind right checksums.

`python -m tests.torture.fuzz --minutes M --seed S`. Output: how many cases were tried of each kind of file; each kind
of finding once, with the change that shows it; exit code 1 if there is any.

1. An honest tiny data set (both stores), a finished and a begun run are made once.
2. hypothesis draws a change (`changes`); all checksums are made right.
3. A forked child with bounded memory and time reads it in every way there is. Success and the house's own errors are
   allowed; another exception, the end of memory or time, or the end of the process is a finding.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError, SpectralError
from spectral_prep.inspection.info import info
from spectral_prep.inspection.show import sheet
from spectral_prep.inspection.verify import verify
from spectral_train.data.loader import LoaderOptions, ShardLoader
from spectral_train.data.shard import check_files, open_shard
from spectral_train.device import Resources
from spectral_train.ensemble import fuse as fusing
from spectral_train.ensemble.combination import Combination
from spectral_train.ensemble.evaluate import evaluate, table
from spectral_train.ensemble.fusion import Fitted
from spectral_train.ensemble.predict import predict
from spectral_train.recipe.recipe import Recipe
from spectral_train.report.sections import section
from spectral_train.report.summary import summarise
from spectral_train.run.branches import read_branches
from spectral_train.run.paths import RunPaths
from spectral_train.run.said import ON
from spectral_train.training.baseline import train_baseline
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest
from spectral_train.training.soup import soup
from spectral_train.training.widths import own_width, read_multipliers
from spectral_train.training.words import write_all_words
from tests.torture.changes import (
    BEGUN_TARGETS,
    DATA_TARGETS,
    FUSED_TARGETS,
    RUN_TARGETS,
    TAR_TARGETS,
    WIDTH_TARGETS,
    ZARR_TARGETS,
    Target,
    reseal,
)
from tests.torture.nursery import BESIDE

SECONDS = 20
"""Of processor time that one reading may take; by the clock ten times as many, since the machine may be busy."""
CLOCK_SECONDS = 10 * SECONDS
ROOM = 512 << 20
"""Address space beyond what an honest reading takes."""
RECIPE = Recipe(
    model="fc", model_options={"depth": 2, "width": 8}, batch_size=16, epochs=2, ema=0.9, patience=2, holdout=0.25
)
RESOURCES = Resources("cpu", workers=1, memory=64 << 20)
ONE_WORKER = Execution(workers=1, max_memory=4 << 30, device="cpu", space_check=False)
HEAD = Fitted(hidden=4, epochs=1)
STREAMED = LoaderOptions(memory=3000)
AT_ONCE = 100


@dataclass(frozen=True)
class Honest:
    """What is copied and changed: folders made once, and the source of the data sets."""

    root: Path

    @property
    def source(self) -> Path:
        """Photographs of two classes."""
        return self.root / "source"

    @property
    def picture(self) -> Path:
        """One of them."""
        return self.source / "test/class-0/0.png"

    def __getitem__(self, name: str) -> Path:
        return self.root / name


def make_honest(root: Path) -> Honest:
    """Make the folders, in a child, so that this process stays fit to be forked."""
    honest = Honest(root)
    pid = os.fork()
    if pid == 0:
        _make(honest)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the honest folders cannot be made")
    return honest


def _make(honest: Honest) -> NoReturn:
    try:
        numbers = np.random.RandomState(0)
        for split, rows in (("train", 40), ("test", 10)):
            for number in range(rows):
                path = honest.source / split / f"class-{number % 2}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(numbers.randint(0, 256, (8, 8, 3), np.uint8)).save(path)
        for store in ("zarr", "webdataset"):
            convert(request_of(store), honest.source, honest[store], ONE_WORKER)
        for name in ("run", "other"):
            wanted = training(honest["zarr"], honest[name], replace(RECIPE, seed=len(name)))
            train_branches(wanted)
            train_baseline(wanted)
        _make_fused(honest)
        honest["widths"].mkdir()
        (honest["widths"] / "widths.json").write_text(json.dumps([0.5, 1, 1, 2.5]))
        (honest["widths"] / "widths.csv").write_text("shard,width\n0,0.5\n1,1\n2,1\n3,2.5\n")
        try:
            train_branches(training(honest["zarr"], honest["begun"]), 0, _interrupt)
        except KeyboardInterrupt:
            os._exit(0)
    except BaseException:  # noqa: BLE001 a child has nobody above it
        traceback.print_exc()
    os._exit(1)


def _make_fused(honest: Honest) -> None:
    """Make a run whose learning rates were found, and whose branches are fused by a head, whatever it is worth."""
    wanted = replace(training(honest["zarr"], honest["fused"]), find_rate=True)
    train_branches(wanted)
    for on in ON:
        write_all_words(wanted, None, on)
    vars(fusing)["merit"] = lambda candidate: candidate.hidden
    fusing.fuse(RunPaths(honest["fused"]), read_branches(RunPaths(honest["fused"])), how=HEAD)


def _interrupt(line: str) -> None:
    if "epoch 1/" in line:
        raise KeyboardInterrupt


def request_of(store: str) -> Request:
    """Return what the honest data sets are: ten blocks, with views."""
    return Request("folder", "4", size=8, block_rows=16, format=store, views=1)  # type: ignore[arg-type]


def training(data: Path, run: Path, recipe: Recipe = RECIPE) -> TrainingRequest:
    """Return what asks for a training."""
    return TrainingRequest(data, recipe, run, resources=RESOURCES)


def readers(folder: Path, honest: Honest, name: str) -> Mapping[str, Callable[[], object]]:
    """Return everything that can be done with a data set or a run; what writes in it comes last."""
    if name in ("zarr", "webdataset"):
        scratch = folder.parent / "scratch"
        return {
            "verify": lambda: verify(folder, deep=True),
            "verify one": lambda: verify(folder / "spectral-01", deep=True),
            "info": lambda: info(folder).to_dict(),
            "info one": lambda: info(folder / "spectral-01"),
            "show": lambda: [sheet(folder, row, split).title for split, row in (("train", 3), ("test", 9))],
            "load": lambda: _load(folder, LoaderOptions()),
            "stream": lambda: _load(folder, STREAMED),
            "train": lambda: train_branches(training(folder, scratch, replace(RECIPE, epochs=1)), 1),
            "baseline": lambda: train_baseline(training(folder, scratch, replace(RECIPE, epochs=1))),
            "convert": lambda: convert(request_of(name), honest.source, folder, ONE_WORKER),
            "finalize": lambda: finalize(folder),
            "info unfinished": lambda: info(_unfinished(folder)),
        }
    if name == "fused":
        wanted, run = replace(training(honest["zarr"], folder), find_rate=True), RunPaths(folder)
        return {
            "evaluate": lambda: evaluate(folder, ["fused", "average"]),
            "predict": lambda: predict(folder, [honest.picture], Combination("fused")),
            "report": lambda: section(summarise(folder), {}),
            "say": lambda: [write_all_words(wanted, None, on) for on in ON],
            "fuse": lambda: [fusing.fuse(run, read_branches(run), on, HEAD) for on in ON],
            "find a rate": lambda: train_branches(_again(wanted)),
            "say which is missing": lambda: _missing(folder),
        }
    if name == "widths":
        shard = open_shard(honest["zarr"], 0)
        return {
            f"width by {suffix}": lambda suffix=suffix: own_width(  # type: ignore[misc]
                shard, RECIPE, read_multipliers(folder / f"widths.{suffix}")
            )
            for suffix in ("json", "csv")
        }
    if name == "begun":
        return {"resume": lambda: train_branches(training(honest["zarr"], folder), 0)}
    return {
        "evaluate": lambda: _evaluate(folder),
        "predict": lambda: predict(folder, [honest.picture]),
        "report": lambda: section(summarise(folder), {}),
        "soup": lambda: soup([folder, honest["other"]], folder.parent / "soup", honest["zarr"], "greedy", "cpu"),
        "train": lambda: train_branches(training(honest["zarr"], folder, replace(RECIPE, seed=3))),
        "baseline": lambda: train_baseline(training(honest["zarr"], folder, replace(RECIPE, seed=3))),
    }


def _again(wanted: TrainingRequest) -> TrainingRequest:
    for record in cast(Path, wanted.run).glob("branch-*/branch.json"):
        record.unlink()
    return wanted


def _missing(folder: Path) -> None:
    shutil.rmtree(folder / "branch-03", ignore_errors=True)
    with suppress(InputError):  # which says how to train it
        evaluate(folder, ["average"])


def _unfinished(folder: Path) -> Path:
    (folder / "manifest.json").unlink(missing_ok=True)
    return folder


def _evaluate(folder: Path) -> str:
    evaluation = evaluate(folder, ["average", "loss", "geometric", "top-k"])
    return json.dumps(evaluation.to_dict()) + table(evaluation)


def _load(folder: Path, options: LoaderOptions) -> int:
    rows = 0
    for number in range(2):
        shard = open_shard(folder, number)
        for each in shard.folders:
            check_files(each)
        for split in ("train", "test"):
            rows += sum(len(y) for _, y in ShardLoader(shard, 16, options=replace(options, split=split)))
    return rows


TARGETS: Mapping[str, Sequence[Target]] = {
    "zarr": (*DATA_TARGETS, *ZARR_TARGETS),
    "webdataset": (*DATA_TARGETS, *TAR_TARGETS),
    "run": RUN_TARGETS,
    "fused": FUSED_TARGETS,
    "widths": WIDTH_TARGETS,
    "begun": BEGUN_TARGETS,
}


@dataclass(frozen=True)
class Finding:
    """What a reader ended in that is none of the house's errors; `kind` is without what differs from case to case."""

    kind: str
    story: str


def judged(folder: Path, honest: Honest, name: str, limit: int = 0) -> tuple[list[Finding], int]:
    """Read a folder in every way in a child; return what is found, and the most address space that it took."""
    told, heard = os.pipe()
    trace = folder.parent / "trace"
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _read_all(folder, honest, name, (heard, trace, limit))
    os.close(heard)
    lines = _heard(told, time.monotonic() + 3 * CLOCK_SECONDS)
    if lines is None:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    answers = [json.loads(line) for line in (lines or b"").decode().splitlines()]
    findings = [Finding(each["kind"], each["story"]) for each in answers if "kind" in each]
    peak = next((each["peak"] for each in answers if "peak" in each), None)
    if peak is None:
        last = answers[-1].get("reader", "?") if answers else "nothing"
        where = trace.read_text(errors="replace")[-2500:] if trace.exists() else ""
        findings.append(Finding(f"{last} ends its process: {status}", where))
    return findings, peak or 0


def _heard(told: int, deadline: float) -> bytes | None:
    """Return what a child says until it ends, None if it does not end in time."""
    content = b""
    with os.fdopen(told, "rb", buffering=0) as pipe:
        while (left := deadline - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                if not (piece := pipe.read(1 << 16)):
                    return content
                content += piece
    return None


def _read_all(folder: Path, honest: Honest, name: str, told: tuple[int, Path, int]) -> NoReturn:
    heard, trace, limit = told
    with open(trace, "w") as traced, open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(traced.fileno(), 2)
        faulthandler.register(signal.SIGPROF, file=traced, chain=True)  # which then ends the process
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for reader, read in readers(folder, honest, name).items():
            os.write(heard, json.dumps({"reader": reader}).encode() + b"\n")
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            faulthandler.dump_traceback_later(CLOCK_SECONDS, exit=True, file=traced)
            try:
                read()
            except SpectralError as error:
                if not limit:
                    os.write(heard, json.dumps({"kind": reader, "story": str(error)}).encode() + b"\n")
                if len(str(error)) > 20_000:
                    found = {"kind": f"{reader}: an error of {len(str(error))} characters", "story": str(error)[:300]}
                    os.write(heard, json.dumps(found).encode() + b"\n")
            except BaseException as error:  # noqa: BLE001 that is what is looked for
                found = {"kind": f"{_place(error)}: {type(error).__name__}", "story": f"{reader}: {str(error)[:300]}"}
                os.write(heard, json.dumps(found).encode() + b"\n")
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        status = Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmPeak"))
        os.write(heard, json.dumps({"peak": peak}).encode() + b"\n")
    os._exit(0)


def _place(error: BaseException) -> str:
    """Return the innermost lines of this project that an error came through."""
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "spectral_" in frame.filename
    ]
    return " > ".join(frames[-3:])


class Fuzzer:
    """Tries changes and counts: cases of each kind of file, and each kind of finding with its first story."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.honest = make_honest(folder / "honest")
        self.cases: Counter[str] = Counter()
        self.found: dict[str, list[str]] = {}
        self._limits: dict[str, int] = {}

    def _limit(self, name: str) -> int:
        with self._copy(name) as copied:
            findings, peak = judged(copied, self.honest, name)
        if findings:
            raise RuntimeError(f"the honest {name} is not read: {findings}")
        return peak + ROOM

    @contextmanager
    def _copy(self, name: str) -> Iterator[Path]:
        case = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield Path(shutil.copytree(self.honest[name], case / name))
        finally:
            shutil.rmtree(case, ignore_errors=True)

    def case(self, draw: Callable[[st.SearchStrategy[object]], object], name: str, target: Target) -> None:
        """Try one change."""
        if name not in self._limits:
            self._limits[name] = self._limit(name)
        with self._copy(name) as copied:
            change = target.apply(draw, copied)
            reseal(copied)
            findings, _ = judged(copied, self.honest, name, self._limits[name])
        self.cases[f"{name}: {target.name}"] += 1
        for finding in findings:
            if finding.kind not in self.found:
                print(f"{finding.kind}\n  {name}/{change}", file=sys.stderr)  # noqa: T201
            self.found.setdefault(finding.kind, []).append(f"{name}/{change}\n  {finding.story}")

    def some(self, number: int, count: int, only: Sequence[str]) -> None:
        """Try so many changes of these folders, which follow from a number."""
        chosen = st.sampled_from([(name, target) for name in only for target in TARGETS[name]])

        @seed(number)
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def try_all(data: st.DataObject) -> None:
            self.case(data.draw, *data.draw(chosen))

        try_all()

    def lines(self) -> Iterator[str]:
        """Yield a table of the cases, then each kind of finding."""
        yield "| | cases |"
        yield "|---|---|"
        for kind, count in sorted(self.cases.items()):
            yield f"| {kind} | {count:,} |"
        yield f"| all | {self.cases.total():,} |"
        for kind, stories in sorted(self.found.items(), key=lambda each: -len(each[1])):
            yield f"\n{len(stories)} × {kind}\n  {stories[0]}"


def main() -> int:
    """Fuzz for a time and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, help="Else --cases.")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS, action="append", help="Of these folders alone. May be repeated.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in BESIDE:
        importlib.import_module(name)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    numbers = random.Random(options.seed)
    began = time.monotonic()
    try:
        fuzzer = Fuzzer(folder)
        while (
            time.monotonic() - began < 60 * options.minutes if options.minutes else fuzzer.cases.total() < options.cases
        ):
            left = options.cases - fuzzer.cases.total()
            count = AT_ONCE if options.minutes else min(AT_ONCE, left)
            fuzzer.some(numbers.randrange(1 << 32), count, options.only or [*TARGETS])
            print(f"{fuzzer.cases.total():,} cases, {len(fuzzer.found)} kinds of findings", file=sys.stderr)  # noqa: T201
    except KeyboardInterrupt:  # what was counted until then is shown
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(fuzzer.lines()))  # noqa: T201
    return 1 if fuzzer.found else 0


if __name__ == "__main__":
    sys.exit(main())
