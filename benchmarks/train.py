"""Train the papers' systems on real data and write the tables of docs/results.md.

    taskset -c 0 python benchmarks/train.py --source data --work work                  # all: many hours
    taskset -c 0 python benchmarks/train.py --source data --work work cifar10-conv     # those whose names begin so
    python benchmarks/train.py --work work --tables docs/results.md                    # trains nothing

`data` holds `mnist/`, `cifar10/` and `tiny-imagenet/` as released; `work` gets the converted sets and the runs. What is
there is not made again, so a stopped benchmark goes on. One core and one thread a process: the times of two
networks then compare. Several at once need cores of their own, and other systems each.

The tables are put between the marks `<!-- table: NAME -->` and `<!-- end -->` of the file. Accuracies are on test
rows, mean ± standard deviation over the seeds that are done. Sizes and floating-point operations are counted. Speed-ups
come from training steps of the conventional network and of the costliest branch that take turns here and now, times
the epochs of each; minutes are those of the runs' records.
"""

from __future__ import annotations

import re
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from torch.nn import functional

from spectral_train.ensemble.combination import SCHEME_NAMES
from spectral_train.ensemble.evaluate import Evaluation, evaluate
from spectral_train.report.cost import Costs
from spectral_train.report.papers import published
from spectral_train.report.sections import markdown_table
from spectral_train.run.branches import read_branches
from spectral_train.run.outputs import TEST, read_outputs
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import NetworkPlan, read_network
from spectral_train.run.weights import build_network
from spectral_train.training.fit import Training, autocast
from spectral_train.training.state import State

STEPS = 5
NONE = "–"

SETS = {
    "mnist-q16": "--dataset mnist --q 16",
    "mnist-q16-dct2": "--dataset mnist --q 16 --transform dct2",
    "mnist-q16-none": "--dataset mnist --q 16 --transform none",
    "mnist-q16-tiles": "--dataset mnist --q 16 --layout tiles",
    "mnist-q28": "--dataset mnist --q 28",
    "cifar10-q4-dct2": "--dataset cifar10 --q 4 --transform dct2",
    "cifar10-q32": "--dataset cifar10 --q 32",
    "tiny-q4-dct2": "--dataset folder --q 4 --transform dct2",
}
SOURCES = {"mnist": "mnist", "cifar10": "cifar10", "tiny": "tiny-imagenet"}
"""The folder of `--source` by the first word of a set's name."""


@dataclass(frozen=True)
class System:
    """One line of a table.

    Parameters
    ----------
    data
        Of `SETS`.
    branches, baseline
        Options of `spectral-train --shard all` and of `spectral-train --baseline`; None trains none.
    beside
        The system whose conventional network this one is compared with, instead of one of its own.
    seeds
        0 to this number − 1.
    paper
        The recipe of `papers.PUBLISHED` whose figures stand beside it.
    """

    data: str
    branches: str | None = None
    baseline: str | None = None
    beside: str | None = None
    seeds: int = 1
    paper: str = ""

    def trainings(self) -> Iterator[tuple[str, str]]:
        """Yield what `spectral-train` trains and the options that it takes."""
        for kind, options in (("--shard all", self.branches), ("--baseline", self.baseline)):
            if options is not None:
                yield kind, options


_BF16 = "--set precision=bfloat16"
_FAST = f"{_BF16} --set channels_last=true"
_POSTER = "--recipe poster-mnist"
_ADAMW = f"{_POSTER} --optimizer adamw --lr 0.004 --set weight_decay=0.1 --set noise=0.1"
_SHORT = f"{_ADAMW} --epochs 10"
_FC, _TNN = ("--recipe paper-fc --epochs {}", "--recipe paper-tnn-mnist --epochs {}")
_FC_CIFAR = f"{_FC.format(5)} --set width=32"
_CONV = f"--recipe poster-cifar10 --epochs {{}} {_FAST}"
_DECOUPLED = "--optimizer adamw --lr 0.004 --set weight_decay=0.05 --set noise=0"
_TINY = f"--set warmup=0.1 --set weight_decay=0.05 --set label_smoothing=0.1 --set noise=0 {_FAST}"


def _tiny(
    model: str, widths: tuple[float, float], epochs: tuple[int, int], last_map: int, lr: float = 0.001, more: str = ""
) -> System:
    """Return an ImageNet architecture at small size; widths and epochs: of the branches, of the conventional one."""
    branches, conventional = (
        f"--model {model} --lr {lr} --epochs {each} {_TINY} --set width={width}"
        for each, width in zip(epochs, widths, strict=True)
    )
    return System(
        "tiny-q4-dct2",
        f"{branches} --augment flip,shift=1 --set last_map={last_map} {more}".strip(),
        f"{conventional} --augment flip,shift=2 --set last_map=2",
        paper=f"paper-{model}-imagenet",
    )


TABLES: Mapping[str, Mapping[str, System]] = {
    "mnist": {
        "mnist-fc-q16": System("mnist-q16", _POSTER, f"{_POSTER} {_BF16}", seeds=3, paper="poster-mnist"),
        "mnist-fc-q16-adamw": System("mnist-q16", _ADAMW, beside="mnist-fc-q16", seeds=3, paper="poster-mnist"),
        "mnist-fc-q16-common": System(
            "mnist-q16", f"{_ADAMW} --common 0", beside="mnist-fc-q16", seeds=3, paper="poster-mnist"
        ),
        "mnist-fc-q28": System("mnist-q28", _FC.format(8), f"{_FC.format(8)} {_BF16}", seeds=3, paper="paper-fc"),
        "mnist-tnn": System("mnist-q28", None, _TNN.format(8), seeds=3),
    },
    "mnist-ablations": {
        "mnist-dct": System("mnist-q16", _SHORT),
        "mnist-dct-common": System("mnist-q16", f"{_SHORT} --common 0"),
        "mnist-dct2": System("mnist-q16-dct2", _SHORT),
        "mnist-none": System("mnist-q16-none", _SHORT),
        "mnist-tiles": System("mnist-q16-tiles", _SHORT),
        "mnist-none-common": System("mnist-q16-none", f"{_SHORT} --common 0"),
        "mnist-s4-contiguous": System("mnist-q16", f"{_SHORT} --shards 4"),
        "mnist-s4-balanced": System("mnist-q16", f"{_SHORT} --shards 4 --grouping balanced"),
    },
    "cifar10": {
        "cifar10-conv-q4-common": System(
            "cifar10-q4-dct2",
            f"{_CONV.format(8)} --augment flip,shift=1 --common 0",
            f"{_CONV.format(8)} --augment flip,shift=2",
            paper="poster-cifar10",
        ),
        "cifar10-conv-small-q4-common": System(
            "cifar10-q4-dct2",
            f"{_CONV.format(20)} --augment flip,shift=1 --common 0 --set width=13",
            beside="cifar10-conv-q4-common",
        ),
        "cifar10-conv-small-q4-adamw": System(
            "cifar10-q4-dct2",
            f"{_CONV.format(14)} --augment flip,shift=1 --common 0 --set width=14 {_DECOUPLED}",
            beside="cifar10-conv-q4-common",
        ),
        "cifar10-fc-q32": System("cifar10-q32", _FC_CIFAR, f"{_FC_CIFAR} {_BF16}", seeds=3, paper="paper-fc"),
        "cifar10-fc-q32-slow": System(
            "cifar10-q32", f"{_FC_CIFAR} --lr 0.001", f"{_FC_CIFAR} --lr 0.001 {_BF16}", seeds=3, paper="paper-fc"
        ),
        "cifar10-tnn": System("cifar10-q32", None, f"{_TNN.format(5)} --set width=32", seeds=3),
    },
    "tiny": {
        "tiny-alexnet-q4": _tiny("alexnet", (0.25, 0.25), (15, 15), 2),
        "tiny-vgg16-q4": _tiny("vgg16", (0.144, 0.144), (12, 8), 1),
        "tiny-resnet34-q4": _tiny("resnet34", (0.17, 0.17), (10, 10), 2),
        "tiny-cyclemlp-q4": _tiny("cyclemlp", (0.16, 0.16), (10, 8), 1),
        "tiny-cyclemlp-q4-common": replace(
            _tiny("cyclemlp", (0.16, 0.16), (8, 8), 1, more="--common 0"), baseline=None, beside="tiny-cyclemlp-q4"
        ),
        "tiny-mobilevit-q4": _tiny("mobilevit", (0.15, 0.17), (14, 8), 1),
        "tiny-mobilevit-q4-fast": _tiny("mobilevit", (0.15, 0.17), (14, 8), 1, lr=0.003),
    },
}


def systems() -> dict[str, System]:
    """Return those of all tables by name."""
    return {name: system for table in TABLES.values() for name, system in table.items()}


@dataclass(frozen=True)
class Work:
    """Where everything lies."""

    root: Path

    def converted(self, data: str) -> Path:
        """A converted set."""
        return self.root / "spectral" / data

    def run(self, name: str, seed: int) -> RunPaths[Path]:
        """One system with one seed."""
        return RunPaths(self.root / "runs" / name / f"seed-{seed}")

    def done(self, name: str, system: System) -> tuple[int, ...]:
        """The seeds whose networks are all there."""
        return tuple(seed for seed in range(system.seeds) if self._complete(self.run(name, seed), system))

    def baselines(self, name: str, system: System) -> list[NetworkPaths[Path]]:
        """Every finished conventional network that a system is compared with."""
        source = system.beside or name
        paths = (self.run(source, seed).baseline for seed in range(systems()[source].seeds))
        return [path for path in paths if path.record.is_file()]

    @staticmethod
    def _complete(run: RunPaths[Path], system: System) -> bool:
        if system.branches is None:
            return run.baseline.record.is_file()
        numbers = run.finished()
        return bool(numbers) and len(numbers) == read_network(run.branch(numbers[0])).plan.shards


def commands(name: str, system: System, seed: int, work: Work) -> Iterator[list[str]]:
    """Yield what trains one system with one seed."""
    places = ["--data", str(work.converted(system.data)), "--run", str(work.run(name, seed).root)]
    for kind, options in system.trainings():
        yield ["spectral-train", *kind.split(), *places, "--seed", str(seed), *shlex.split(options)]


def convert(data: str, source: Path, work: Work) -> list[str]:
    """Return what converts a set."""
    places = ["--source", str(source / SOURCES[data.split("-")[0]]), "--out", str(work.converted(data))]
    return ["spectral-prep", "convert", *shlex.split(SETS[data]), *places]


def run(command: list[str]) -> None:
    """Say and run a command; its own progress goes where ours does."""
    click.echo(f"{time.strftime('%H:%M:%S')} {shlex.join(command)}")
    subprocess.run(command, check=True)


def accuracy_table(table: Mapping[str, System], work: Work) -> str:
    """Return how good every finished system is, beside its conventional network and the papers'."""
    heads = [
        "System",
        "Seeds",
        "Epochs",
        "Mean branch",
        "Highest",
        *SCHEME_NAMES,
        "Conventional",
        "Best − conv.",
        "Paper",
    ]
    return markdown_table([heads, *(line for name, system in table.items() for line in accuracies(name, system, work))])


def accuracies(name: str, system: System, work: Work) -> Iterator[list[str]]:
    """Yield the line of a system, if it is done."""
    seeds, baselines = work.done(name, system), work.baselines(name, system)
    if not seeds:
        return
    conventional = [read_outputs(paths.outputs, TEST).accuracy for paths in baselines]
    papers = ", ".join(
        f"{100 * (found.quoted or 0):.2f} ({100 * found.baseline:.2f})"
        for found in published(system.paper, SETS[system.data].split()[1])[:1]
    )
    if system.branches is None:
        epochs = str(read_network(baselines[0]).plan.recipe.epochs)
        yield [
            name,
            str(len(seeds)),
            epochs,
            *[NONE] * (len(SCHEME_NAMES) + 2),
            spread(conventional),
            NONE,
            papers or NONE,
        ]
        return
    found = [evaluate(work.run(name, seed).root) for seed in seeds]
    plan = read_network(work.run(name, seeds[0]).branch(0)).plan
    best = max(statistics.mean(each.ensemble[scheme] for each in found) for scheme in SCHEME_NAMES)
    gap = f"{100 * (best - statistics.mean(conventional)):+.2f}" if conventional else NONE
    measures: list[Callable[[Evaluation], float]] = [lambda each: each.mean_accuracy, lambda each: each.best_accuracy]
    yield [
        name,
        str(len(seeds)),
        " / ".join(str(each.recipe.epochs) for each in [plan, *(read_network(path).plan for path in baselines[:1])]),
        *(spread([measure(each) for each in found]) for measure in measures),
        *(spread([each.ensemble[scheme] for each in found]) for scheme in SCHEME_NAMES),
        spread(conventional) if conventional else NONE,
        gap,
        papers or NONE,
    ]


def cost_table(table: Mapping[str, System], work: Work) -> str:
    """Return what every finished system costs beside its conventional network; nothing where none has one."""
    heads = ["System", "MB, branches", "MB, conv.", "Compression", "of the best", "Computation", "Speed-up", "total"]
    heads += ["Minutes, slowest branch", "all", "conventional"]
    lines = [line for name, system in table.items() for line in costs(name, system, work)]
    return markdown_table([heads, *lines]) if lines else ""


def costs(name: str, system: System, work: Work) -> Iterator[list[str]]:
    """Yield the line of a system, if its branches and its conventional network are done."""
    seeds, baselines = work.done(name, system), work.baselines(name, system)
    if not seeds or not baselines or system.branches is None:
        return
    records, conventional = read_branches(work.run(name, seeds[0])), read_network(baselines[0])
    cost = Costs.of(records, conventional)
    _, largest = max(zip(cost.branches, records, strict=True), key=lambda pair: pair[0].flops)
    ratio = step_ratio(conventional.plan, largest.plan) * conventional.plan.recipe.epochs / largest.plan.recipe.epochs
    compression, computation = cost.compression, cost.computation
    assert compression is not None
    assert computation is not None
    yield [
        name,
        f"{cost.size / 1e6:.2f}",
        f"{conventional.size_bytes / 1e6:.2f}",
        *(f"{each:.2f} ×" for each in compression),
        f"{computation[0]:.2f} ×",
        f"{ratio:.2f} ×",
        f"{ratio / len(records):.2f} ×",
        *(f"{seconds / 60:.1f}" for seconds in (cost.slowest, sum(each.seconds for each in cost.branches))),
        f"{conventional.seconds / 60:.1f}",
    ]


def step_ratio(conventional: NetworkPlan, branch: NetworkPlan) -> float:
    """Return a conventional network's time of a training step, an image, over a branch's: interleaved, the median."""
    steps = [stepper(conventional), stepper(branch)]
    per_row = [plan.recipe.batch_size for plan in (conventional, branch)]
    rounds = [[seconds(step) / rows for step, rows in zip(steps, per_row, strict=True)] for _ in range(STEPS + 1)]
    return statistics.median(slow / fast for slow, fast in rounds[1:])


def stepper(plan: NetworkPlan) -> Callable[[], None]:
    """Return a training step of a network on random rows: forward, backward, the recipe's optimizer."""
    recipe, device = plan.recipe, torch.device("cpu")
    training = Training(plan, NetworkPaths(Path()), device, click.echo)
    state = State.fresh(build_network(plan), recipe, device)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    x = torch.randn(recipe.batch_size, *plan.input_shape).contiguous(memory_format=layout)
    y = torch.randint(len(plan.classes), (recipe.batch_size,))

    def step() -> None:
        with autocast(training):
            loss = functional.cross_entropy(state.model(x), y)
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def command_list(table: Mapping[str, System], work: Work) -> str:
    """Return the commands behind a table as a Markdown block, for the first seed and without the places."""
    lines = []
    for name, system in table.items():
        if work.done(name, system):
            lines += [f"# {name}: {SETS[system.data]}"]
            lines += [f"spectral-train {kind} {options}" for kind, options in system.trainings()]
    return "\n".join(["```sh", *lines, "```"])


def spread(values: Sequence[float]) -> str:
    """Return fractions as a percentage, several as mean ± standard deviation.

    >>> spread([0.5]), spread([0.5, 0.52])
    ('50.00', '51.00 ± 1.41')
    """
    mean = f"{100 * statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.2f}"


def write_tables(path: Path, work: Work) -> None:
    """Put every table where the file has its mark."""
    text = path.read_text()
    for name, table in TABLES.items():
        parts = [accuracy_table(table, work), cost_table(table, work), command_list(table, work)]
        filled = "\n\n".join(filter(None, [f"<!-- table: {name} -->", *parts, "<!-- end -->"]))
        mark = re.search(rf"<!-- table: {name} -->.*?<!-- end -->", text, re.DOTALL)
        if mark is None:
            raise click.ClickException(f"{path} has no <!-- table: {name} --> … <!-- end -->")
        text = text.replace(mark[0], filled)
    path.write_text(text)


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--source", type=click.Path(path_type=Path, exists=True), help="The releases.")
@click.option("--work", "root", type=click.Path(path_type=Path), required=True, help="Converted sets and runs.")
@click.option("--tables", type=click.Path(path_type=Path, exists=True), help="Only fill in this file's tables.")
@click.option("--seeds", type=click.IntRange(1), help="At most so many.")
def main(names: tuple[str, ...], source: Path | None, root: Path, tables: Path | None, seeds: int | None) -> None:
    """Train what is asked for, or fill in the tables."""
    work = Work(root)
    if tables is not None:
        torch.set_num_threads(1)
        write_tables(tables, work)
        return
    if source is None:
        raise click.UsageError("--source, or --tables")
    wanted = {name: each for name, each in systems().items() if not names or name.startswith(names)}
    for name, system in wanted.items():
        run(convert(system.data, source, work))
        for seed in range(min(system.seeds, seeds or system.seeds)):
            for command in commands(name, system, seed, work):
                run(command)


if __name__ == "__main__":
    main()
