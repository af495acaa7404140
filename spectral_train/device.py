"""Where training runs, what it may take there, and that it runs the same way twice.

Input: `auto`, `cpu` or `cuda`. Output: the torch device, and a context in which torch picks deterministic kernels.
This module itself does not import torch: `--help` lists the devices.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectral_prep.engines.interface import Engine
from spectral_prep.engines.processes import Processes
from spectral_prep.errors import InputError
from spectral_prep.places.cache import DEFAULT_CACHE, Cache

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
LOG_NAMES = ("mlflow", "wandb")
"""The logs that are written if they are asked for: the keys of `training.logs.LOGS`."""
ONE_GPU = re.compile(r"cuda:\d+")


@dataclass(frozen=True)
class Resources:
    """What the networks that train at the same time may take, of this machine or an engine's; it decides no weights.

    Parameters
    ----------
    device
        `auto`, `cpu`, `cuda`, or `cuda:1` for one of several GPUs.
    workers
        Processes; None: as many as the usable CPUs allow.
    memory
        Bytes of RAM for the rows of all networks together, half of what is available unless said; rows that do not fit
        are streamed.
    cache
        Where the spectral folders of a data set in a bucket are copied to; None: they are read where they are.
    compiled
        Run each network through `torch.compile`: the same checkpoint, other rounding.
    engine
        Where branches train: `engines.engine_of("ray")` for a cluster whose nodes see data and run under one path.
    logs
        Of `LOG_NAMES`: where the metrics of each epoch go, too.
    gpus
        GPUs of the engine's that a branch has for itself, or the share of one; None: 1 where `device` is `cuda` or the
        engine has any, otherwise none. Processes take the GPUs of this machine as `device` says.
    """

    device: str = "auto"
    workers: int | None = None
    memory: int | None = None
    compiled: bool = False
    cache: Cache | None = DEFAULT_CACHE
    engine: Engine = Processes()  # noqa: RUF009 a frozen value
    gpus: float | None = None
    logs: tuple[str, ...] = ()


DEFAULT_RESOURCES = Resources()


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; `auto` is the GPU where there is one, `cuda:1` one of several.

    Raises
    ------
    InputError
        If the name is unknown or there is no such device here.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    import torch

    if name not in DEVICES and not ONE_GPU.fullmatch(name):
        raise InputError("unknown device", expected=f"one of {', '.join(DEVICES)}", got=name)
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("no CUDA device here", run="the same command with --device cpu")
    if ONE_GPU.fullmatch(name) and int(name.partition(":")[2]) >= (count := torch.cuda.device_count()):
        raise InputError("no such GPU here", expected=", ".join(f"cuda:{number}" for number in range(count)), got=name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def every_device(name: str = "auto") -> tuple[str, ...]:
    """Return the names of all devices that are meant: each GPU, or the CPU; raises what `choose_device` raises.

    >>> every_device("cpu")
    ('cpu',)
    """
    import torch

    if choose_device(name).type == "cpu" or ONE_GPU.fullmatch(name):
        return (name if name != "auto" else "cpu",)
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Run the body with deterministic kernels wherever torch has one; the former setting comes back afterwards."""
    import torch

    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Run the body with torch's generators of the CPU and of this GPU at a seed; their former state comes back."""
    import torch

    gpus = (
        [device] if device is not None and device.type == "cuda" else []
    )  # a context on every other GPU would cost it memory
    with torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
