"""One network from plan to finished record, be it a branch or the baseline.

1. A finished network of the same plan is returned as it is.
2. Read the training rows, set the held-out ones apart, build the model from its seed, fit it.
3. Outputs on the held-out rows; let go of the training rows; outputs on the test rows.
4. Weights, then outputs, then the record that vouches for both; then the checkpoint goes.

At no time are the training and the test rows in memory together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn

from spectral_prep.errors import InputError
from spectral_prep.places import at, atomic_write, exists, refuse_irregular, remove_unheld, sole_use
from spectral_prep.store.record_file import plain, write_record
from spectral_prep.store.records import FileEntry
from spectral_prep.system.files import explained
from spectral_prep.system.threads import torch_threads
from spectral_train.data.holdout import held_out
from spectral_train.data.loader import usable
from spectral_train.data.order import Positions, by_view
from spectral_train.data.reader import RowReader
from spectral_train.data.rows import RowSource
from spectral_train.data.shard import Labels
from spectral_train.device import seeded
from spectral_train.models import parameter_count, size_in_bytes
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.metrics import EpochMetrics
from spectral_train.run.outputs import Outputs, to_bytes
from spectral_train.run.paths import WRITING, NetworkPaths
from spectral_train.run.record import NetworkPlan, NetworkRecord, read_network, same_plan
from spectral_train.run.weights import first_network
from spectral_train.seeds import derive_seed
from spectral_train.training.fit import Partition, Training, fit, log_probabilities
from spectral_train.training.processes import threads_for
from spectral_train.training.state import kept_epoch
from spectral_train.training.trainable import require_trainable


def finished(plan: NetworkPlan, paths: NetworkPaths) -> NetworkRecord | None:
    """Return the record if this network is done, None if not; raise `PlanMismatchError` if another one is done here."""
    if not exists(paths.record):
        return None
    record = read_network(paths)
    same_plan(plain(record.plan), plan, paths)
    tidy_finished(paths)
    return record


@contextlib.contextmanager
def alone(plan: NetworkPlan, paths: NetworkPaths) -> Iterator[NetworkRecord | None]:
    """Yield the record of a finished network, or None while this process is the only one that trains it.

    In a bucket nothing can be held: two trainings of one plan there write the same bits, whichever comes last.

    Raises
    ------
    InputError
        If there is no such network for inputs of this shape, or another process trains it: which, on which host and
        since when.
    PlanMismatchError, CorruptFileError
        As `finished` does.
    """
    record = finished(plan, paths)
    if record is not None:
        yield record
        return
    require_trainable(plan)
    with sole_use(paths.lock, f"{plan.name} is trained already", WRITING):
        yield finished(plan, paths)  # the other may have ended since


def train_network(training: Training, rows: RowReader) -> NetworkRecord:
    """Train a network that is not finished, from its last checkpoint if there is one, and write its record.

    Raises
    ------
    PlanMismatchError, InputError
        As `fit` does; `InputError` also if no row is left to train on.
    CorruptFileError
        As the reader does.
    """
    with torch_threads(threads_for(training.plan)):
        model = new_network(training)
        trained, held_out_outputs = _train(model, rows, training)
        return write_network(model, trained, held_out_outputs, outputs_on_test(model, rows, training), training)


def new_network(training: Training) -> nn.Module:
    """Return the network with the weights of its seed, on its device; what killed writes left in its folder goes."""
    tidy(training.paths)
    with seeded(derive_seed(training.seed, "weights")):
        return first_network(training.plan).to(training.device)


def partition_rows(rows: Labels, recipe: Recipe) -> Partition:
    """Return which rows are trained on and which are held out; raise `InputError` if either is none."""
    held, good = held_out(rows.ids, recipe.holdout, recipe.holdout_seed), usable(rows.y)
    partition = Partition(by_view(good & ~held, rows.views), by_view(good & held, rows.views)[0])
    if not partition.training[0].size or not partition.held_out.size:
        raise InputError(
            "too few good rows",
            expected="at least one to train on and one held out",
            got=f"{partition.training[0].size} and {partition.held_out.size}",
        )
    return partition


@dataclass(frozen=True)
class TrainingRows:
    """The training split, what of it is held out, and the ids of those rows."""

    examples: RowSource
    partition: Partition
    held_out_ids: npt.NDArray[np.int32]

    @classmethod
    def read(cls, rows: RowReader, recipe: Recipe) -> TrainingRows:
        """Read them; the ids of all other rows are of no use and not kept."""
        labels = rows.labels("train")
        partition = partition_rows(labels, recipe)
        held_out_ids, y = labels.ids[partition.held_out], labels.y
        del labels
        return cls(rows.examples("train", y), partition, held_out_ids)

    def held_out_outputs(self, model: nn.Module, training: Training) -> Outputs:
        """Return what a network says of the held-out rows."""
        return _outputs(model, self.examples, self.partition.held_out, self.held_out_ids, training)


@dataclass(frozen=True)
class Trained:
    """What a record says of how weights came about; `ingredients` as in `NetworkRecord`."""

    rows: int
    seconds: float
    held_out_loss: float
    held_out_accuracy: float
    ingredients: tuple[str, ...] = ()

    @classmethod
    def of(cls, history: Sequence[EpochMetrics], partition: Partition, recipe: Recipe) -> Trained:
        """Return what the epochs of a training came to."""
        kept = kept_epoch(history, recipe.patience)
        seconds = sum(epoch.seconds for epoch in history)
        return cls(partition.training[0].size, seconds, kept.held_out_loss, kept.held_out_accuracy)


def outputs_on_test(model: nn.Module, rows: RowReader, training: Training) -> Outputs:
    """Return what a network says of the test rows."""
    labels = rows.labels("test")
    positions = _positions(usable(labels.y))
    return _outputs(model, rows.examples("test", labels.y), positions, labels.ids[positions], training)


def write_network(
    model: nn.Module, trained: Trained, held_out_rows: Outputs, test_rows: Outputs, training: Training
) -> NetworkRecord:
    """Write weights, outputs, and last the record that vouches for both and for the metrics."""
    paths = training.paths
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
    contents = {paths.model: weights, paths.outputs: to_bytes(held_out_rows, test_rows)}
    for path, content in contents.items():
        atomic_write(path, content, WRITING)
    files = [FileEntry.of_bytes(paths.root, path, content) for path, content in contents.items()]
    if exists(paths.metrics):  # a soup has none
        files.append(FileEntry.of(paths.root, paths.metrics))
    record = NetworkRecord(
        plan=training.plan,
        parameters=parameter_count(model),
        size_bytes=size_in_bytes(model),
        device=training.device.type,
        seconds=trained.seconds,
        held_out_loss=trained.held_out_loss,
        held_out_accuracy=trained.held_out_accuracy,
        rows={"training": trained.rows, "held_out": len(held_out_rows.ids), "test": len(test_rows.ids)},
        files=tuple(files),
        ingredients=trained.ingredients,
        width_rule=training.width_rule,
    )
    write_record(paths.record, record, WRITING)
    with explained(paths.checkpoint, WRITING):
        at(paths.checkpoint).remove()
    return record


def _train(model: nn.Module, rows: RowReader, training: Training) -> tuple[Trained, Outputs]:
    read = TrainingRows.read(rows, training.recipe)
    history = fit(model, read.examples, read.partition, training)
    return Trained.of(history, read.partition, training.recipe), read.held_out_outputs(model, training)


def _outputs(
    model: nn.Module, examples: RowSource, positions: Positions, ids: npt.NDArray[np.int32], training: Training
) -> Outputs:
    values = log_probabilities(model, examples, positions, training)
    order = np.argsort(ids, kind="stable")
    labels = examples.y.cpu()[torch.from_numpy(positions[order])]
    return Outputs(values[torch.from_numpy(order)], ids[order], labels)


def tidy(paths: NetworkPaths) -> None:
    """Remove the temporary files of killed writes from a network's folder, for good, before it is written to.

    Raises
    ------
    InputError
        If it holds links, pipes or devices.
    """
    refuse_irregular(paths.root)
    at(paths.root).tidy(WRITING)


def tidy_finished(paths: NetworkPaths) -> None:
    """Remove what a kill right after a network's record left: its checkpoint, its lock."""
    with explained(paths.root, WRITING):
        at(paths.checkpoint).remove()
    remove_unheld(paths.lock)


def _positions(mask: npt.NDArray[np.bool_]) -> Positions:
    return np.flatnonzero(mask).astype(np.int32)
