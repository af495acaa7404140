"""What a run remembers of a network: the plan, fixed before the first step, and the record, written after the last.

Input: a shard and a recipe. Output: `branch.json`, from which the ensemble and `predict` work without the shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import safetensors

from spectral_prep.encoding import Encoding
from spectral_prep.errors import CorruptFileError, PlanMismatchError
from spectral_prep.grid import SpectralSpec
from spectral_prep.places import at, exists, on_disk, sha256_of
from spectral_prep.printable import quoted
from spectral_prep.store.fields import Count, Id, Name, Positive, Sha256, Size, require
from spectral_prep.store.record_file import LEFT_OUT, Content, plain, read_record
from spectral_prep.store.records import FileEntry
from spectral_prep.system.differences import differences
from spectral_train.data.grouping import ShardChoice
from spectral_train.models import TIMM, InputShape
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.metrics import EpochMetrics, read_lines
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.tensor_file import readable
from spectral_train.run.widths import WidthRule

ROWS = {"training", "held_out", "test"}
FILES = {"model.safetensors", "outputs.safetensors"}
METRICS = "metrics.jsonl"
"""Vouched for, too, but in records of earlier releases; only a report reads it."""

RATE = "recipe.lr"
"""The field of a plan that a search for a learning rate decides."""
WIDTH = "recipe.model_options.width"
"""The field of a plan that `--width-by` decides."""


@dataclass(frozen=True)
class NetworkPlan:
    """Everything that decides the weights, and the geometry that turns an image file into this network's input.

    `shard` is None for the baseline, whose input is the whole image. `mean` and `std` are those of the input's
    channels, in grey levels; `recipe.holdout_seed` and `recipe.holdout` choose the held-out rows. `max_pixels` is how
    many an image file may promise, None for the usual limit.
    """

    dataset: Name
    dataset_id: Id
    classes: tuple[str, ...]
    height: Positive
    width: Positive
    channels: Positive
    resize: Positive | None
    spec: SpectralSpec
    encoding: Encoding
    shard: Count | None
    shards: Positive
    grouping: str
    common: tuple[Count, ...]
    spectrals: tuple[Count, ...]
    input_shape: InputShape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe
    max_pixels: Positive | None = field(default=None, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        q, channels = self.spec.q, self.channels
        maps = (len(self.spectrals) * channels, *self.spec.spectral_size(self.height, self.width))
        shape = (channels, self.height, self.width) if self.shard is None else maps
        require(tuple(self.input_shape) == shape, "an input of another shape", shape, self.input_shape)
        require(len(self.mean) == len(self.std) == shape[0], "statistics of other channels", shape[0], len(self.mean))
        require(q % self.shards == 0, "shards that do not divide the spectrals", q, self.shards)
        require(self.shard is None or self.shard < self.shards, "no such shard", f"less than {self.shards}", self.shard)
        once, known = len(set(self.spectrals)) == len(self.spectrals), {*self.spectrals, *self.common} <= set(range(q))
        require(once and known, "no such spectrals", f"of 0 to {q - 1}, each once", self.spectrals)
        scalars = len(self.encoding.scale_factor)
        require(self.encoding.fits(q), "an encoding of another number of spectrals", q, scalars)
        require(len(self.classes) > 0, "no classes", "at least one", 0)

    @property
    def name(self) -> str:
        """How messages call this network."""
        return "baseline" if self.shard is None else f"branch {self.shard}"

    @property
    def choice(self) -> ShardChoice:
        """How spectrals became the shards of the run."""
        return ShardChoice(self.shards, self.grouping, self.common)


@dataclass(frozen=True)
class NetworkRecord:
    """`branch.json`: the plan and what came of it.

    `size_bytes` is that of weights and buffers; `seconds` the training time of all epochs; `rows` counts "training",
    "held_out" and "test". `ingredients` holds the sha256 of the weights that a soup averages, and is empty otherwise.
    `width_rule` is what made the branches of the run unequally wide, None where nothing did or an earlier release wrote
    the record.
    """

    KIND: ClassVar[str] = "branch"

    plan: NetworkPlan
    parameters: Size
    size_bytes: Size
    device: str
    seconds: float
    held_out_loss: float
    held_out_accuracy: float
    rows: Mapping[str, Count]
    files: tuple[FileEntry, ...]
    ingredients: tuple[Sha256, ...] = ()
    width_rule: WidthRule | None = field(default=None, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        require(set(self.rows) == ROWS, "rows of other kinds", ", ".join(sorted(ROWS)), ", ".join(sorted(self.rows)))
        require(self.size_bytes > 0 and self.seconds > 0, "a network of nothing", "bytes and seconds", self.size_bytes)
        require(0 <= self.held_out_accuracy <= 1, "no accuracy", "0 to 1", self.held_out_accuracy)
        widths = self.plan.shards if self.width_rule is None else len(self.width_rule.widths)
        require(widths == self.plan.shards, "widths of other branches", self.plan.shards, widths)
        wide = self.width_rule is None or not self.plan.recipe.model.startswith(TIMM)
        require(wide, "widths of a network that has none", "no rule for them", self.plan.recipe.model)
        names = {entry.path for entry in self.files}
        require(FILES <= names <= {*FILES, METRICS}, "other files", ", ".join(sorted(FILES)), ", ".join(sorted(names)))


def _upgraded(content: Content) -> Content:
    """Add what records of earlier releases do not have; what is no record at all stays as it is, to be refused."""
    try:
        plan = content["plan"]
        # Before there was a seed for them alone, held-out rows were chosen by `seed`.
        recipe = {"holdout_seed": plan["recipe"]["seed"], "milestones": [], **plan["recipe"]}
        return {"ingredients": [], **content, "plan": {**plan, "recipe": recipe}}
    except (KeyError, TypeError):
        return content


def describe(paths: NetworkPaths) -> NetworkRecord:
    """Return the record of a finished network, whose files are not looked at; raises what `read_record` raises."""
    return read_record(paths.record, NetworkRecord, _upgraded, train_again(paths))


def read_network(paths: NetworkPaths) -> NetworkRecord:
    """Return the record of a finished network after proving its files whole.

    Raises
    ------
    InputError
        If there is none.
    CorruptFileError
        If the record or a file it vouches for is damaged; the message names it.
    """
    record = describe(paths)
    for entry in record.files:
        if entry.path != METRICS:
            require_file(f"a file of {record.plan.name}", entry, paths, train_again(paths))
    _require_sizes(record, paths)
    return record


def read_history(record: NetworkRecord, paths: NetworkPaths) -> tuple[EpochMetrics, ...]:
    """Return the metrics of every epoch of a finished network, none where there are none.

    Raises
    ------
    CorruptFileError
        If they are not those that the record vouches for.
    """
    for entry in record.files:
        if entry.path == METRICS:
            require_file(f"a file of {record.plan.name}", entry, paths, train_again(paths))
    return read_lines(paths.metrics)


def require_file(what: str, entry: FileEntry, paths: NetworkPaths, run: str) -> None:
    """Raise `CorruptFileError` if a file is not what a record vouches for; `what` it is and what to `run` say so."""
    path = paths.root / entry.path
    same = at(paths.root).holds(entry.path) and at(path).size() == entry.size
    if not same or sha256_of(on_disk(path)) != entry.sha256:
        raise CorruptFileError(
            f"{what} is missing or damaged",
            where=path,
            expected=f"{entry.size} bytes with sha256 {entry.sha256[:12]}…",
            run=run,
        )


def train_again(paths: NetworkPaths) -> str:
    """Return what to do about a network whose files cannot be used; its run tells how a branch was trained."""
    again = f"delete {quoted(paths.root)} and train it again"
    run = quoted(paths.root.parent)
    return again if paths.root.name == "baseline" else f"{again}: spectral-ensemble evaluate {run} then says how"


def _require_sizes(record: NetworkRecord, paths: NetworkPaths) -> None:
    """Hold the plan against the header of the weights: nothing is built that is larger than what the file holds."""
    with (
        readable(paths.model, "the weights cannot be read", train_again(paths)) as path,
        safetensors.safe_open(path, "pt") as file,
    ):
        tensors = len(file.keys())
    size, depth = at(paths.model).size() or 0, record.plan.recipe.model_options.get("depth", 0)
    if record.size_bytes > size or depth > tensors:
        raise CorruptFileError(
            f"the weights are not those of {record.plan.name}",
            where=paths.model,
            expected=f"{record.size_bytes} bytes, {depth:g} layers",
            got=f"{size} bytes, {tensors} tensors",
            run=train_again(paths),
        )


def same_plan(there: Mapping[str, Any], here: NetworkPlan, paths: NetworkPaths) -> None:
    """Refuse to go on in a folder that was begun with another plan; `there` is the plain form of that plan.

    Raises
    ------
    PlanMismatchError
        Listing every field that differs.
    """
    if found := differences(there, plain(here)):
        raise PlanMismatchError(
            f"{here.name} was begun here with another plan",
            where=paths.root,
            got="; ".join(found),
            run=_rule_left_out(found, paths) or f"the same command with another --run, or delete {paths.root}",
        )


def _rule_left_out(found: Sequence[str], paths: NetworkPaths) -> str | None:
    """Return the command with the option that chose all that differs, None where there is none."""
    if all(text.startswith(f"{RATE}:") for text in found) and exists(paths.rates_record):
        return "the same command with --find-rate, which chose the rate that is there; or with another --run"
    if all(text.startswith(f"{WIDTH}:") for text in found) and exists(paths.record):
        rule = describe(paths).width_rule
        option = None if rule is None else rule.option or "--width-by and the file that it was trained with"
        return option and f"the same command with {option}, which chose the width that is there; or with another --run"
    return None
