"""Every path of a run, in one place.

```
runs/mnist-q16-fc/
  branch-00/ … branch-15/    one folder a branch, written by whichever node trained it
    checkpoint.safetensors   while training: weights, optimizer state and history of the last finished epoch
    training.lock            while training: which process, on which host, since when
    metrics.jsonl            one line an epoch
    tensorboard/             the same as scalars, if TensorBoard is installed
    model.safetensors        the weights, when done
    outputs.safetensors      log-probabilities on held-out and test rows: all that the ensemble needs
    branch.json              the record that vouches for both; written last: its presence means done
    rates.json               with --find-rate: the learning rates that were tried; rates/ has the metrics of each
    fusion-logits.json       the record of fusion-logits.safetensors: what the network says of all rows, for `fuse`
  fused/                     the head that combines all branches; fused-without-03/ that of all but branch 3
  baseline/                  the conventional network, with the same files
```
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic

from spectral_prep.grid import SpectralSpec
from spectral_prep.places import at, exists
from spectral_prep.places.url import P, Place, inside
from spectral_prep.system.files import Advice
from spectral_train.data.grouping import DEFAULT_CHOICE, ShardChoice
from spectral_train.data.shard import Shard
from spectral_train.folders import DEFAULT_RUNS, require_run_folder
from spectral_train.recipe.recipe import Recipe, resolve

HEAD = re.compile(r"fused(-without-\d+(\+\d+)*)?")
"""The name of the folder of a head (`RunPaths.fused`)."""

WRITING = Advice(
    full="free space, then the same command: finished epochs are kept",
    refused="the same command with --run (of soup: --out, of collect: RUN) in such a folder",
)
"""For the user whose run cannot be written."""

WRITING_BESIDE = Advice(
    full="free space, then the same command: what was there is kept",
    refused="the same command on a copy of the run in such a folder",
)
"""For the user whose finished run cannot be added to."""


@dataclass(frozen=True)
class NetworkPaths(Generic[P]):
    """Where things are inside the folder of one trained network."""

    root: P

    @property
    def record(self) -> P:
        """`branch.json`: written last; its presence means done."""
        return inside(self.root, "branch.json")

    @property
    def checkpoint(self) -> P:
        """The state after the last finished epoch; removed when done."""
        return inside(self.root, "checkpoint.safetensors")

    @property
    def lock(self) -> P:
        """Held by the process that trains this network."""
        return inside(self.root, "training.lock")

    @property
    def model(self) -> P:
        """The final weights."""
        return inside(self.root, "model.safetensors")

    @property
    def outputs(self) -> P:
        """Log-probabilities on held-out and test rows."""
        return inside(self.root, "outputs.safetensors")

    @property
    def metrics(self) -> P:
        """One JSON line an epoch."""
        return inside(self.root, "metrics.jsonl")

    def fusion_inputs(self, on: str) -> P:
        """What the network says of training, held-out and test rows: its `logits` or `features`."""
        return inside(self.root, f"fusion-{on}.safetensors")

    def fusion_record(self, on: str) -> P:
        """Vouches for `fusion_inputs`; written last."""
        return inside(self.root, f"fusion-{on}.json")

    @property
    def rates_record(self) -> P:
        """The learning rates that were tried, where `--find-rate` was given."""
        return inside(self.root, "rates.json")

    @property
    def rates(self) -> P:
        """The metrics of each of these trials, a folder a rate."""
        return inside(self.root, "rates")

    @property
    def fused_record(self) -> P:
        """`fused.json`, of a head that combines branches; written last."""
        return inside(self.root, "fused.json")

    @property
    def tensorboard(self) -> P:
        """Event files."""
        return inside(self.root, "tensorboard")


@dataclass(frozen=True)
class RunPaths(Generic[P]):
    """Where the networks of one run are."""

    root: P

    def branch(self, shard: int) -> NetworkPaths[P]:
        """The folder of one branch.

        >>> from pathlib import Path
        >>> RunPaths(Path("run")).branch(3).root.as_posix()
        'run/branch-03'
        """
        return NetworkPaths(inside(self.root, f"branch-{shard:02d}"))

    @property
    def baseline(self) -> NetworkPaths[P]:
        """The conventional network, for comparison."""
        return NetworkPaths(inside(self.root, "baseline"))

    def fused(self, missing: Collection[int] = ()) -> NetworkPaths[P]:
        """The head that combines all branches but these.

        >>> from pathlib import Path
        >>> RunPaths(Path("run")).fused([3]).root.as_posix()
        'run/fused-without-03'
        """
        lost = "+".join(f"{shard:02d}" for shard in sorted(missing))
        return NetworkPaths(inside(self.root, f"fused-without-{lost}" if lost else "fused"))

    def finished(self) -> tuple[int, ...]:
        """Return the shards whose branches are done, ascending."""
        names = at(self.root).folders() if at(self.root).is_folder() else []
        found = [match for name in names if (match := re.fullmatch(r"branch-(\d+)", name))]
        done = [match for match in found if exists(NetworkPaths(inside(self.root, match[0])).record)]
        return tuple(sorted(int(match[1]) for match in done))


def without_options(shards: Collection[int]) -> str:
    """Return the options of `spectral-ensemble` that leave these branches out, each behind a space.

    >>> without_options([0, 3])
    ' --without 0 --without 3'
    """
    return "".join(f" --without {shard}" for shard in shards)


def default_run(dataset: str, spec: SpectralSpec, model: str, choice: ShardChoice = DEFAULT_CHOICE) -> RunPaths:
    """Return where a run goes unless the user says: its name tells the data set and whatever is not the default.

    >>> default_run("mnist", SpectralSpec(4, 4), "fc").root.as_posix()
    'runs/mnist-q16-fc'
    >>> default_run("mnist", SpectralSpec(4, 4), "timm:resnet18").root.as_posix()
    'runs/mnist-q16-timm-resnet18'
    >>> default_run("cifar10", SpectralSpec(4, 4, transform="dct2"), "conv", ShardChoice(4, "balanced", (0,))).root.name
    'cifar10-q16-dct2-s4-balanced-common0-conv'
    """
    parts = [dataset, f"q{spec.q}"]
    parts += [name for name, default in ((spec.layout, "blocks"), (spec.transform, "dct")) if name != default]
    if choice.count(spec.q) != spec.q:
        usual = choice.grouping == DEFAULT_CHOICE.grouping
        parts += [f"s{choice.shards}", *([] if usual else [choice.grouping])]
    if choice.common:
        parts.append("common" + "+".join(map(str, choice.common)))
    name, mark, weights = model.replace(":", "-").partition("@")
    return RunPaths(DEFAULT_RUNS / "-".join([*parts, name, *([f"pretrained-{weights[:8]}"] if mark else [])]))


def run_of(shard: Shard, recipe: Recipe, run: Place | None) -> RunPaths:
    """Return the run that was given, or the default one for this shard and its recipe.

    Raises
    ------
    InputError
        If what was given is a data set, a part of one, or one network of a run.
    """
    if run is not None:
        require_run_folder(run, "--run ")
        return RunPaths(run)
    return default_run(shard.first.dataset, shard.spec, resolve(recipe, shard.input_shape).model, shard.choice)
