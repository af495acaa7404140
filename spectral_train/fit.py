"""The one training loop of the house, for branches and for the conventional network alike.

1. Take up the checkpoint, if there is one of the same plan.
2. An epoch: the rows in their seeded order, a step a batch, the learning rate a pure function of the step.
3. Score the held-out rows.
4. Write the checkpoint, then the metrics. A kill between two epochs or inside one costs at most that epoch.

The same seed on the same machine gives the same weights bit for bit, resumed or not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectral_prep.errors import InputError
from spectral_train import checkpoint
from spectral_train.device import deterministic
from spectral_train.loader import Examples, Noise, Positions, batches, shuffled
from spectral_train.metrics import EpochMetrics, Report, scalars, write_lines
from spectral_train.recipes import OPTIMIZERS, SCHEDULES, Recipe
from spectral_train.record import BranchPlan, same_plan
from spectral_train.runs import BranchPaths
from spectral_train.seeds import derive_seed


@dataclass(frozen=True)
class Partition:
    """Which positions of the training split are trained on and which are held out; bad rows are in neither."""

    training: Positions
    held_out: Positions


@dataclass(frozen=True)
class Training:
    """One network's training: what, into which folder, on which device, and who hears of each epoch."""

    plan: BranchPlan
    paths: BranchPaths
    device: torch.device
    report: Report

    @property
    def recipe(self) -> Recipe:
        """How."""
        return self.plan.recipe

    @property
    def seed(self) -> int:
        """The seed of this network's weights, order and noise: its own, derived from the recipe's and its name."""
        return derive_seed(self.recipe.seed, self.plan.name)


def fit(model: nn.Module, examples: Examples, partition: Partition, training: Training) -> tuple[EpochMetrics, ...]:
    """Train the model in place to the end of its recipe and return the metrics of every epoch.

    Raises
    ------
    PlanMismatchError
        If the folder holds a checkpoint of another plan.
    InputError
        If the loss stops being finite; the message says what to try.
    """
    recipe, paths = training.recipe, training.paths
    optimizer = OPTIMIZERS[recipe.optimizer](model, recipe)
    history = _resume(model, optimizer, training)
    if history:  # a kill may have come between the checkpoint and its line
        write_lines(paths.metrics, history)
    with deterministic(), scalars(paths.tensorboard, history) as write_scalars:
        for epoch in range(len(history), recipe.epochs):
            started = time.perf_counter()
            train_loss = _train_epoch(model, optimizer, examples, partition.training, training, epoch)
            loss, accuracy = score(model, examples, partition.held_out, training)
            _require_finite(train_loss, loss, epoch, training)
            lr = optimizer.param_groups[0]["lr"]
            metrics = EpochMetrics(epoch + 1, train_loss, loss, accuracy, lr, time.perf_counter() - started)
            history.append(metrics)
            content = {"plan": training.plan.to_dict(), "history": [asdict(each) for each in history]}
            checkpoint.save(paths, model, optimizer, content)
            write_lines(paths.metrics, history)
            write_scalars(metrics)
            training.report(f"{training.plan.name}: {metrics.line(recipe.epochs)}")
    return tuple(history)


def score(model: nn.Module, examples: Examples, positions: Positions, training: Training) -> tuple[float, float]:
    """Return (mean cross-entropy in nats, accuracy 0 to 1) on these rows, long paper eq. (1)."""
    loss, right = 0.0, 0
    for logits, y in _logits(model, examples, positions, training):
        loss += functional.cross_entropy(logits.double(), y, reduction="sum").item()
        right += int((logits.argmax(1) == y).sum())
    return loss / len(positions), right / len(positions)


def log_probabilities(model: nn.Module, examples: Examples, positions: Positions, training: Training) -> Tensor:
    """Return the log-softmax outputs of these rows, (n, classes) float32 on the CPU, in the order of the positions."""
    outputs: Tensor | None = None
    done = 0
    for logits, _ in _logits(model, examples, positions, training):
        outputs = torch.empty(len(positions), logits.shape[1]) if outputs is None else outputs
        outputs[done : done + len(logits)] = functional.log_softmax(logits, 1)
        done += len(logits)
    return torch.empty(0, 0) if outputs is None else outputs


def _logits(
    model: nn.Module, examples: Examples, positions: Positions, training: Training
) -> Iterator[tuple[Tensor, Tensor]]:
    model.eval()
    with torch.inference_mode():
        for x, y in batches(examples, positions, training.recipe.batch_size, training.device):
            with _autocast(training):
                logits = model(x)
            yield logits.float(), y


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    positions: Positions,
    training: Training,
    epoch: int,
) -> float:
    model.train()
    recipe, device = training.recipe, training.device
    order = shuffled(positions, training.seed, epoch)
    steps = math.ceil(len(order) / recipe.batch_size)
    noise = Noise(recipe.noise, training.seed, epoch) if recipe.noise else None
    total = torch.zeros((), dtype=torch.float64, device=device)
    for step, (x, y) in enumerate(batches(examples, order, recipe.batch_size, device, noise)):
        progress = (epoch * steps + step) / (recipe.epochs * steps)
        for parameters in optimizer.param_groups:
            parameters["lr"] = recipe.lr * SCHEDULES[recipe.schedule](progress)
        with _autocast(training):
            loss = functional.cross_entropy(model(x), y, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(y)
    return float(total) / len(order)


def _autocast(training: Training) -> torch.autocast:
    return torch.autocast(training.device.type, torch.bfloat16, enabled=training.recipe.precision == "bfloat16")


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, training: Training) -> list[EpochMetrics]:
    content = checkpoint.read_content(training.paths)
    if content is None:
        return []
    same_plan(content["plan"], training.plan, training.paths)
    checkpoint.restore(training.paths, model, optimizer)
    return [EpochMetrics(**epoch) for epoch in content["history"]]


def _require_finite(train_loss: float, held_out_loss: float, epoch: int, training: Training) -> None:
    if not (math.isfinite(train_loss) and math.isfinite(held_out_loss)):
        raise InputError(
            f"{training.plan.name} diverged in epoch {epoch + 1}",
            where=training.paths.root,
            expected="a finite loss",
            got=f"{train_loss} on training rows, {held_out_loss} on held-out rows",
            run=f"the same command with --lr {training.recipe.lr / 10:g} and another --run",
        )
