"""The power goes: a strict disk keeps what was synced and nothing else.

Input: the log that the shim wrote of an undisturbed run. Output: the tree that is on the disk at any line of the log.

1. A file's content is what it was at its last fsync; nothing, if there was none.
2. A name, a rename, a removal, a new folder is on the disk when its folder was synced after it.
3. Some disks are quicker with names than with content. `Disk(names_at_once=True)` is one of them: all names are there,
   and a file that was not synced is empty.

After a command has said that it is done, the disk holds the whole tree, even if an earlier one was killed halfway. At
any earlier line the same command, begun on what the disk holds, ends with the bytes of an undisturbed run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.bench import Bench, Ended
from tests.torture.faults import Case, evenly
from tests.torture.outcome import Outcome, tree, unlike
from tests.torture.scenarios import Materials, Scenario, whole

AFTER_A_KILL = 10
"""One in so many calls is also tried as a kill before a power cut."""
READINGS = {False: "strict", True: "names first"}


@dataclass
class Node:
    """A file or folder: what it is now and what of it is on the disk."""

    folder: bool
    entries: dict[str, Node] = field(default_factory=dict)
    durable_entries: dict[str, Node] = field(default_factory=dict)
    durable_content: bytes = b""


class Disk:
    """The state of a disk, event after event."""

    def __init__(self, root: Path, names_at_once: bool) -> None:
        self.root, self.names_at_once = root, names_at_once
        self.top = self._found(root)

    def _found(self, path: Path) -> Node:
        """Return what lay there before: all of it is on the disk."""
        if path.is_file():
            return Node(False, durable_content=path.read_bytes())
        entries = {each.name: self._found(each) for each in path.iterdir()}
        return Node(True, entries, dict(entries))

    def happens(self, event: Event) -> None:
        """Take one line of the log."""
        parent, name = self._place(event.path)
        if event.call == "open":
            parent.entries.setdefault(name, Node(False))
        elif event.call == "mkdir":
            parent.entries[name] = Node(True)
        elif event.call in ("unlink", "rmdir"):
            parent.entries.pop(name, None)
        elif event.call == "link":
            target, new = self._place(event.other)
            target.entries[new] = parent.entries[name]
        elif event.call == "rename":
            target, new = self._place(event.other)
            target.entries[new] = parent.entries.pop(name)
        elif event.call == "fsync" and name in parent.entries:  # else it was removed while it was open
            parent.entries[name].durable_content = event.content
        elif event.call == "fsync-folder":
            node = parent.entries[name] if name else self.top
            node.durable_entries = dict(node.entries)

    def _place(self, path: str) -> tuple[Node, str]:
        """Return the node of a path's folder and its name, which is empty for the top."""
        *above, name = Path(path).relative_to(self.root).parts or ("",)
        node = self.top
        for each in above:
            node = node.entries[each]
        return node, name

    def write(self, folder: Path) -> None:
        """Write what is on the disk into an empty folder."""
        self._write(self.top, folder)

    def _write(self, node: Node, path: Path) -> None:
        if not node.folder:
            path.write_bytes(node.durable_content)
            return
        path.mkdir(exist_ok=True)
        for name, each in (node.entries if self.names_at_once else node.durable_entries).items():
            self._write(each, path / name)


@dataclass(frozen=True)
class Event:
    """One line of the log; `content` is that of a file when it was synced."""

    call: str
    path: str
    other: str
    content: bytes


@dataclass(frozen=True)
class Recorded:
    """What a run did to the disk: what lay there before, the events, and in which folder."""

    before: Path
    root: Path
    events: tuple[Event, ...]

    @classmethod
    def of(cls, bench: Bench, materials: Materials, scenario: Scenario, kept: Path) -> Recorded:
        """Run a scenario and keep its log."""
        before = kept / "before"
        before.mkdir(parents=True)
        materials.lay_out(scenario, before)
        with bench.case() as folder:
            shutil.copytree(before, folder, dirs_exist_ok=True)
            ended, events = _logged(bench, materials.filled(scenario.line), folder, kept)
            whole(ended, scenario.line)
            return cls(before, folder, events)

    def disk_after(self, count: int, names_at_once: bool) -> Disk:
        """Return the disk after so many events."""
        disk = Disk(self.before, names_at_once)
        disk.root = self.root
        for event in self.events[:count]:
            disk.happens(event)
        return disk


def _logged(bench: Bench, line: str, folder: Path, kept: Path, kill_at: int = 0) -> tuple[Ended, tuple[Event, ...]]:
    """Run a command and return its log, to be kept in a folder."""
    log, snapshots = kept / f"log-{kill_at}", kept / f"snapshots-{kill_at}"
    snapshots.mkdir(parents=True)
    log.touch()
    bench.disk.record(folder, log, snapshots, kill_at)
    ended = bench.run(line, folder)
    bench.disk.off()
    lines = [text.split("\t") for text in log.read_text().splitlines()]
    return ended, tuple(
        Event(call, path, other, (snapshots / number).read_bytes() if call == "fsync" else b"")
        for number, call, path, other in lines
    )


def power_cases(
    bench: Bench, materials: Materials, scenarios: Sequence[Scenario], seed: int, every: int
) -> Iterator[Case]:
    """Return for each scenario the end of its log, in both readings; then all earlier lines, and ends after a kill."""
    recorded = {
        scenario: Recorded.of(bench, materials, scenario, bench.folder / f"log-{number}")
        for number, scenario in enumerate(scenarios)
    }
    ends = [
        _cut(materials, scenario, log, len(log.events), names_at_once)
        for scenario, log in recorded.items()
        for names_at_once in READINGS
    ]
    later = {
        scenario: [
            *(
                _cut(materials, scenario, log, count, names_at_once)
                for names_at_once in READINGS
                for count in range(seed % every, len(log.events), every)
            ),
            *(
                _killed_before(materials, scenario, at)
                for at in range(1 + seed % every, materials.undisturbed(scenario).calls, AFTER_A_KILL * every)
            ),
        ]
        for scenario, log in recorded.items()
    }
    return iter([*ends, *(case for _, case in evenly(later, seed))])


def _cut(materials: Materials, scenario: Scenario, log: Recorded, count: int, names_at_once: bool) -> Case:
    expected = materials.undisturbed(scenario).tree

    def case(bench: Bench) -> Outcome:
        with bench.case() as folder:
            log.disk_after(count, names_at_once).write(folder)
            lost = unlike(expected, tree(folder / scenario.result)) if count == len(log.events) else ""
            unhealed = materials.unhealed(bench, scenario, folder)
            findings = (f"complete, but not on the disk: {lost}" if lost else "", unhealed)
            last = log.events[count - 1] if count else None
            at = f"{last.call} {last.path}".replace(str(log.root), "…") if last else "the beginning"
            return Outcome(
                f"power: {scenario.name}",
                healed=not unhealed,
                findings=tuple(text.replace(str(folder), "…") for text in findings if text),
                story=f"{scenario.line}; cut after line {count} of {len(log.events)} ({at}), {READINGS[names_at_once]}",
            )

    return case


def _killed_before(materials: Materials, scenario: Scenario, at: int) -> Case:
    """Kill a command before a call, run it to its end, and cut the power then: the kill itself loses nothing."""
    expected = materials.undisturbed(scenario).tree

    def case(bench: Bench) -> Outcome:
        with bench.case() as folder, bench.case() as kept, bench.case() as durable:
            (kept / "before").mkdir()
            for laid_out in (kept / "before", folder):
                materials.lay_out(scenario, laid_out)
            line = materials.filled(scenario.line)
            _, first = _logged(bench, line, folder, kept, at)
            ended, second = _logged(bench, line, folder, kept)
            Recorded(kept / "before", folder, first + second).disk_after(len(first + second), False).write(durable)
            wrong = "" if ended.code and not scenario.again else unlike(expected, tree(durable / scenario.result))
            return Outcome(
                f"power after a kill: {scenario.name}",
                healed=not wrong,
                findings=(f"complete, but not on the disk: {wrong}",) if wrong else (),
                story=f"{scenario.line}; killed before call {at}, then run to the end; strict",
            )

    return case
