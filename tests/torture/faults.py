"""A fault at every file call: one paragraph and the old content, or success; then the same command heals.

Input: a scenario and which of its calls shall fail how. Output: one `Outcome` a case.

1. The command runs with the fault. It succeeds with the bytes of an undisturbed run, if the fault hit something that is
   not needed, or it fails in words.
2. What lay there before is as it was.
3. The same command without the fault gives the bytes of an undisturbed run.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.torture.bench import Bench
from tests.torture.outcome import Outcome, tree, unlike, without_words
from tests.torture.scenarios import Materials, Scenario, Undisturbed
from tests.torture.shim import Mode

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EROFS)
MODES = (Mode.ONCE, Mode.HALF, Mode.EVER)

Case = Callable[[Bench], Outcome]


@dataclass(frozen=True)
class Fault:
    """The call that fails, with which errno and how."""

    at: int
    error: int
    mode: Mode

    def __str__(self) -> str:
        return f"call {self.at} fails with {errno.errorcode[self.error]} ({self.mode.name.lower()})"


def fault_cases(
    bench: Bench, materials: Materials, scenarios: Sequence[Scenario], seed: int, every: int
) -> Iterator[Case]:
    """Yield a case for every `every`-th call and each errno, of all scenarios in one random order."""
    chosen = [
        (scenario, Fault(at, error, MODES[(at + place) % len(MODES)]))
        for scenario in scenarios
        for at in range(1 + seed % every, materials.undisturbed(bench, scenario).calls + 1, every)
        for place, error in enumerate(ERRORS)
    ]
    random.Random(seed).shuffle(chosen)
    for scenario, fault in chosen:
        yield case_of(materials, scenario, fault, materials.undisturbed(bench, scenario))


def case_of(materials: Materials, scenario: Scenario, fault: Fault, expected: Undisturbed) -> Case:
    """Return the case of one fault."""

    def case(bench: Bench) -> Outcome:
        line = materials.filled(scenario.line)
        with bench.case() as folder:
            materials.lay_out(scenario, folder)
            before = tree(folder)
            bench.disk.fail(folder, fault.at, fault.error, fault.mode)
            ended = bench.run(line, folder)
            hit = bench.disk.hit.replace(str(folder), "…")
            bench.disk.off()
            findings = []
            if ended.code == 0:
                if wrong := unlike(expected.tree, tree(folder / scenario.result)):
                    findings.append(f"succeeded with other bytes: {wrong}")
            elif wrong := without_words(ended):
                findings.append(wrong)
            after = tree(folder)
            if changed := [name for name in before if after.get(name) != before[name]]:
                findings.append(f"what lay there before is changed: {', '.join(changed[:3])}")
            again = bench.run(line, folder) if ended.code else ended
            wrong = (
                f"exit code {again.code}: {again.err.strip()[-300:]}"
                if again.code
                else unlike(expected.tree, tree(folder / scenario.result))
            )
            if wrong and ended.code != 0:
                findings.append(f"does not heal: {wrong}")
            return Outcome(
                f"faults: {scenario.name}",
                in_words=ended.code in (1, 2) and not without_words(ended),
                healed=not wrong,
                findings=tuple(text.replace(str(folder), "…") for text in findings),
                story=f"{scenario.line}; {fault}: {hit}",
            )

    return case
