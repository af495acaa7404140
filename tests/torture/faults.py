"""A fault at every file call: one paragraph and the old content, or success; then the same command heals.

Input: a scenario and which of its calls shall fail how. Output: one `Outcome` a case.

1. The command runs with the fault. It succeeds with the bytes of an undisturbed run, if the fault hit something that is
   not needed, or it fails in words. A lock file that it cannot remove may stay for the next run: it locks nothing.
2. What lay there before is as it was.
3. The same command without the fault gives the bytes of an undisturbed run.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from tests.torture.bench import Bench
from tests.torture.outcome import Outcome, tree, unlike, without_words
from tests.torture.scenarios import Materials, Scenario
from tests.torture.shim import Mode

LOCK = ".lock"
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EROFS)
MODES = (Mode.ONCE, Mode.HALF, Mode.EVER)

Case = Callable[[Bench], Outcome]
Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Fault:
    """The call that fails, with which errno and how."""

    at: int
    error: int
    mode: Mode

    def __str__(self) -> str:
        return f"call {self.at} fails with {errno.errorcode[self.error]} ({self.mode.name.lower()})"


def fault_cases(
    materials: Materials, scenarios: Sequence[Scenario], seed: int, every: int, errors: int = len(ERRORS)
) -> Iterator[Case]:
    """Return a case for every `every`-th call and `errors` errnos, other ones at the next, as `evenly` orders them."""
    faults = {
        scenario: [
            Fault(at, ERRORS[turn % len(ERRORS)], MODES[turn // len(ERRORS) % len(MODES)])
            for place, at in enumerate(range(1 + seed % every, materials.undisturbed(scenario).calls + 1, every), 1)
            for turn in range(seed + place * errors, seed + (place + 1) * errors)
        ]
        for scenario in scenarios
    }
    return (case_of(materials, scenario, fault) for scenario, fault in evenly(faults, seed))


def evenly(choices: Mapping[Scenario, Sequence[Choice]], seed: int) -> Iterator[tuple[Scenario, Choice]]:
    """Yield all choices in a random order, of one scenario after the other: an early end has tried each as often."""
    numbers = random.Random(seed)
    shuffled = {scenario: iter(numbers.sample(found, len(found))) for scenario, found in choices.items()}
    while shuffled:
        for scenario, rest in list(shuffled.items()):
            for choice in islice(rest, 1):
                yield scenario, choice
                break
            else:
                del shuffled[scenario]


def case_of(materials: Materials, scenario: Scenario, fault: Fault) -> Case:
    """Return the case of one fault."""
    expected = materials.undisturbed(scenario).tree

    def case(bench: Bench) -> Outcome:
        with bench.case() as folder:
            materials.lay_out(scenario, folder)
            before = tree(folder)
            bench.disk.fail(folder, fault.at, fault.error, fault.mode)
            ended = bench.run(materials.filled(scenario.line), folder)
            hit = bench.disk.hit.replace(str(folder), "…")
            bench.disk.off()
            after = tree(folder)
            changed = [name for name in before if after.get(name) != before[name]]
            if ended.code == 0:
                found = tree(folder / scenario.result)
                locks = {name for name in found if name.endswith(LOCK)}  # one that cannot be removed locks nothing
                other = unlike(expected, {name: content for name, content in found.items() if name not in locks})
                wrong = f"succeeds with other bytes: {other}" if other else ""
                unhealed = materials.unhealed(bench, scenario, folder) if locks else ""
            else:
                wrong, unhealed = without_words(ended), materials.unhealed(bench, scenario, folder)
            findings = (wrong, unhealed, f"what lay there before is changed: {', '.join(changed[:3])}" * bool(changed))
            return Outcome(
                f"faults: {scenario.name}",
                in_words=ended.code != 0 and not wrong,
                healed=not (unhealed or (ended.code == 0 and wrong)),
                findings=tuple(text.replace(str(folder), "…") for text in findings if text),
                story=f"{scenario.line}; {fault}: {hit}",
            )

    return case
