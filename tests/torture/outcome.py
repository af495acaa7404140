"""What a case showed: whole folders compared, how a command ended, and what is found wrong, counted.

Input: folders and `Ended` commands. Output: sentences about what is wrong, none if all is well; `Table` adds them up.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.bench import Ended

LEFT_OUT = "tensorboard"
"""Its files carry the host and the time in their names and lines."""

TRACEBACK = "a traceback"

Tree = Mapping[str, bytes]


@dataclass(frozen=True)
class Outcome:
    """One case, or several that were tried at once: how many ended in words and healed, and what was found."""

    row: str
    in_words: int = 0
    healed: int = 0
    findings: tuple[str, ...] = ()
    cases: int = 1
    story: str = ""
    """How to see it again."""


def tree(root: Path) -> dict[str, bytes]:
    """Return the content of every file by its relative path, and folders as `name/`, without what tells the time."""
    if root.is_file():
        return {root.name: root.read_bytes()}
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if LEFT_OUT not in name.parts:
            found[f"{name}/" if path.is_dir() else str(name)] = (
                b"" if path.is_dir() else timeless(path.name, path.read_bytes())
            )
    return found


def timeless(name: str, content: bytes) -> bytes:
    """Return the content of a file of this name without what tells the time."""
    try:
        if name == "branch.json":
            record = json.loads(content)
            record["files"] = [entry for entry in record["files"] if entry["path"] != "metrics.jsonl"]  # which tell it
            return json.dumps({name: record[name] for name in record if name not in ("seconds", "sha256")}).encode()
        if name == "metrics.jsonl":
            epochs = [json.loads(line) for line in content.splitlines()]
            return json.dumps([{k: v for k, v in epoch.items() if k != "seconds"} for epoch in epochs]).encode()
    except (ValueError, AttributeError, KeyError, TypeError):
        pass
    return content


def unlike(expected: Tree, got: Tree) -> str:
    """Return in words how two trees differ, empty if they do not."""
    parts = {
        "missing": sorted(set(expected) - set(got)),
        "too many": sorted(set(got) - set(expected)),
        "other bytes": sorted(name for name in set(expected) & set(got) if expected[name] != got[name]),
    }
    return "; ".join(f"{what}: {', '.join(names[:3])}" for what, names in parts.items() if names)


def without_words(ended: Ended, named: bool = False) -> str:
    """Return what is wrong with how a command failed, empty if it is one paragraph that names a path.

    `named`: what it is about is looked for elsewhere.
    """
    if ended.code is None:
        return "it hangs"
    if "Traceback" in ended.err:
        return f"{TRACEBACK}, exit code {ended.code}: {ended.err.strip().splitlines()[-1]}"
    found = re.search(r"^Error: .*", ended.err, re.DOTALL | re.MULTILINE)
    last = ended.err.strip()[-200:]
    if ended.code not in (1, 2):
        return f"exit code {ended.code}: {last}"
    if not found:
        return f"no 'Error: ', exit code {ended.code}: {last}"
    if "\n\n" in found[0].strip():
        return f"more than one paragraph: {found[0].strip()}"
    if not named and not re.search(r"Where: (?!None)\S", found[0]):
        return f"names no path: {found[0].strip()}"
    return ""


@dataclass
class Table:
    """Counts by row, and every kind of finding once, with how often and one story."""

    cases: Counter[str] = field(default_factory=Counter)
    in_words: Counter[str] = field(default_factory=Counter)
    healed: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, list[str]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count a case."""
        self.cases[outcome.row] += outcome.cases
        self.in_words[outcome.row] += outcome.in_words
        self.healed[outcome.row] += outcome.healed
        self.found[outcome.row] += len(outcome.findings)
        for finding in outcome.findings:
            self.kinds.setdefault(f"{outcome.row}: {_kind(finding)}", []).append(f"{outcome.story}\n  {finding}")

    def lines(self) -> Iterable[str]:
        """Yield the table as Markdown, then each kind of finding with its first story."""
        yield "| | cases | ended in words | healed to equal bytes | findings |"
        yield "|---|---|---|---|---|"
        for row in sorted(self.cases):
            yield f"| {row} | {_counts(self.cases, self.in_words, self.healed, self.found, row=row)} |"
        sums = [Counter({"": counter.total()}) for counter in (self.cases, self.in_words, self.healed, self.found)]
        yield f"| all | {_counts(*sums, row='')} |"
        for kind, stories in sorted(self.kinds.items(), key=lambda each: -len(each[1])):
            yield f"\n{len(stories)} × {kind}\n  {stories[0]}"


def _counts(*counters: Counter[str], row: str) -> str:
    return " | ".join(f"{counter[row]:,}" for counter in counters)


def _kind(finding: str) -> str:
    """Return a finding without what differs from case to case: numbers, and what was said beside a traceback."""
    if finding.startswith(TRACEBACK):
        return TRACEBACK
    return re.sub(r"[0-9a-f]{12,}|\d+", "N", finding)[:160]
