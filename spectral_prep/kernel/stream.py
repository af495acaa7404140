"""Batches of images to their stored spectra, one after another, on the CPU or through a GPU.

Input: an iterable of host batches, uint8 (N, H, W, C). Output: host tensors (Q, N, C, h, w), in the same order.

On a GPU three streams work at once, each on a batch of its own, and events hand a batch from one to the next:
  1. `in` copies batch i + 1 from pinned memory to the device;
  2. `split` transforms batch i;
  3. `out` copies the spectrum of batch i − 1 into pinned memory.
The host waits only for the copy that it yields. Where the CUDA kernel cannot be used, torch operations compute on the
device instead, and it is said once (`dispatch.py`).

The CUDA kernel gives the bits of the compiled CPU kernel, so a conversion that goes on with another device ends in the
same bytes. Torch operations, on whichever device, may round a value to the neighbouring step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from spectral_prep.choices import Device
from spectral_prep.encoding import Encoding
from spectral_prep.errors import InputError
from spectral_prep.kernel import fused_split
from spectral_prep.spectrum import SpectralSpec

Step = Literal["in", "split", "out"]

IN_FLIGHT = 3  # batches: one a step


class Queues(Protocol):
    """What of CUDA the pipeline needs: a stream a step, events, and memory that copies need not wait for."""

    def on(self, step: Step) -> AbstractContextManager[Any]:
        """Return a context in which work is queued on a step's stream."""

    def mark(self, step: Step) -> Any:
        """Return an event that is over when all that is queued on a step's stream is."""

    def after(self, step: Step, event: Any) -> None:
        """Let a step's stream wait for an event."""

    def upload(self, images_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Queue a copy to the device; return it and the pinned memory that it is made from."""

    def download(self, stored_QNChw: Tensor) -> Tensor:
        """Queue a copy to the host; return the pinned memory that it fills."""

    def used(self, tensor: Tensor, step: Step) -> None:
        """Tell the allocator that a tensor made on another stream is in use on a step's."""


class CudaQueues:
    """The three streams of one CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = {step: torch.cuda.Stream(device) for step in get_args(Step)}  # type: ignore[no-untyped-call]

    def on(self, step: Step) -> AbstractContextManager[Any]:
        """Return a context in which work is queued on a step's stream."""
        return torch.cuda.stream(self._streams[step])

    def mark(self, step: Step) -> torch.cuda.Event:
        """Return an event that is over when all that is queued on a step's stream is."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self._streams[step])
        return event

    def after(self, step: Step, event: torch.cuda.Event) -> None:
        """Let a step's stream wait for an event."""
        self._streams[step].wait_event(event)

    def upload(self, images_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Queue a copy to the device; return it and the pinned memory that it is made from."""
        pinned_NHWC = images_NHWC.pin_memory()
        return pinned_NHWC.to(self._device, non_blocking=True), pinned_NHWC

    def download(self, stored_QNChw: Tensor) -> Tensor:
        """Queue a copy to the host; return the pinned memory that it fills."""
        pinned_QNChw = torch.empty(stored_QNChw.shape, dtype=stored_QNChw.dtype, pin_memory=True)
        return pinned_QNChw.copy_(stored_QNChw, non_blocking=True)

    def used(self, tensor: Tensor, step: Step) -> None:
        """Tell the allocator that a tensor made on another stream is in use on a step's."""
        tensor.record_stream(self._streams[step])


def split_stream(
    batches_NHWC: Iterable[Tensor], spec: SpectralSpec, encoding: Encoding, device: Device = "auto", turn: int = 0
) -> Iterator[Tensor]:
    """Yield the stored spectrum of each batch; on a GPU three batches are under way at a time.

    >>> batches = (torch.zeros(n, 4, 4, 1, dtype=torch.uint8) for n in (2, 1))
    >>> [tuple(stored.shape) for stored in split_stream(batches, SpectralSpec(2, 2), Encoding("float16"), "cpu")]
    [(4, 2, 1, 2, 2), (4, 1, 1, 2, 2)]

    Parameters
    ----------
    batches_NHWC
        uint8 (N, H, W, C) on the host; the memory of one may be used again for the next.
    device
        `auto` is a GPU where there is one.
    turn
        Which of several GPUs: those who count up share them evenly.

    Raises
    ------
    InputError
        If there is no GPU and `cuda` is asked for, or the grid does not divide the images.
    """
    chosen = chosen_device(device, turn)
    if chosen.type == "cpu":
        return (fused_split(images_NHWC, spec, encoding=encoding) for images_NHWC in batches_NHWC)
    return pipelined(batches_NHWC, spec, encoding, CudaQueues(chosen))


def chosen_device(device: Device, turn: int = 0) -> torch.device:
    """Return the device that is meant; GPUs are counted without touching them, so that processes can still be forked.

    Raises
    ------
    InputError
        If there is no GPU and `cuda` is asked for.
    """
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if device == "cuda" and not gpus:
        raise InputError("there is no GPU that torch can use", run="the same command with --device cpu")
    return torch.device("cuda", turn % gpus) if gpus else torch.device("cpu")


def pipelined(
    batches_NHWC: Iterable[Tensor], spec: SpectralSpec, encoding: Encoding, queues: Queues
) -> Iterator[Tensor]:
    """Yield the stored spectrum of each batch, three batches under way at a time: see the module's head."""
    under_way: deque[tuple[Tensor, Any, Tensor]] = deque()  # result, its event, the pinned images it came from
    for images_NHWC in batches_NHWC:
        under_way.append(_queued(images_NHWC, spec, encoding, queues))
        if len(under_way) == IN_FLIGHT:
            yield _finished(under_way.popleft())
    while under_way:
        yield _finished(under_way.popleft())


def _queued(images_NHWC: Tensor, spec: SpectralSpec, encoding: Encoding, queues: Queues) -> tuple[Tensor, Any, Tensor]:
    with queues.on("in"):
        on_device_NHWC, pinned_NHWC = queues.upload(images_NHWC)
    queues.after("split", queues.mark("in"))
    with queues.on("split"):
        queues.used(on_device_NHWC, "split")
        stored_QNChw = fused_split(on_device_NHWC, spec, encoding=encoding)
    queues.after("out", queues.mark("split"))
    with queues.on("out"):
        queues.used(stored_QNChw, "out")
        pinned_QNChw = queues.download(stored_QNChw)
    return pinned_QNChw, queues.mark("out"), pinned_NHWC


def _finished(batch: tuple[Tensor, Any, Tensor]) -> Tensor:
    stored_QNChw, done, _ = batch
    done.synchronize()
    return stored_QNChw
