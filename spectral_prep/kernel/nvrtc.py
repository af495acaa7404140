"""Compile the header for one CUDA architecture, without a toolkit and without a GPU, and remember the result.

Input: the header's macros (`SPECTRAL_Q1=4`, …) and an architecture (`sm_90`). Output: machine code (a cubin).

1. A cubin compiled before in this process is returned.
2. Otherwise the cache folder is read; an entry whose content is not what was written counts as absent.
3. Otherwise NVRTC, which comes with torch's CUDA wheel, compiles it, and the cubin is written to the cache atomically.

A lock around the three makes threads that ask for one cubin compile it once.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectral_prep.errors import KernelError, SpectralError
from spectral_prep.system.files import Advice, atomic_write

HEADER = Path(__file__).with_name("spectral.h")
INCLUDED = HEADER.with_name("transform.h")
OPTIONS = ("--std=c++17", "--fmad=false", "--ptxas-options=-v")  # -v: registers, stack and spills go to the log
CACHE_VARIABLE = "SPECTRAL_CACHE"
TO_CACHE = Advice(
    full="free space; until then each process compiles its own",
    refused=f"the same command with {CACHE_VARIABLE} set to such a folder",
)
"""For the user whose compiled kernels cannot be kept."""
DIGEST_BYTES = hashlib.sha256().digest_size

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Compilation:
    """All that one run of NVRTC gives: machine code, its PTX, and what compiler and assembler said."""

    cubin: bytes
    ptx: str
    log: str


def cubin_for(macros: tuple[str, ...], arch: str) -> bytes:
    """Return the header compiled with these macros for an architecture such as `sm_90`: from memory, disk or NVRTC.

    Raises
    ------
    KernelError
        If NVRTC is not installed or does not compile it; the message holds its log.
    """
    with _one_at_a_time:
        return _cubin_once(macros, arch, cache_folder())


def compile_header(macros: tuple[str, ...], arch: str) -> Compilation:
    """Compile the header with these macros, whatever the cache holds.

    Raises
    ------
    KernelError
        If NVRTC is not installed or does not compile it; the message holds its log.
    """
    nvrtc = _bindings()
    where = f"{' '.join(macros)} for {arch}"
    options = [
        option.encode() for option in (f"--gpu-architecture={arch}", *OPTIONS, *(f"-D{macro}" for macro in macros))
    ]
    sources = (HEADER.read_bytes(), b"spectral.h", 1, [INCLUDED.read_bytes()], [b"transform.h"])
    program = _checked("nvrtcCreateProgram", nvrtc.nvrtcCreateProgram(*sources))
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), options)
        log = (
            _read(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
            .decode(errors="replace")
            .strip("\0\n")
        )
        _checked("nvrtcCompileProgram", status, where, log)
        cubin = _read(program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
        ptx = _read(program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX).decode().strip("\0")
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return Compilation(cubin, ptx, log)


def cache_folder() -> Path:
    """Return where compiled kernels are kept: $SPECTRAL_CACHE, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "spectral-shards"


def cache_path(macros: tuple[str, ...], arch: str, folder: Path) -> Path:
    """Return the file that keeps one cubin: everything that decides its content is in its name."""
    version = _checked("nvrtcVersion", _bindings().nvrtcVersion())
    deciding = repr((HEADER.read_bytes(), INCLUDED.read_bytes(), OPTIONS, version, macros, arch)).encode()
    return folder / f"{arch}-{hashlib.sha256(deciding).hexdigest()[:40]}.kernel"


@functools.cache
def _cubin_once(macros: tuple[str, ...], arch: str, folder: Path) -> bytes:
    path = cache_path(macros, arch, folder)
    kept = _read_entry(path)
    if kept is not None:
        return kept
    cubin = compile_header(macros, arch).cubin
    try:
        atomic_write(path, hashlib.sha256(cubin).digest() + cubin, TO_CACHE)
    except SpectralError as error:
        logging.getLogger(__name__).warning("compiled kernels cannot be kept for the next process. %s", error)
    return cubin


def _read_entry(path: Path) -> bytes | None:
    try:
        entry = path.read_bytes()
    except OSError:  # absent or unreadable: compiled instead
        return None
    digest, cubin = entry[:DIGEST_BYTES], entry[DIGEST_BYTES:]
    return cubin if hashlib.sha256(cubin).digest() == digest else None


@functools.cache
def _bindings() -> Any:
    try:
        nvrtc = importlib.import_module("cuda.bindings.nvrtc")
        _checked("nvrtcVersion", nvrtc.nvrtcVersion())
    except (ImportError, RuntimeError) as error:  # the bindings raise RuntimeError where libnvrtc.so is missing
        raise KernelError(
            "the CUDA kernel cannot be compiled",
            expected="the packages cuda-bindings and nvidia-cuda-nvrtc, which torch's CUDA wheel brings",
            got=error,
        ) from error
    return nvrtc


def _checked(call: str, result: tuple[Any, ...], where: str | None = None, log: str = "") -> Any:
    status, *values = result
    if int(status) != 0:
        raise KernelError(f"{call} failed", where=where, got=f"{status.name}\n{log}".strip())
    return values[0] if len(values) == 1 else tuple(values)


def _read(program: Any, size_of: Callable[..., Any], fill: Callable[..., Any]) -> bytes:
    content = bytes(_checked(size_of.__name__, size_of(program)))
    _checked(fill.__name__, fill(program, content))
    return content
