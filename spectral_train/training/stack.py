"""All branches on one device, as one stacked model (long paper: scheduling of the sub-networks by `vmap`).

1. Each branch has its own seed, rows, order, augmentation, optimizer and checkpoint, as if it were trained alone.
2. For an epoch the weights and buffers of S networks become the slices of stacked tensors. A step is one forward and
   one backward pass over all S under `vmap`; then every branch's optimizer moves its own slice, in place.
3. After the epoch every branch is scored, checkpointed and recorded by the code that does it for one.

The same seeds give the same branches as training them apart, but for the rounding of batched kernels (and for dropout,
which draws other numbers). Branches that a kill left at different epochs train in groups until they are level.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from spectral_prep.errors import InputError
from spectral_prep.system.resources import usable_cpus
from spectral_prep.system.threads import torch_threads
from spectral_train.data.reader import RowReader
from spectral_train.device import deterministic, seeded
from spectral_train.run.metrics import EpochMetrics
from spectral_train.run.outputs import Outputs
from spectral_train.run.record import NetworkRecord
from spectral_train.seeds import derive_seed
from spectral_train.training.fit import Fitting, Training, autocast, logs_of, move
from spectral_train.training.network import Trained, TrainingRows, new_network, outputs_on_test, write_network
from spectral_train.training.processes import threads_for

Named = dict[str, Tensor]
NOT_STACKED = "the same command without --joint"


class Stack:
    """S networks of one architecture whose weights and buffers are slices of stacked tensors.

    The networks stay usable: their own tensors become views, so that a step of one network's optimizer is seen in the
    stack, and running statistics that the stack updates are seen in each network.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = tuple(models)
        self.weights, self.buffers = stack_module_state(list(models))
        self._base = copy.deepcopy(models[0])
        for stacked, kind in ((self.weights, nn.Module.named_parameters), (self.buffers, nn.Module.named_buffers)):
            for number, model in enumerate(models):
                for name, own in kind(model):
                    own.data = stacked[name].detach()[number]

    def __call__(self, x_SNChw: Tensor) -> Tensor:
        """Return the logits (S, N, classes) of each network on its own rows."""
        logits: Tensor = vmap(self._one, randomness="different")(self.weights, self.buffers, x_SNChw)
        return logits

    def backward(self, loss: Tensor) -> None:
        """Give every network the gradients of its own weights, laid out as these are: fused optimizers ask for it."""
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        for name, gradient_S in zip(self.weights, gradients, strict=True):
            for model, gradient in zip(self.models, gradient_S.contiguous(), strict=True):
                model.get_parameter(name).grad = gradient

    def _one(self, weights: Named, buffers: Named, x: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._base, (weights, buffers), (x,))
        return logits


def train_stacked(members: Sequence[tuple[Training, RowReader]]) -> tuple[NetworkRecord, ...]:
    """Train networks that are not finished as one, and write the record of each.

    All training rows have to be resident. The seconds of an epoch are shared equally among the branches.

    Raises
    ------
    InputError
        If `vmap` cannot take the network, the recipe asks for what a stack does not do, or as `fit` does.
    PlanMismatchError, CorruptFileError
        As `train_network` does.
    """
    if not members:
        return ()
    require_stackable(members[0][0])
    with torch_threads(threads_for(members[0][0].plan)):  # as apart: threads may change the bits of the first weights
        models = [new_network(training) for training, _ in members]
    try_out(models, members[0][0])
    done = _fitted(models, members)
    return tuple(
        write_network(model, trained, held_out, outputs_on_test(model, rows, training), training)
        for model, (trained, held_out), (training, rows) in zip(models, done, members, strict=True)
    )


def stacked_epoch(fittings: Sequence[Fitting]) -> list[float]:
    """Train every branch for the same epoch as one stack; return their mean losses."""
    first = fittings[0].training
    epoch, steps = len(fittings[0].state.history), len(fittings[0].loader)
    for fitting in fittings:
        fitting.loader.set_epoch(epoch)
        fitting.state.model.train()
    stack = Stack([fitting.state.model for fitting in fittings])
    total_S, rows = torch.zeros(len(fittings), dtype=torch.float64, device=first.device), 0
    with seeded(derive_seed(first.seed, "layers", epoch), first.device):  # dropout
        for step, batches in enumerate(zip(*(each.loader for each in fittings), strict=True), epoch * steps):
            x_SNChw, y_SN = (torch.stack(tensors) for tensors in zip(*batches, strict=True))
            with autocast(first):
                loss_S = _losses(stack(x_SNChw), y_SN, first.recipe.label_smoothing)
            stack.backward(loss_S.sum())
            for fitting in fittings:
                move(fitting, step)
            total_S += loss_S.detach() * y_SN.shape[1]
            rows += y_SN.shape[1]
            for fitting in fittings:
                fitting.tell(rows)
    return [float(total) / rows for total in total_S]


def _losses(logits_SNK: Tensor, y_SN: Tensor, label_smoothing: float) -> Tensor:
    """Return each network's mean loss (S,); y is (S, N) labels or (S, N, classes) shares."""
    each = functional.cross_entropy(
        logits_SNK.flatten(0, 1), y_SN.flatten(0, 1), label_smoothing=label_smoothing, reduction="none"
    )
    return each.view(logits_SNK.shape[:2]).mean(1)


def _fitted(
    models: Sequence[nn.Module], members: Sequence[tuple[Training, RowReader]]
) -> list[tuple[Trained, Outputs]]:
    """Train the networks in place and let go of all training rows; return what came of each."""
    read = [TrainingRows.read(rows, training.recipe) for training, rows in members]
    fittings = [
        Fitting.begin(model, rows.examples, rows.partition, training)
        for model, rows, (training, _) in zip(models, read, members, strict=True)
    ]
    with torch_threads(usable_cpus()), deterministic(), contextlib.ExitStack() as stack:
        writers: list[Callable[[EpochMetrics], None]] = [
            stack.enter_context(logs_of(each.training, each.state.history)) for each in fittings
        ]
        for level in _levels(fittings):
            started = time.perf_counter()
            losses = stacked_epoch([fittings[number] for number in level])
            seconds = (time.perf_counter() - started) / len(level)
            for number, loss in zip(level, losses, strict=True):
                writers[number](fittings[number].record(loss, seconds))
    return [
        (Trained.of(fitting.finish(), rows.partition, training.recipe), rows.held_out_outputs(model, training))
        for fitting, model, rows, (training, _) in zip(fittings, models, read, members, strict=True)
    ]


def _levels(fittings: Sequence[Fitting]) -> Iterator[list[int]]:
    """Yield, epoch after epoch, which branches train it: those of the fewest finished epochs."""
    while unfinished := [number for number, fitting in enumerate(fittings) if fitting.unfinished]:
        least = min(len(fittings[number].state.history) for number in unfinished)
        yield [number for number in unfinished if len(fittings[number].state.history) == least]


def require_stackable(training: Training) -> None:
    """Refuse options that a stack does not have; raise `InputError`, which names them."""
    recipe = training.recipe
    unable = {"--compile": training.compiled, "channels_last": recipe.channels_last}
    unable["precision=float16"] = recipe.precision == "float16"
    if refused := [name for name, asked in unable.items() if asked]:
        raise InputError(f"joint training does not do {', '.join(refused)}", run=NOT_STACKED)


def try_out(models: Sequence[nn.Module], training: Training) -> None:
    """Refuse a network that `vmap` cannot take before the first step; the networks themselves are left alone."""
    x_SNChw = torch.zeros(2, 2, *training.plan.input_shape, device=training.device)
    try:
        with seeded(0, training.device):
            stack = Stack([copy.deepcopy(model).train() for model in (models[0], models[-1])])
            stack.backward(stack(x_SNChw).sum())
    except torch.cuda.OutOfMemoryError:  # a RuntimeError that says nothing about the network
        raise
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"{training.plan.recipe.model} cannot be trained jointly: torch's vmap does not take it",
            got=error,
            run=NOT_STACKED,
        ) from error
