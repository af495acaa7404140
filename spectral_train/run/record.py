"""What a run remembers of a network: the plan, fixed before the first step, and the record, written after the last.

Input: a shard and a recipe. Output: `branch.json`, from which the ensemble and `predict` work without the shards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectral_prep.encoding import Encoding
from spectral_prep.errors import CorruptShardError, PlanMismatchError
from spectral_prep.spectrum import SpectralSpec
from spectral_prep.store.records import FileEntry, entries, read_record
from spectral_prep.system.differences import differences
from spectral_prep.system.files import sha256_of
from spectral_train.data.grouping import ShardChoice
from spectral_train.models import InputShape
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.paths import NetworkPaths

KIND = "branch"


@dataclass(frozen=True)
class NetworkPlan:
    """Everything that decides the weights, and the geometry that turns an image file into this network's input.

    `shard` is None for the baseline, whose input is the whole image. `mean` and `std` are those of the input's
    channels, in grey levels; `recipe.holdout_seed` and `recipe.holdout` choose the held-out rows.
    """

    dataset: str
    dataset_id: str
    classes: tuple[str, ...]
    height: int
    width: int
    channels: int
    resize: int | None
    spec: SpectralSpec
    encoding: Encoding
    shard: int | None
    shards: int
    grouping: str
    common: tuple[int, ...]
    spectrals: tuple[int, ...]
    input_shape: InputShape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe

    @property
    def name(self) -> str:
        """How messages call this network."""
        return "baseline" if self.shard is None else f"branch {self.shard}"

    @property
    def choice(self) -> ShardChoice:
        """How spectrals became the shards of the run."""
        return ShardChoice(self.shards, self.grouping, self.common)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that `from_dict` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> NetworkPlan:
        """Return the plan that `to_dict` wrote."""
        height, width, channels = record["input_shape"]
        lists = {name: tuple(record[name]) for name in ("classes", "common", "spectrals", "mean", "std")}
        return cls(
            **{
                **record,
                **lists,
                "input_shape": (height, width, channels),
                "spec": SpectralSpec.from_dict(record["spec"]),
                "encoding": Encoding.from_dict(record["encoding"]),
                "recipe": Recipe.from_dict(record["recipe"]),
            }
        )


@dataclass(frozen=True)
class NetworkRecord:
    """`branch.json`: the plan and what came of it.

    `size_bytes` is that of weights and buffers; `seconds` the training time of all epochs; `rows` counts "training",
    "held_out" and "test". `ingredients` holds the sha256 of the weights that a soup averages, and is empty otherwise.
    """

    plan: NetworkPlan
    parameters: int
    size_bytes: int
    device: str
    seconds: float
    held_out_loss: float
    held_out_accuracy: float
    rows: Mapping[str, int]
    files: tuple[FileEntry, ...]
    ingredients: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that `from_dict` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> NetworkRecord:
        """Return the record that `to_dict` wrote."""
        lists = {"files": entries(record["files"]), "ingredients": tuple(record.get("ingredients", ()))}
        return cls(**{**record, **lists, "plan": NetworkPlan.from_dict(record["plan"])})


def read_network(paths: NetworkPaths) -> NetworkRecord:
    """Return the record of a finished network after proving its files whole.

    Raises
    ------
    InputError
        If there is none.
    CorruptShardError
        If the record or a file it vouches for is damaged; the message names it.
    """
    record = NetworkRecord.from_dict(read_record(paths.record, KIND))
    for entry in record.files:
        path = paths.root / entry.path
        if not path.is_file() or path.stat().st_size != entry.size or sha256_of(path) != entry.sha256:
            raise CorruptShardError(
                f"a file of {record.plan.name} is missing or damaged",
                where=path,
                expected=f"{entry.size} bytes with sha256 {entry.sha256[:12]}…",
                run=f"delete {paths.root} and train it again",
            )
    return record


def same_plan(there: Mapping[str, Any], here: NetworkPlan, paths: NetworkPaths) -> None:
    """Refuse to go on in a folder that was begun with another plan; `there` is the plain form of that plan.

    Raises
    ------
    PlanMismatchError
        Listing every field that differs.
    """
    if found := differences(there, here.to_dict()):
        raise PlanMismatchError(
            f"{here.name} was begun here with another plan",
            where=paths.root,
            got="; ".join(found),
            run=f"the same command with another --run, or delete {paths.root}",
        )
