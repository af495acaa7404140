"""Batches go through a device in order, each step after what it needs and beside the other batches' steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from spectral_prep.choices import Device
from spectral_prep.encoding import Encoding, calibrate
from spectral_prep.errors import InputError, KernelError
from spectral_prep.kernel import cuda, dispatch, fused_split
from spectral_prep.kernel.stream import Step, chosen_device, pipelined, split_stream
from spectral_prep.spectrum import SpectralSpec, split
from tests.prep.test_spectrum import images

SPEC = SpectralSpec(2, 2)
SIZES = (3, 3, 3, 3, 1)


class Event:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def synchronize(self) -> None:
        self.log.append(f"host waits for {self.name}")


class RecordedQueues:
    """A device that is the host, and writes down in what order it is asked for what."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current: Step | None = None
        self.count = {"in": 0, "split": 0, "out": 0}

    @contextlib.contextmanager
    def on(self, step: Step) -> Iterator[None]:
        assert self.current is None
        self.current, self.count[step] = step, self.count[step] + 1
        yield
        self.current = None

    def mark(self, step: Step) -> Event:
        return Event(self.log, f"{step} {self.count[step]}")

    def after(self, step: Step, event: Event) -> None:
        self.log.append(f"{step} {self.count[step] + 1} after {event.name}")

    def upload(self, images_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        assert self.current == "in"
        self.log.append(f"upload {self.count['in']}")
        return images_NHWC.clone(), images_NHWC

    def download(self, stored_QNChw: Tensor) -> Tensor:
        assert self.current == "out"
        self.log.append(f"download {self.count['out']}")
        return stored_QNChw.clone()

    def used(self, tensor: Tensor, step: Step) -> None:
        assert self.current == step
        self.log.append(f"{'images' if tensor.dtype == torch.uint8 else 'spectrum'} in use by {step}")


@pytest.fixture
def batches() -> list[Tensor]:
    return list(torch.split(images(sum(SIZES), 8, 8, 3), list(SIZES)))


def queued(i: int) -> list[str]:
    return [
        f"upload {i}",
        f"split {i} after in {i}",
        "images in use by split",
        f"out {i} after split {i}",
        "spectrum in use by out",
        f"download {i}",
    ]


def test_three_batches_are_under_way_and_the_host_waits_for_the_oldest(batches: list[Tensor]) -> None:
    queues = RecordedQueues()
    results = []
    for stored in pipelined(batches, SPEC, Encoding("float16"), queues):
        queues.log.append("yield")
        results.append(stored)
    waits = [[f"host waits for out {i}", "yield"] for i in (1, 2, 3, 4, 5)]
    expected = [*queued(1), *queued(2), *queued(3), *waits[0], *queued(4), *waits[1], *queued(5)]
    expected += [*waits[2], *waits[3], *waits[4]]
    assert queues.log == expected
    assert [tuple(stored.shape) for stored in results] == [(4, n, 3, 4, 4) for n in SIZES]
    assert all(torch.equal(stored, fused_split(x, SPEC)) for x, stored in zip(batches, results, strict=True))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_batches_than_places(batches: list[Tensor], count: int) -> None:
    results = list(pipelined(batches[:count], SPEC, Encoding("float16"), RecordedQueues()))
    assert [stored.shape[1] for stored in results] == [3] * count


def test_a_cuda_kernel_that_fails_gives_way_to_torch_with_one_warning(
    batches: list[Tensor], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> Tensor:
        raise KernelError("no such device")

    monkeypatch.setattr(cuda.CudaKernel, "split", refuse)
    monkeypatch.setattr(dispatch, "_backend", lambda tensor: dispatch.WithFallback(cuda.CudaKernel()))
    dispatch._say_once.cache_clear()
    with caplog.at_level("WARNING", "spectral_prep"):
        results = list(pipelined(batches, SPEC, Encoding("float16"), RecordedQueues()))
    assert all(torch.equal(stored, split(x, SPEC).half()) for x, stored in zip(batches, results, strict=True))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_on_the_cpu_it_is_the_split_of_each_batch(
    batches: list[Tensor], device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    encoding = calibrate(split(batches[0], SPEC), SPEC)
    results = list(split_stream(batches, SPEC, encoding, device))
    assert all(torch.equal(r, fused_split(x, SPEC, encoding=encoding)) for x, r in zip(batches, results, strict=True))


def test_gpus_are_taken_in_turn_and_a_missing_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [chosen_device("auto", turn).index for turn in range(4)] == [0, 1, 0, 1]
    assert chosen_device("cpu", 1) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="no GPU"):
        chosen_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_through_a_gpu_come_the_bits_of_the_cpu(batches: list[Tensor]) -> None:
    encoding = calibrate(split(batches[0], SPEC), SPEC)
    results = list(split_stream(batches, SPEC, encoding, "cuda"))
    assert all(torch.equal(r, fused_split(x, SPEC, encoding=encoding)) for x, r in zip(batches, results, strict=True))
