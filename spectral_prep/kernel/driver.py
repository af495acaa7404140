"""Run a compiled kernel on a GPU through the CUDA driver: which architecture a device has, and one launch.

Input: a cubin from `nvrtc.py`, the kernel's name, a device index, a stream and the kernel's parameters.
Output: nothing; the kernel is queued on that stream. Every refusal of the driver is a `KernelError`.

The device's primary context, the one torch uses, is made current for the call and taken off again: the thread may have
had none, or another device's.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spectral_prep.errors import InputError, KernelError

_one_at_a_time = threading.Lock()
_loaded: dict[tuple[bytes, str, int], Any] = {}


@functools.cache
def architecture(device: int) -> str:
    """Return the architecture of a device, as NVRTC calls it: `sm_90` for an H100.

    Raises
    ------
    KernelError
        If there is no driver or no such device.
    """
    driver = _driver()
    handle = _checked("cuDeviceGet", driver.cuDeviceGet(device), device)
    attributes = driver.CUdevice_attribute
    major, minor = (
        _checked("cuDeviceGetAttribute", driver.cuDeviceGetAttribute(attribute, handle), device)
        for attribute in (
            attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
    )
    return f"sm_{major}{minor}"


@dataclass(frozen=True)
class Stream:
    """Where a kernel is queued: the index of a device, and the handle that torch gives as `cuda_stream`, 0 the default.

    `capturing` says whether a CUDA graph is being captured: code cannot be loaded then, only used.
    """

    device: int
    handle: int
    capturing: bool = False


def launch(cubin: bytes, name: str, stream: Stream, blocks: int, threads: int, parameters: Sequence[Any]) -> None:
    """Queue one kernel on a stream.

    Parameters
    ----------
    blocks, threads
        Blocks of the grid and threads of a block, both along x.
    parameters
        ctypes values in the kernel's order.

    Raises
    ------
    InputError
        If the kernel would have to be loaded while a graph is captured.
    KernelError
        If the driver refuses any step; the message names the call.
    """
    driver = _driver()
    values = (ctypes.c_void_p * len(parameters))(*map(ctypes.addressof, parameters))
    grid, block, addresses = (blocks, 1, 1), (threads, 1, 1), ctypes.addressof(values)
    with _current_context(stream.device):
        kernel = driver.CUfunction(int(_kernel(cubin, name, stream)))
        status = driver.cuLaunchKernel(kernel, *grid, *block, 0, stream.handle, addresses, 0)
        _checked("cuLaunchKernel", status, stream.device)


@contextlib.contextmanager
def _current_context(device: int) -> Iterator[None]:
    driver = _driver()
    _checked("cuCtxPushCurrent", driver.cuCtxPushCurrent(_primary_context(device)), device)
    try:
        yield
    finally:
        _checked("cuCtxPopCurrent", driver.cuCtxPopCurrent(), device)


def _kernel(cubin: bytes, name: str, stream: Stream) -> Any:
    with _one_at_a_time:
        if (cubin, name, stream.device) not in _loaded:
            if stream.capturing:
                raise InputError(
                    "a CUDA graph is being captured, and the kernel of this call is not loaded yet",
                    where=f"cuda:{stream.device}",
                    run="the same call once before the capture",
                )
            driver = _driver()
            library = _checked("cuLibraryLoadData", driver.cuLibraryLoadData(cubin, [], [], 0, [], [], 0))
            _loaded[cubin, name, stream.device] = _checked(
                "cuLibraryGetKernel", driver.cuLibraryGetKernel(library, name.encode())
            )
        return _loaded[cubin, name, stream.device]


def _primary_context(device: int) -> Any:
    with _one_at_a_time:
        return _primary_context_once(device)


@functools.cache
def _primary_context_once(device: int) -> Any:
    driver = _driver()
    handle = _checked("cuDeviceGet", driver.cuDeviceGet(device), device)
    return _checked("cuDevicePrimaryCtxRetain", driver.cuDevicePrimaryCtxRetain(handle), device)


@functools.cache
def _driver() -> Any:
    try:
        driver = importlib.import_module("cuda.bindings.driver")
        _checked("cuInit", driver.cuInit(0))
    except (ImportError, RuntimeError) as error:  # the bindings raise RuntimeError where libcuda.so.1 is missing
        raise KernelError("the CUDA driver cannot be used", expected="a GPU with its driver", got=error) from error
    return driver


def _checked(call: str, result: tuple[Any, ...], device: int | None = None) -> Any:
    status, *values = result
    if int(status) != 0:
        where = None if device is None else f"cuda:{device}"
        raise KernelError(f"{call} failed", where=where, got=f"{status.name} ({int(status)})")
    return values[0] if values else None
