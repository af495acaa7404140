"""What a finished branch says of its training, held-out and test rows, for a head fitted to all branches' words.

Input: a run and its data, or one shard of it. Output: the files of `run.fusion_inputs` in the folders of the branches.
A node writes those of its own branch from its own shard; nothing else is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from spectral_prep.errors import PlanMismatchError
from spectral_prep.places.url import Place
from spectral_prep.system.threads import torch_threads
from spectral_train.data.loader import batches, usable
from spectral_train.data.nearby import nearby
from spectral_train.data.order import Positions
from spectral_train.data.placement import check_shard, placement
from spectral_train.data.reader import RowReader, row_reader
from spectral_train.data.rows import RowSource
from spectral_train.data.shard import Labels, Shard, find_data, open_shard, open_shards
from spectral_train.device import DEFAULT_RESOURCES, Resources, choose_device, seeded
from spectral_train.models.speaking import LogProbabilities, WithFeatures
from spectral_train.run.fusion_inputs import TRAINING, FusionInputs, InputsRecord, RowValues, write_inputs, written
from spectral_train.run.metrics import Log, silent
from spectral_train.run.outputs import HELD_OUT, TEST
from spectral_train.run.paths import NetworkPaths, RunPaths, run_of
from spectral_train.run.record import NetworkRecord, read_network
from spectral_train.run.said import On
from spectral_train.run.weights import build_network, load_model
from spectral_train.training.fit import Training, autocast
from spectral_train.training.network import partition_rows
from spectral_train.training.plan import branch_plan
from spectral_train.training.processes import threads_for
from spectral_train.training.request import TrainingRequest

SCALED_BY = 4096
"""Rows that the range of each feature is taken from."""

LARGEST = 127
MARGIN = 1.25


def write_words(
    record: NetworkRecord,
    paths: NetworkPaths,
    shard: Shard,
    on: On = "logits",
    resources: Resources = DEFAULT_RESOURCES,
    log: Log = silent,
) -> InputsRecord:
    """Write what a finished branch says of all rows of its shard; what is written already is left as it is.

    Training rows are the images themselves, without augmentation; of views baked in, the first. Memory peaks at the
    rows, placed as for training, and the values: D · 2 (`logits`) or D (`features`) bytes a row.

    Raises
    ------
    PlanMismatchError
        If the shard is not the one that the branch was trained on.
    CorruptFileError
        As `check_shard` and `run.fusion_inputs.written` do.
    InputError
        If the network has no features (`WithFeatures`).
    """
    plan = record.plan
    if (shard.dataset_id, shard.spectrals) != (plan.dataset_id, plan.spectrals):
        raise PlanMismatchError(
            f"{plan.name} was trained on another shard",
            expected=f"data set {plan.dataset_id}, spectrals {plan.spectrals}",
            got=f"data set {shard.dataset_id}, spectrals {shard.spectrals}",
        )
    if (done := written(record, paths, on)) is not None:
        log(f"{plan.name}: its {on} are written already, {_amount(done)}")
        return done
    training = Training(plan, paths, choose_device(resources.device), log)
    model = load_model(plan, paths)
    network = WithFeatures(model, plan.input_shape) if on == "features" else LogProbabilities(model)
    shard = nearby(shard, resources.cache)
    chosen = placement(shard, "train", resources.memory, training.device)
    check_shard(shard, chosen)
    with torch_threads(threads_for(plan)):
        speaker = Speaker(network.to(training.device).eval(), training, on)
        said = write_inputs(speaker.of_all(row_reader(shard, training.device, chosen)), record, paths, on)
    log(f"{plan.name}: its {on} are written, {_amount(said)}")
    return said


def require_words(request: TrainingRequest, shard: int | None, on: On) -> None:
    """Refuse, before any training, branches that will not say this of their rows: `WithFeatures` tells which.

    Their networks are alike: one of a shard is built, on the CPU, and sees two rows.
    """
    if on == "features":
        first = open_shards(find_data(request.data), request.choice, shard)[0]
        plan = branch_plan(first, request.recipe)
        with seeded(0):
            WithFeatures(build_network(plan), plan.input_shape)


def write_all_words(request: TrainingRequest, shard: int | None, on: On, log: Log = silent) -> tuple[InputsRecord, ...]:
    """Write what a finished branch says of all rows, or all branches do (`shard` None), as `write_words` does."""
    root = find_data(request.data)
    opened = open_shards(root, request.choice, shard)
    run = run_of(opened[0], request.recipe, request.run)
    return tuple(
        write_words(read_network(paths), paths, each, on, request.resources, log)
        for each in opened
        for paths in (run.branch(each.index),)
    )


def write_missing_words(
    run: RunPaths, records: Sequence[NetworkRecord], data: Place, on: On, resources: Resources, log: Log = silent
) -> None:
    """Write what these branches of a run say, from the data set they were trained on, where it is not written yet."""
    root = find_data(data)
    for record in records:
        shard = record.plan.shard or 0
        write_words(record, run.branch(shard), open_shard(root, shard, record.plan.choice), on, resources, log)


class Speaker:
    """A network that says something of rows, as it is stored."""

    def __init__(self, network: nn.Module, training: Training, on: On) -> None:
        self.network, self.training, self.on = network, training, on

    def of_all(self, reader: RowReader) -> FusionInputs:
        """Return what it says of all rows; training and test rows are not in memory together."""
        labels = reader.labels("train")
        parts = partition_rows(labels, self.training.recipe)
        examples = reader.examples("train", labels.y)
        scale = self._scale(examples, parts.training[0])
        rows = {
            TRAINING: self._of(examples, labels, parts.training[0], scale),
            HELD_OUT: self._of(examples, labels, parts.held_out, scale),
        }
        del examples
        labels = reader.labels("test")
        good = np.flatnonzero(usable(labels.y)).astype(np.int32)
        rows[TEST] = self._of(reader.examples("test", labels.y), labels, good, scale)
        return FusionInputs(rows, scale)

    def _scale(self, examples: RowSource, positions: Positions) -> Tensor:
        """Return what a stored value is multiplied by, (D,): 1, or the range of each feature over 127 steps."""
        if self.on == "logits":
            return torch.ones(len(self.training.plan.classes))
        some = positions[np.linspace(0, len(positions) - 1, min(SCALED_BY, len(positions))).astype(np.int64)]
        largest = torch.cat(list(self._spoken(examples, some))).abs().amax(0) * MARGIN
        return torch.where(largest > 0, largest / LARGEST, 1.0)

    def _of(self, examples: RowSource, labels: Labels, positions: Positions, scale: Tensor) -> RowValues:
        dtype = torch.float16 if self.on == "logits" else torch.int8
        values = torch.empty(len(positions), len(scale), dtype=dtype)
        order = np.argsort(labels.ids[positions], kind="stable")
        place, done = torch.from_numpy(np.argsort(order)), 0
        for spoken in self._spoken(examples, positions):
            stored = spoken if self.on == "logits" else (spoken / scale).round().clamp(-LARGEST, LARGEST)
            values[place[done : done + len(spoken)]] = stored.to(dtype)
            done += len(spoken)
        return RowValues(values, labels.ids[positions[order]], labels.y.cpu()[torch.from_numpy(positions[order])])

    def _spoken(self, examples: RowSource, positions: Positions) -> Iterator[Tensor]:
        training, classes = self.training, len(self.training.plan.classes)
        with torch.inference_mode():
            for x, _ in batches(examples, positions, training.recipe.batch_size, training.device):
                with autocast(training):
                    spoken = self.network(x).float().cpu()
                yield spoken if self.on == "logits" else spoken[:, classes:]


def _amount(said: InputsRecord) -> str:
    return f"{sum(said.rows.values()):,} rows of {said.bytes_a_row} bytes"
