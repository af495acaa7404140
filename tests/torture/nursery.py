"""The program that runs a command hundreds of times without starting Python and torch hundreds of times.

Input: requests on stdin, one JSON line each: {command, arguments, folder, out, err, environment}. Output: on stdout
the process id of the child that was forked, then its exit code (negative: the signal that ended it).

1. Everything that a command imports is imported once; torch computes nothing here, so that no thread stands in the
   way of a fork.
2. Each child is a process group of its own and ends as a command ends: with its threads waited for, `atexit` called.
3. The workers of a child are forked from it, for the start of a forkserver takes longer than a case; they let go of
   its open files and folders, with the locks on them, as if they had been started anew.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing
import multiprocessing.context
import os
import pkgutil
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NoReturn

ROOMS = ("spectral_prep", "spectral_train")
BESIDE = (
    "PIL.Image",
    "PIL.PngImagePlugin",
    "matplotlib.backends.backend_agg",
    "safetensors.torch",
    "torch._dynamo",
    "torch._export",
    "torch.export._trace",
    "torch.fx.experimental.symbolic_shapes",
    "torch.utils.tensorboard",
    "zarr",
)
"""What commands import when they need it."""


class _Worker(multiprocessing.context.ForkProcess):
    def run(self) -> None:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the listing's own
                kind = os.fstat(int(name)).st_mode
                if (stat.S_ISDIR(kind) or stat.S_ISREG(kind)) and not os.get_inheritable(int(name)):
                    os.close(int(name))
        super().run()


class _Forking(multiprocessing.context.ForkContext):
    Process = _Worker


def serve() -> None:
    """Run what is asked for until nothing more is."""
    load()
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(request)
        os.setpgid(pid, pid)
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # workers of a killed parent
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def load() -> None:
    import torch

    import cli  # noqa: F401

    for room in ROOMS:
        package = importlib.import_module(room)
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not found.name.endswith("__main__") and "._" not in found.name:
                importlib.import_module(found.name)
    for name in BESIDE:
        importlib.import_module(name)
    torch.set_num_threads(1)
    resource_tracker.ensure_running()
    multiprocessing.context._concrete_contexts["forkserver"] = _Forking()  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()


def run(request: dict[str, Any]) -> NoReturn:
    """Be the command that a request asks for, and end."""
    os.setpgid(0, 0)
    os.environ.update(request.get("environment", {}))
    os.chdir(str(request["folder"]))
    for name, descriptor in (("out", 1), ("err", 2)):
        file = os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    import cli

    be(getattr(cli, str(request["command"])), request["arguments"])


def be(command: Callable[[list[str]], object], arguments: list[str]) -> NoReturn:
    """Run a command in this process, and end as it does."""
    _end(code_of(command, arguments))


def code_of(command: Callable[[list[str]], object], arguments: list[str]) -> int:
    """Run a command in this process and return the code that the interpreter would exit with."""
    try:
        command(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """End as the interpreter does, but for freeing every object of torch, which takes longer than a case."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    serve()
