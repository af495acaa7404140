"""SIGKILL to the whole process group, a few times in the same folder, then once more to the end: equal bytes.

Input: a scenario and a seed. Output: one `Outcome` a chain of kills, which counts as many cases as there were kills.
Half of the kills come at a random moment, half just before a random file call: moments that lie close together are met
as well.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture.bench import Bench
from tests.torture.faults import Case
from tests.torture.outcome import Outcome
from tests.torture.scenarios import Materials, Scenario
from tests.torture.shim import Mode

IN_A_ROW = 3


def kill_cases(materials: Materials, scenarios: Sequence[Scenario], seed: int) -> Iterator[Case]:
    """Return chains of kills without end, of one scenario after the other."""
    for scenario in scenarios:
        materials.undisturbed(scenario)
    return _endless(materials, scenarios, seed)


def _endless(materials: Materials, scenarios: Sequence[Scenario], seed: int) -> Iterator[Case]:
    numbers = random.Random(seed)
    while True:
        for scenario in scenarios:
            yield _chain(materials, scenario, numbers.randrange(1 << 32))


def _chain(materials: Materials, scenario: Scenario, seed: int) -> Case:
    def case(bench: Bench) -> Outcome:
        chosen = random.Random(seed)
        kills: list[str] = []
        with bench.case() as folder:
            materials.lay_out(scenario, folder)
            for _ in range(IN_A_ROW):
                if told := _kill(bench, materials, scenario, folder, chosen):
                    kills.append(told.replace(str(folder), "…"))
            unhealed = materials.unhealed(bench, scenario, folder).replace(str(folder), "…")
            return Outcome(
                f"kills: {scenario.name}",
                healed=not unhealed,
                findings=(unhealed,) if unhealed else (),
                cases=len(kills),
                story=f"{scenario.line}; killed {', then '.join(kills) or 'never'}",
            )

    return case


def _kill(bench: Bench, materials: Materials, scenario: Scenario, folder: Path, chosen: random.Random) -> str:
    """Run a command and kill it; return when, or nothing if it had ended before."""
    expected, line = materials.undisturbed(scenario), materials.filled(scenario.line)
    if chosen.random() < 0.5:
        moment = chosen.random() * expected.seconds
        ended = bench.run(line, folder, kill_after=moment)
        told = f"after {moment:.2f} s"
    else:
        bench.disk.fail(folder, chosen.randint(1, expected.calls), 0, Mode.KILL)
        ended = bench.run(line, folder)
        told = f"before {bench.disk.hit}"
        bench.disk.off()
    return told if ended.code == -signal.SIGKILL else ""
