"""The harness as a command: `python -m tests.torture [faults|power|kills|damage|all] [--minutes M] [--seed S] …`.

Output: a table of counts; each kind of finding once, with how to see it again; exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.torture.bench import Bench
from tests.torture.damage import damage_cases
from tests.torture.faults import ERRORS, Case, fault_cases
from tests.torture.kills import kill_cases
from tests.torture.outcome import Table
from tests.torture.power import power_cases
from tests.torture.scenarios import SCENARIOS, Materials

KINDS = ("faults", "power", "kills", "damage")
TELL_EVERY = 100
ENDLESS = {"kills": 450, "damage": 4450}
"""How many cases of the kinds without an end there are if no time is given: 1,000 kills, 10,000 damaged files."""


def main() -> int:
    """Run what is asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=(*KINDS, "all"), default="all")
    parser.add_argument("--minutes", type=float, help="Of all kinds together; else all cases.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="Every N-th file call and line of the log only.")
    parser.add_argument("--errors", type=int, default=len(ERRORS), help="How many errnos a call fails with, in turn.")
    parser.add_argument("--skip", type=int, default=0, help="Cases of each kind that a run of this seed has tried.")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="Scenarios whose name has this in it.")
    options = parser.parse_args()
    kinds = KINDS if options.kind == "all" else (options.kind,)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    table = Table()
    try:
        benches = [Bench(folder / "0")]
        benches += [Bench(folder / str(number), benches[0].library) for number in range(1, options.jobs)]
        materials = Materials(benches[0], folder / "materials")
        with contextlib.suppress(KeyboardInterrupt):  # what was counted until then is shown
            for kind in kinds:
                cases = islice(cases_of(kind, benches[0], materials, options), options.skip, None)
                deadline = time.monotonic() + 60 * options.minutes / len(kinds) if options.minutes else None
                if deadline is None and kind in ENDLESS:
                    cases = islice(cases, ENDLESS[kind])
                run_cases(benches, cases, table, deadline)
        for bench in benches:
            bench.__exit__()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(table.lines()))  # noqa: T201
    return 1 if table.kinds else 0


def cases_of(kind: str, bench: Bench, materials: Materials, options: argparse.Namespace) -> Iterator[Case]:
    """Return the cases of a kind."""
    chosen = [each for each in SCENARIOS if options.only in each.name]
    if kind == "faults":
        return fault_cases(materials, chosen, options.seed, options.every, options.errors)
    if kind == "power":
        return power_cases(bench, materials, chosen, options.seed, options.every)
    if kind == "kills":
        return kill_cases(materials, chosen, options.seed)
    return damage_cases(materials, options.seed)


def run_cases(benches: list[Bench], cases: Iterator[Case], table: Table, deadline: float | None) -> None:
    """Run cases on all benches at the same time until there are no more, or no more time."""
    lock = threading.Lock()
    failures: list[BaseException] = []
    tried = itertools.count(1)

    def work(bench: Bench) -> None:
        try:
            while deadline is None or time.monotonic() < deadline:
                with lock:
                    case = next(cases, None)
                if case is None or failures:
                    return
                outcome = case(bench)
                with lock:
                    table.add(outcome)
                    if not next(tried) % TELL_EVERY:
                        print(f"{table.cases.total():,} cases, {len(table.kinds)} findings", file=sys.stderr)  # noqa: T201
        except BaseException as error:  # noqa: BLE001 raised again below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(bench,)) for bench in benches]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt as interrupt:
        failures.append(interrupt)
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


if __name__ == "__main__":
    sys.exit(main())
