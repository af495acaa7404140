"""The tables of docs/results.md: from the finished runs of the folder of the work.

Input: that folder, and a file with marks. Output: the file with its tables. Every figure is of test rows and has the
standard deviation over the seeds beside it where there are several. The scheme that is set against the conventional
network is `learned`, whatever the others come to. What nothing has been done of is left out: systems, columns, tables.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import click
from train_systems import SETS, TABLES, Side, System
from train_work import KINDS, Pace, Work, full_options

from spectral_train.ensemble.combination import FUSED, SchemeName
from spectral_train.ensemble.evaluate import Evaluation, evaluate
from spectral_train.report.cost import Costs
from spectral_train.report.papers import published
from spectral_train.report.sections import markdown_table
from spectral_train.run.branches import read_branches
from spectral_train.run.outputs import TEST, read_outputs
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.record import NetworkRecord, read_history, read_network
from spectral_train.training.state import kept_epoch

NONE = "–"
FIXED: SchemeName = "learned"
"""The scheme that is compared with the conventional network, fixed before anything was trained."""

SCHEMES: tuple[SchemeName, ...] = ("geometric", FIXED)
Row = dict[str, str]
Seeds = Mapping[int, float]


class Done:
    """What is finished of one system."""

    def __init__(self, name: str, system: System, work: Work) -> None:
        self.name, self.system, self.work = name, system, work
        self.seeds = work.done(name, system, "branches") if system.branches is not None else ()
        self.baselines = work.baselines(name, system)
        self.sides = tuple(side for side, _ in system.sides() if self.seeds_of(side))

    def seeds_of(self, side: Side) -> tuple[int, ...]:
        """The seeds whose networks of a side are done."""
        return self.seeds if side == "branches" else tuple(self.baselines)

    @cached_property
    def branches(self) -> dict[int, tuple[NetworkRecord, ...]]:
        """The records of all branches, by seed."""
        return {seed: tuple(read_branches(self.work.run(self.name, seed))) for seed in self.seeds}

    @cached_property
    def conventional(self) -> dict[int, NetworkRecord]:
        """The records of the conventional networks, by seed."""
        return {seed: read_network(paths) for seed, paths in self.baselines.items()}

    @cached_property
    def evaluations(self) -> dict[int, Evaluation]:
        """What each seed's branches come to."""
        return {seed: self._evaluate(seed) for seed in self.seeds}

    def accuracies(self, scheme: SchemeName) -> Seeds:
        """The ensemble's accuracy by a scheme, by seed."""
        return {seed: found.ensemble[scheme] for seed, found in self.evaluations.items() if scheme in found.ensemble}

    @cached_property
    def conventional_accuracies(self) -> Seeds:
        """That of the conventional networks, by seed."""
        return {seed: read_outputs(paths.outputs, TEST).accuracy for seed, paths in self.baselines.items()}

    def flipped(self, side: Side) -> Seeds:
        """Accuracies over every image and its mirror image, of the ensemble or the conventional network, by seed."""
        found: dict[int, float] = {}
        for seed in self.seeds_of(side):
            path = self.work.flipped(self.system.trained_as(self.name, side), seed)
            said = json.loads(path.read_text()) if path.is_file() else {}
            value = said.get("baseline") if side == "conventional" else said.get("ensemble", {}).get(FIXED)
            if value is not None:
                found[seed] = value
        return found

    def minutes(self, side: Side) -> Seeds:
        """Processor minutes of a side's trainings, the search of their rates in them, by seed."""
        found: dict[int, float] = {}
        for seed in self.seeds_of(side):
            path = self.work.processor(self.system.trained_as(self.name, side), seed)
            lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
            if seconds := [line["seconds"] for line in lines if line["side"] == side]:
                found[seed] = sum(seconds) / 60
        return found

    def networks(self, side: Side) -> list[tuple[NetworkPaths[Path], NetworkRecord]]:
        """Every network of a side, over all seeds."""
        if side == "conventional":
            return [(self.baselines[seed], record) for seed, record in self.conventional.items()]
        return [
            (self.work.run(self.name, seed).branch(record.plan.shard or 0), record)
            for seed, records in self.branches.items()
            for record in records
        ]

    def _evaluate(self, seed: int) -> Evaluation:
        run = self.work.run(self.name, seed)
        fused: tuple[SchemeName, ...] = (FUSED,) if run.fused().fused_record.is_file() else ()
        return evaluate(run.root, (*SCHEMES, *fused))


def accuracy_table(table: Mapping[str, System], work: Work) -> str:
    """Return how good every finished system is, beside its conventional network and the papers'; empty for none."""
    return table_of([accuracies(Done(name, system, work)) for name, system in table.items()])


def accuracies(done: Done) -> Row:
    """Return the line of a system; empty if nothing of its own is done."""
    if not done.sides:
        return {}
    both: tuple[Side, ...] = ("branches", "conventional")
    found, conventional = done.evaluations, done.conventional_accuracies
    flipped, flipped_conventional = done.flipped("branches"), done.flipped("conventional")
    system = done.system
    papers = published(system.paper, SETS[system.data].split()[1])[:1]
    return {
        "System": done.name,
        "Seeds": " / ".join(str(len(seeds)) for seeds in (done.seeds, done.baselines) if seeds),
        "Epochs": _sides([_epochs(done, side) for side in both]),
        "Rates": _rates({side: done.networks(side) for side in both}) if system.budget else NONE,
        "Mean branch": spread({seed: each.mean_accuracy for seed, each in found.items()}),
        "Highest": spread({seed: each.best_accuracy for seed, each in found.items()}),
        **{scheme: spread(done.accuracies(scheme)) for scheme in (*SCHEMES, FUSED)},
        "Conventional": spread(conventional),
        f"{FIXED} − conv.": gap(done.accuracies(FIXED), conventional),
        f"{FIXED}, flipped too": spread(flipped),
        "conv., flipped too": spread(flipped_conventional),
        "their difference": gap(flipped, flipped_conventional),
        "Paper": ", ".join(f"{100 * (each.quoted or 0):.2f} ({100 * each.baseline:.2f})" for each in papers) or NONE,
    }


def cost_table(table: Mapping[str, System], work: Work) -> str:
    """Return what every finished system costs beside its conventional network; empty where none has one."""
    return table_of([costs(Done(name, system, work)) for name, system in table.items()])


def costs(done: Done) -> Row:
    """Return the line of a system; empty if its branches or its conventional network are not done."""
    if not done.seeds or not done.baselines:
        return {}
    records, conventional = next(iter(done.branches.values())), next(iter(done.conventional.values()))
    cost = Costs.of(records, conventional)
    compression, computation = cost.compression, cost.computation
    assert compression is not None
    assert computation is not None
    return {
        "System": done.name,
        "MB, branches": f"{cost.size / 1e6:.2f}",
        "MB, conv.": f"{conventional.size_bytes / 1e6:.2f}",
        "Compression": f"{compression[0]:.2f} ×",
        "of the best": f"{compression[1]:.2f} ×",
        "Computation": f"{computation[0]:.2f} ×",
        **speed_ups(done, records[0], conventional),
        "Processor minutes, all branches": spread(done.minutes("branches"), 1, 1),
        "conventional": spread(done.minutes("conventional"), 1, 1),
    }


def speed_ups(done: Done, branch: NetworkRecord, conventional: NetworkRecord) -> Row:
    """Return the training time of the conventional network over that of the branches: of an epoch, and of all."""
    path = done.work.pace(done.name)
    if not path.is_file():
        return {"Speed-up of an epoch": NONE, "of the training": NONE, "with one node": NONE}
    pace = Pace.read(path)
    slowest, times = max(pace.branches), conventional.plan.recipe.epochs / branch.plan.recipe.epochs
    return {
        "Speed-up of an epoch": f"{pace.conventional / slowest:.2f} ×",
        "of the training": f"{times * pace.conventional / slowest:.2f} ×",
        "with one node": f"{times * pace.conventional / sum(pace.branches):.2f} ×",
    }


def command_list(table: Mapping[str, System], work: Work) -> str:
    """Return the commands behind a table as a Markdown block, of what is done, for the first seed, without the places.

    Those of several systems stand once, below the sets that they are for.
    """
    sets: dict[tuple[str, ...], list[str]] = {}
    for name, system in table.items():
        if sides := Done(name, system, work).sides:
            budget = f"; a budget of {system.budget:g} processor minutes a side and seed" if system.budget else ""
            commands = tuple(f"spectral-train {KINDS[side]} {full_options(name, system, side, work)}" for side in sides)
            sets.setdefault(commands, []).append(f"# {name}: {SETS[system.data]}{budget}")
    return "\n".join(["```sh", *(line for commands, heads in sets.items() for line in (*heads, *commands)), "```"])


def table_of(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table, without empty rows and without columns that are empty in all."""
    filled = [row for row in rows if row]
    if not filled:
        return ""
    heads = [head for head in filled[0] if any(row[head] != NONE for row in filled)]
    return markdown_table([heads, *([row[head] for head in heads] for row in filled)])


def spread(values: Seeds, scale: float = 100, digits: int = 2) -> str:
    """Return the mean of all seeds, several with their standard deviation.

    >>> spread({0: 0.5}), spread({0: 0.5, 1: 0.52}), spread({})
    ('50.00', '51.00 ± 1.41', '–')
    """
    if not values:
        return NONE
    each = [scale * value for value in values.values()]
    mean = f"{statistics.mean(each):.{digits}f}"
    return mean if len(each) == 1 else f"{mean} ± {statistics.stdev(each):.{digits}f}"


def gap(ours: Seeds, theirs: Seeds) -> str:
    """Return the mean difference over the seeds that both have, signed.

    >>> gap({0: 0.5, 1: 0.52}, {0: 0.51, 1: 0.51, 2: 0.9})
    '+0.00 ± 1.41'
    """
    found = spread({seed: ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()})
    return found if found[0] in f"-{NONE}" else f"+{found}"


def _epochs(done: Done, side: Side) -> str:
    """Return the epochs of a side, and behind them, with patience, the mean of those whose weights were kept."""
    networks = done.networks(side)
    if not networks:
        return NONE
    recipe = networks[0][1].plan.recipe
    if not recipe.patience:
        return str(recipe.epochs)
    kept = [kept_epoch(read_history(record, paths), recipe.patience).epoch for paths, record in networks]
    return f"{recipe.epochs} ({statistics.mean(kept):.0f})"


def _rates(networks: Mapping[Side, Sequence[tuple[NetworkPaths[Path], NetworkRecord]]]) -> str:
    """Return the rates that each side found, lowest to highest, and the branches' geometric mean over the other's."""
    found = [[record.plan.recipe.lr for _, record in each] for each in networks.values() if each]
    text = " / ".join("–".join(f"{rate:g}" for rate in dict.fromkeys((min(own), max(own)))) for own in found)
    if len(found) < len(networks):
        return text
    branches, conventional = map(statistics.geometric_mean, found)
    return f"{text}, {branches / conventional:.1f} ×"


def _sides(texts: Sequence[str]) -> str:
    return " / ".join(text for text in texts if text != NONE) or NONE


def write_tables(path: Path, work: Work) -> None:
    """Put every table of which something is done where the file has its mark."""
    text = path.read_text()
    for name, table in TABLES.items():
        mark = re.search(rf"<!-- table: {name} -->.*?<!-- end -->", text, re.DOTALL)
        if mark is None:
            raise click.ClickException(f"{path} has no <!-- table: {name} --> … <!-- end -->")
        if accuracy := accuracy_table(table, work):
            parts = [f"<!-- table: {name} -->", accuracy, cost_table(table, work), command_list(table, work)]
            text = text.replace(mark[0], "\n\n".join([*filter(None, parts), "<!-- end -->"]))
    path.write_text(text)
