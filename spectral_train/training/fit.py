"""The one training loop of the house, for branches and for the conventional network alike.

1. Take up the checkpoint, if there is one of the same plan.
2. An epoch: the rows in their seeded order, a step a batch, the learning rate a pure function of the step.
3. Score the held-out rows, with the averaged weights where the recipe averages.
4. Write the checkpoint, then the metrics. A kill between two epochs or inside one costs at most that epoch.
5. After the last epoch, or the last that patience allows, the network gets the weights that are kept.

The same seed on the same machine gives the same weights bit for bit, resumed or not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectral_prep.errors import InputError
from spectral_prep.store.record_file import plain
from spectral_prep.system.watch import Step, tell
from spectral_train.data.augment import Augmenter, SpectralInput
from spectral_train.data.loader import LoaderOptions, ShardLoader, batches
from spectral_train.data.order import Positions
from spectral_train.data.rows import RowSource
from spectral_train.device import deterministic, seeded
from spectral_train.recipe.augmentation import Augmentation
from spectral_train.recipe.recipe import Recipe
from spectral_train.recipe.schedules import factor
from spectral_train.run.metrics import EpochMetrics, Log, write_lines
from spectral_train.run.paths import NetworkPaths
from spectral_train.run.record import NetworkPlan, same_plan
from spectral_train.run.widths import WidthRule
from spectral_train.seeds import derive_seed
from spectral_train.training import checkpoint
from spectral_train.training.logs import Writer, epoch_logs
from spectral_train.training.state import State, exhausted, kept_epoch
from spectral_train.training.trainable import require_trainable


class DivergedError(InputError):
    """A loss that is no longer finite."""


@dataclass(frozen=True)
class Partition:
    """Which positions of the training split are trained on, a view at a time, and which are held out.

    Bad rows are in neither, and held-out rows are the images themselves, never a view of them.
    """

    training: tuple[Positions, ...]
    held_out: Positions


@dataclass(frozen=True)
class Training:
    """One network's training: what, into which folder, on which device, and who hears of each epoch.

    `compiled` runs the network through `torch.compile`: the same checkpoint, other rounding. `logs` are names of
    `training.logs.LOGS`. A `trial` of a learning rate is called after it in what is said of its progress. `width_rule`
    is what the plan's width follows from, for the record alone.

    Raises
    ------
    InputError
        If the device cannot train in the recipe's precision, or its augmentation would not be exact.
    """

    plan: NetworkPlan
    paths: NetworkPaths
    device: torch.device
    log: Log
    compiled: bool = False
    logs: tuple[str, ...] = ()
    trial: bool = False
    width_rule: WidthRule | None = None

    def __post_init__(self) -> None:
        self.augmenter  # noqa: B018 refuses what would not be exact
        if self.recipe.precision == "float16" and self.device.type != "cuda":
            raise InputError(
                "float16 trains on CUDA only",
                expected="float32 or bfloat16",
                got=f"float16 on {self.device.type}",
                run="the same command with --set precision=bfloat16",
            )

    @property
    def title(self) -> str:
        """How progress calls this training: "branch 3", or "branch 3, rate 0.002" for a trial of that rate."""
        return f"{self.plan.name}, rate {self.recipe.lr:g}" if self.trial else self.plan.name

    @property
    def recipe(self) -> Recipe:
        """How."""
        return self.plan.recipe

    @property
    def seed(self) -> int:
        """The seed of this network's weights, order and noise: its own, derived from the recipe's and its name."""
        return derive_seed(self.recipe.seed, self.plan.name)

    @property
    def augmenter(self) -> Augmenter:
        """What training batches go through; raise `InputError` if it would not be exact in these spectrals."""
        plan = self.plan
        spectral_input = SpectralInput.of_images(plan) if plan.shard is None else SpectralInput.of(plan)
        return Augmenter.of(Augmentation.parse(plan.recipe.augment), spectral_input, plan.recipe.noise, self.seed)


@dataclass(frozen=True)
class Fitting:
    """One network while it is fitted: its state, its batches, and the held-out rows that score it."""

    state: State
    loader: ShardLoader
    held_out: Positions
    training: Training

    @classmethod
    def begin(cls, model: nn.Module, examples: RowSource, partition: Partition, training: Training) -> Fitting:
        """Take up the checkpoint, if there is one.

        Raises
        ------
        PlanMismatchError
            If the folder holds a checkpoint of another plan.
        """
        recipe, rows = training.recipe, len(partition.training[0])
        if rows == 1:
            require_trainable(training.plan, rows)
        loader = ShardLoader(
            examples,
            recipe.batch_size,
            training.seed,
            device=training.device,
            change=training.augmenter,
            options=LoaderOptions(
                views=partition.training,
                drop_last=_leaves_a_lone_row(rows, recipe.batch_size),
            ),
        )
        state = State.fresh(model, recipe, training.device)
        _resume(state, training)
        if state.history:  # a kill may have come between the checkpoint and its line
            write_lines(training.paths.metrics, state.history)
        return cls(state, loader, partition.held_out, training)

    @property
    def unfinished(self) -> bool:
        """Whether another epoch is due."""
        history, recipe = self.state.history, self.training.recipe
        return len(history) < recipe.epochs and not exhausted(history, recipe.patience)

    def tell(self, rows: int = 0, *, ended: bool = False) -> None:
        """Tell whoever watches how far the training is, with so many rows of this epoch."""
        history, recipe = self.state.history, self.training.recipe
        each = len(self.loader.views[0])
        epoch = len(history) if ended else len(history) + 1
        note = f"epoch {epoch}/{recipe.epochs}"
        note += f", held-out accuracy {100 * history[-1].held_out_accuracy:.2f} %" if history else ""
        done = len(history) * each + rows
        tell(Step(self.training.title, done, recipe.epochs * each, "images", note, ended=ended))

    def record(self, train_loss: float, train_seconds: float) -> EpochMetrics:
        """Score the epoch that was trained, write the checkpoint and then the metrics.

        Raises
        ------
        InputError
            If a loss is not finite; the message says what to try.
        """
        state, training, epoch = self.state, self.training, len(self.state.history)
        started = time.perf_counter()
        loss, accuracy = score(state.scored, self.loader.rows, self.held_out, training)
        _require_finite(train_loss, loss, epoch, training)
        lr = state.optimizer.param_groups[0]["lr"]
        metrics = EpochMetrics(epoch + 1, train_loss, loss, accuracy, lr, train_seconds + time.perf_counter() - started)
        state.remember(metrics, training.recipe.patience)
        checkpoint.save(training.paths, state.tensors(), state.content(plain(training.plan)))
        write_lines(training.paths.metrics, state.history)
        training.log(f"{training.title}: {metrics.line(training.recipe.epochs)}")
        return metrics

    def finish(self) -> tuple[EpochMetrics, ...]:
        """Give the network the weights that are kept and return the metrics of every epoch."""
        history, training = self.state.history, self.training
        if patience := training.recipe.patience:
            kept = kept_epoch(history, patience).epoch
            training.log(f"{training.title}: epoch {kept} of {len(history)} is kept: lowest held-out loss")
        self.state.finish()
        self.tell(ended=True)
        return tuple(history)


def fit(model: nn.Module, examples: RowSource, partition: Partition, training: Training) -> tuple[EpochMetrics, ...]:
    """Train the model in place to the end of its recipe and return the metrics of every epoch.

    Raises
    ------
    PlanMismatchError
        If the folder holds a checkpoint of another plan.
    InputError
        If the loss stops being finite; the message says what to try.
    """
    fitting = Fitting.begin(model, examples, partition, training)
    if training.compiled:
        model.compile()
    with deterministic(), logs_of(training, fitting.state.history) as write_logs:
        while fitting.unfinished:
            started = time.perf_counter()
            train_loss = train_epoch(fitting)
            write_logs(fitting.record(train_loss, time.perf_counter() - started))
    return fitting.finish()


def logs_of(training: Training, history: Sequence[EpochMetrics]) -> AbstractContextManager[Writer]:
    """Return what writes the epochs of a training to its logs, in a context that ends them."""
    return epoch_logs(training.plan, training.paths, training.logs, history, training.log)


def score(model: nn.Module, examples: RowSource, positions: Positions, training: Training) -> tuple[float, float]:
    """Return (mean cross-entropy in nats, accuracy 0 to 1) on these rows, long paper eq. (1)."""
    loss, right = 0.0, 0
    for logits, y in _logits(model, examples, positions, training):
        loss += functional.cross_entropy(logits.double(), y, reduction="sum").item()
        right += int((logits.argmax(1) == y).sum())
    return loss / len(positions), right / len(positions)


def log_probabilities(model: nn.Module, examples: RowSource, positions: Positions, training: Training) -> Tensor:
    """Return the log-softmax outputs of these rows, (n, classes) float32 on the CPU, in the order of the positions."""
    outputs: Tensor | None = None
    done = 0
    for logits, _ in _logits(model, examples, positions, training):
        outputs = torch.empty(len(positions), logits.shape[1]) if outputs is None else outputs
        outputs[done : done + len(logits)] = functional.log_softmax(logits, 1)
        done += len(logits)
    return torch.empty(0, 0) if outputs is None else outputs


def _logits(
    model: nn.Module, examples: RowSource, positions: Positions, training: Training
) -> Iterator[tuple[Tensor, Tensor]]:
    model.eval()
    with torch.inference_mode():
        for x, y in batches(examples, positions, training.recipe.batch_size, training.device):
            with autocast(training):
                logits = model(_laid_out(x, training.recipe))
            yield logits.float(), y


def train_epoch(fitting: Fitting) -> float:
    """Return the mean loss of the epoch's rows, each as it was when its batch came."""
    state, training, epoch = fitting.state, fitting.training, len(fitting.state.history)
    fitting.loader.set_epoch(epoch)
    state.model.train()
    total, rows = torch.zeros((), dtype=torch.float64, device=training.device), 0
    fitting.tell()
    with seeded(derive_seed(training.seed, "layers", epoch), training.device):  # dropout
        for step, (x, y) in enumerate(fitting.loader, epoch * len(fitting.loader)):
            with autocast(training):
                logits = state.model(_laid_out(x, training.recipe))
                loss = functional.cross_entropy(logits, y, label_smoothing=training.recipe.label_smoothing)
            state.optimizer.zero_grad()
            state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            move(fitting, step)
            total += loss.detach() * len(y)
            rows += len(y)
            fitting.tell(rows)
    return float(total) / rows


def move(fitting: Fitting, step: int) -> None:
    """Move the weights along their gradients; `step` counts from the first of the training."""
    state, recipe = fitting.state, fitting.training.recipe
    for parameters in state.optimizer.param_groups:
        parameters["lr"] = recipe.lr * factor(recipe, step / (recipe.epochs * len(fitting.loader)))
    if recipe.clip:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.average(recipe.ema, step)


def _leaves_a_lone_row(rows: int, batch_size: int) -> bool:
    """Whether the last batch would be one row: batch norm over one-pixel maps has no deviation. It is left out."""
    return batch_size > 1 and rows > 1 and rows % batch_size == 1


def _laid_out(x: Tensor, recipe: Recipe) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if recipe.channels_last else x


def autocast(training: Training) -> torch.autocast:
    """Return the context in which a network computes in the recipe's precision."""
    precision = training.recipe.precision
    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(training.device.type, dtype, enabled=precision != "float32")


def _resume(state: State, training: Training) -> None:
    content = checkpoint.read_content(training.paths)
    if content is None:
        return
    same_plan(content.plan, training.plan, training.paths)
    try:
        state.restore(checkpoint.read_tensors(training.paths), content)
    except (RuntimeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise checkpoint.damaged(training.paths, error) from error


def _require_finite(train_loss: float, held_out_loss: float, epoch: int, training: Training) -> None:
    if not (math.isfinite(train_loss) and math.isfinite(held_out_loss)):
        raise DivergedError(
            f"{training.plan.name} diverged in epoch {epoch + 1}",
            where=training.paths.root,
            expected="a finite loss",
            got=f"{train_loss} on training rows, {held_out_loss} on held-out rows",
            run=f"the same command with --lr {training.recipe.lr / 10:g} and another --run",
        )
