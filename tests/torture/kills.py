"""SIGKILL to the whole process group, a few times in the same folder, then once more to the end: equal bytes.

Input: a scenario and a seed. Output: one `Outcome` a chain of kills. Half of the kills come at a random moment, half
just before a random file call: moments that lie close together are met as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tests.torture.bench import Bench
from tests.torture.faults import Case
from tests.torture.outcome import Outcome, tree, unlike
from tests.torture.scenarios import Materials, Scenario
from tests.torture.shim import Mode

IN_A_ROW = 3
KILLED = -9


def kill_cases(materials: Materials, scenarios: Sequence[Scenario], seed: int) -> Iterator[Case]:
    """Yield chains of kills without end, of one scenario after the other."""
    numbers = random.Random(seed)
    while True:
        for scenario in scenarios:
            yield _chain(materials, scenario, numbers.randrange(1 << 32))


def _chain(materials: Materials, scenario: Scenario, seed: int) -> Case:
    def case(bench: Bench) -> Outcome:
        expected = materials.undisturbed(bench, scenario)
        chosen = random.Random(seed)
        line = materials.filled(scenario.line)
        kills: list[str] = []
        with bench.case() as folder:
            materials.lay_out(scenario, folder)
            for _ in range(IN_A_ROW):
                if chosen.random() < 0.5:
                    moment = chosen.random() * expected.seconds
                    bench.disk.off()
                    ended = bench.run(line, folder, kill_after=moment)
                    told = f"after {moment:.2f} s"
                else:
                    call = chosen.randint(1, expected.calls)
                    bench.disk.fail(folder, call, 0, Mode.KILL)
                    ended = bench.run(line, folder)
                    told = f"before call {call}: {bench.disk.hit.replace(str(folder), '…')}"
                if ended.code == KILLED:
                    kills.append(told)
            bench.disk.off()
            ended = bench.run(line, folder)
            wrong = (
                f"exit code {ended.code}: {ended.err.strip()[-300:]}"
                if ended.code
                else unlike(expected.tree, tree(folder / scenario.result))
            )
            return Outcome(
                f"kills: {scenario.name}",
                healed=not wrong,
                findings=(f"does not heal: {wrong}".replace(str(folder), "…"),) if wrong else (),
                cases=len(kills),
                story=f"{scenario.line}; killed {', then '.join(kills) or 'never'}",
            )

    return case
