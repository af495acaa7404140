"""What hostile inputs cost: each command beside itself on the honest input that the hostile one was made of.

`python -m tests.torture.hostile [--only REGEX]`. Output: a table of seconds and MiB, the honest command's and the
hostile one's; exit code 1 if one takes more than twice the honest time and a second more, more than twice the honest
memory and 64 MiB more, or ends in anything but words.

1. Honest data sets and runs are made once (`fuzz.make_honest`), and everything that a command imports is imported once.
2. The input of a case is made in a child; the command runs in another, with bounded address space and time.
3. Memory is the child's peak less that of a child that does nothing; time is the processor's, so that others on the
   machine do not count, and a minute by the clock is a command that hangs.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import select
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture import nursery
from tests.torture.bench import COMMANDS, ONE_THREAD, Ended
from tests.torture.outcome import without_words

TIMES = 2
SECONDS_OVER, MIB_OVER = 1.0, 64
LONGEST = 60.0
ROOM = 6 << 30
"""Address space of a command beyond the parent's: its end is a finding, not this machine's."""


@dataclass(frozen=True)
class Case:
    """`make` writes an honest input into a folder, `spoil` makes it hostile; the command runs in that folder."""

    name: str
    command: str
    make: Callable[[Path], object]
    spoil: Callable[[Path], object]


@dataclass(frozen=True)
class Cost:
    """What a command took, and how it ended."""

    seconds: float
    mib: float
    ended: Ended


@dataclass(frozen=True)
class Result:
    """One case, measured; `verdict` is "ok" or what is wrong."""

    case: Case
    honest: Cost
    hostile: Cost

    @property
    def verdict(self) -> str:
        """What is wrong, "ok" if nothing is."""
        if self.honest.ended.code:
            return f"the honest one fails: {self.honest.ended.err.strip()[-300:]}"
        code = self.hostile.ended.code
        if code != 0 and (wrong := without_words(self.hostile.ended, named=True)):
            return wrong
        found = []
        for what, honest, hostile, over in (
            ("time", self.honest.seconds, self.hostile.seconds, SECONDS_OVER),
            ("memory", self.honest.mib, self.hostile.mib, MIB_OVER),
        ):
            if hostile > TIMES * honest and hostile > honest + over:
                found.append(f"too much {what}")
        return ", ".join(found) or "ok"

    def line(self) -> str:
        """Return the row of the table."""
        costs = [f"{cost.seconds:.2f} | {cost.mib:.0f}" for cost in (self.honest, self.hostile)]
        command = " ".join(self.case.command.split()[:2])
        return f"| {self.case.name} | `{command}` | {' | '.join(costs)} | {self.verdict} |"


HEADER = (
    "| the hostile input | command | honest: s | MiB | hostile: s | MiB | |",
    "|---|---|---|---|---|---|---|",
)


class Measure:
    """Runs cases in forked children; honest costs are measured once for each command and input."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._honest: dict[tuple[str, Callable[[Path], object]], Cost] = {}
        self._nothing = 0.0
        self._nothing = self._cost("", folder).mib

    def result(self, case: Case) -> Result:
        """Measure a case."""
        key = case.command, case.make
        if key not in self._honest:
            self._honest[key] = self._measured(case, spoiled=False)
        return Result(case, self._honest[key], self._measured(case, spoiled=True))

    def _measured(self, case: Case, spoiled: bool) -> Cost:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            status = os.waitpid(_forked(lambda: (case.make(folder), spoiled and case.spoil(folder))), 0)[1]
            if status:
                raise RuntimeError(f"{case.name} cannot be made")
            return self._cost(case.command, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _cost(self, command: str, folder: Path) -> Cost:
        out, err = self._folder / "out", self._folder / "err"

        def command_of_it() -> None:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, taken + ROOM))
            name, *arguments = shlex.split(command)
            asked = {"command": COMMANDS[name], "arguments": arguments, "folder": str(folder)}
            nursery.run({**asked, "out": str(out), "err": str(err)})

        began = time.monotonic()
        pid = _forked(command_of_it if command else lambda: None)
        watched = os.pidfd_open(pid)
        hangs = not select.select([watched], [], [], LONGEST)[0]
        os.close(watched)
        if hangs:
            os.kill(pid, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
        waited = time.monotonic() - began
        texts = [path.read_text(errors="backslashreplace") if path.exists() else "" for path in (out, err)]
        ended = Ended(None if hangs else os.waitstatus_to_exitcode(status), texts[0], texts[1], waited)
        return Cost(used.ru_utime + used.ru_stime, max(0.0, used.ru_maxrss / 1024 - self._nothing), ended)


def _forked(work: Callable[[], object]) -> int:
    """Return the process id of a child that does some work and ends."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:  # noqa: BLE001 a child has nobody above it
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def results(cases: Sequence[Case], folder: Path) -> Iterator[Result]:
    """Yield what each case took."""
    measure = Measure(folder)
    yield from map(measure.result, cases)


def main() -> int:
    """Measure what is asked for, print the table and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.hostile", description=__doc__)
    parser.add_argument("--only", default="", help="Cases whose name or command matches this.")
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    nursery.load()
    from tests.torture.hostile_cases import all_cases

    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    wrong = 0
    try:
        chosen = [case for case in all_cases(folder) if re.search(options.only, f"{case.name} {case.command}")]
        print("\n".join(HEADER))  # noqa: T201
        for result in results(chosen, folder):
            print(result.line(), flush=True)  # noqa: T201
            wrong += result.verdict != "ok"
            if result.verdict != "ok":
                print(result.hostile.ended.err[-2000:], file=sys.stderr)  # noqa: T201
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{len(chosen)} cases, {wrong} of them wrong")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
