"""What the real launcher asks of the driver, recorded by the stub.

Run as `python -m tests.support.stub_scenarios NAME …`. It needs a process of its own: `libcuda.so.1` must be the stub
before anything looks for a driver. The tensors lie in the memory of the CPU and say that they are on a CUDA device;
torch's current stream is one number a thread.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from typing import Any

import torch
from torch import Tensor

from spectral_prep.errors import InputError, KernelError
from spectral_prep.kernel import launch, nvrtc
from spectral_prep.spectrum import SpectralSpec

SPEC = SpectralSpec(2, 2)
CALLS = (
    "cuInit", "cuDeviceGet", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent",
    "cuLibraryLoadData", "cuLibraryGetKernel", "cuLaunchKernel", "cuCtxPopCurrent",
)  # fmt: skip
PARAMETERS = 10

in_use: list[tuple[int, int]] = []  # (address of a tensor, stream) that torch's allocator was told of
compiled: list[str] = []
current = threading.local()


class Stream:
    def __init__(self, device: torch.device) -> None:
        self.device, self.cuda_stream = device, getattr(current, "stream", 0)


def on_device(index: int, tensor: Tensor) -> Tensor:
    """The same tensor, saying that it is on cuda:index; so does every tensor made from it."""

    def record_stream(self: Tensor, stream: Stream) -> None:
        in_use.append((self.data_ptr(), stream.cuda_stream))

    device = property(lambda self: torch.device("cuda", index))
    return tensor.as_subclass(type(f"OnDevice{index}", (Tensor,), {"device": device, "record_stream": record_stream}))


def split_on(index: int, stream: int) -> list[int]:
    """Split in this thread on a stream; return the addresses of the images and of the spectrum."""
    current.stream = stream
    images = on_device(index, torch.zeros(3, 8, 8, 1, dtype=torch.uint8))
    return [images.data_ptr(), launch.split(images, SPEC).data_ptr()]


def in_threads(*arguments: tuple[int, int]) -> list[list[int]]:
    together = threading.Barrier(len(arguments))
    addresses: dict[int, list[int]] = {}

    def work(place: int) -> None:
        together.wait()
        addresses[place] = split_on(*arguments[place])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [addresses[place] for place in range(len(arguments))]


def once() -> Any:
    return split_on(1, 7)


def threads() -> Any:
    return in_threads(*((1, 100 + i) for i in range(8)))


def devices() -> Any:
    return in_threads((0, 10)) + in_threads((3, 13)) + in_threads((1, 11), (2, 12))


def huge() -> Any:
    """More than 2³¹ coefficients of one image again and again: the spectrum's memory is never touched."""
    images = torch.zeros(1, 32, 48, 3, dtype=torch.uint8).expand(2**19, -1, -1, -1)
    return list(launch.split(on_device(0, images), SPEC).shape)


def nothing() -> Any:
    return list(launch.split(on_device(0, torch.zeros(0, 8, 8, 1, dtype=torch.uint8)), SPEC).shape)


def capture() -> Any:
    """What a first call says while a CUDA graph is captured, then the addresses of one before and of one within it."""
    current.capturing = True
    try:
        split_on(2, 5)
    except InputError as error:
        message = str(error)
    current.capturing = False
    before = split_on(2, 5)
    current.capturing = True
    within = split_on(2, 6)
    current.capturing = False
    return [message, before, within]


def errors() -> Any:
    """The message for each call that fails, then whether everything works once none does."""
    messages = {}
    for call in CALLS:
        os.environ["STUB_FAIL"] = call
        try:
            split_on(1, 7)
        except KernelError as error:
            messages[call] = str(error)
    os.environ["STUB_FAIL"] = ""
    split_on(1, 7)
    return messages


def main(names: list[str]) -> None:
    torch.cuda.current_stream = Stream  # type: ignore[assignment]
    torch.cuda.is_current_stream_capturing = lambda: getattr(current, "capturing", False)
    compile_header = nvrtc.compile_header

    def counted(macros: tuple[str, ...], arch: str) -> nvrtc.Compilation:
        compiled.append(arch)
        return compile_header(macros, arch)

    nvrtc.compile_header = counted
    stub = ctypes.CDLL("libcuda.so.1")
    stub.stub_log.restype = ctypes.c_char_p
    for _ in range(PARAMETERS):
        stub.stub_parameter(ctypes.c_size_t(8))
    played = {}
    for name in names:
        before = len(stub.stub_log())
        compiled.clear()
        in_use.clear()
        result = globals()[name]()
        log = stub.stub_log()[before:].decode().splitlines()
        played[name] = {"result": result, "log": log, "compiled": compiled[:], "in_use": in_use[:]}
    json.dump(played, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
