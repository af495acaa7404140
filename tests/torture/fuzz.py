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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from spectral_prep.errors import SpectralError
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
from tests.torture.honest import Honest, make_honest, readers
from tests.torture.nursery import BESIDE

SECONDS = 20
"""Of processor time that one reading may take; by the clock ten times as many, since the machine may be busy."""
CLOCK_SECONDS = 10 * SECONDS
ROOM = 512 << 20
"""Address space beyond what an honest reading takes."""
AT_ONCE = 100

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
