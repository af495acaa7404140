"""The real launcher against a stub driver: one compilation, device, context, stream, grid, and clear errors."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from spectral_prep.errors import InputError, KernelError
from spectral_prep.kernel import driver, launch, nvrtc
from spectral_prep.spectrum import SpectralSpec
from tests.support.stub_scenarios import CALLS, SPEC

pytest.importorskip("cuda.bindings.nvrtc")

ROOT = Path(__file__).parents[3]
Played = dict[str, dict[str, Any]]
"""Of each scenario: its result, the log of the stub, what was compiled and what was recorded."""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stub's libcuda.so.1."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler to build the stub driver")
    library = tmp_path_factory.mktemp("stub") / "libcuda.so.1"
    options = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{library.name}"]
    subprocess.run(
        [compiler, *options, ROOT / "tests" / "support" / "stub_driver.cpp", "-o", library, "-ldl"], check=True
    )
    return library.parent


def play(stub: Path, cache: Path, *scenarios: str) -> Played:
    """Run scenarios in a fresh process; return each one's result, the stub's log, what was compiled and recorded."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(stub), "SPECTRAL_CACHE": str(cache)}
    command = [sys.executable, "-m", "tests.support.stub_scenarios", *scenarios]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    played: Played = json.loads(done.stdout)
    return played


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(stub: Path, cache: Path) -> Played:
    """What a process with an empty cache did."""
    return play(stub, cache, "threads", "devices", "huge", "nothing")


@pytest.fixture(scope="module")
def second(stub: Path, cache: Path, first: object) -> Played:
    """What the next process did."""
    return play(stub, cache, "errors", "capture")


def calls(log: list[str], name: str) -> list[dict[str, str]]:
    """The recorded calls of one name, as their fields."""
    return [dict(part.split("=", 1) for part in line.split()[1:]) for line in log if line.split()[0] == name]


def numbers(queued: dict[str, str]) -> list[int]:
    """The parameters of a launch, eight bytes each."""
    return [int.from_bytes(bytes.fromhex(text), "little") for text in queued["parameters"].split(",")]


def test_eight_threads_compile_once_and_each_launches_on_its_own_stream(first: Played) -> None:
    played = first["threads"]
    assert played["compiled"] == ["sm_90"]
    assert len(calls(played["log"], "cuLibraryLoadData")) == 1
    assert len(calls(played["log"], "cuDevicePrimaryCtxRetain")) == 1
    launches = calls(played["log"], "cuLaunchKernel")
    assert sorted(int(queued["stream"]) for queued in launches) == [*range(100, 108)]
    by_stream = {int(queued["stream"]): numbers(queued) for queued in launches}
    for stream, addresses in enumerate(played["result"], 100):
        assert by_stream[stream] == [*addresses, 3, 1, 4, 4, 64, 8, 1, 1]
        assert {tuple(pair) for pair in played["in_use"]} >= {(address, stream) for address in addresses}


def test_each_device_gets_its_own_architecture_in_its_own_context(first: Played) -> None:
    """Every thread is fresh: the stub refuses a launch without a current context or with another device's code."""
    played = first["devices"]
    assert sorted(played["compiled"]) == ["sm_100", "sm_120", "sm_80"]  # the threads before had sm_90
    launches = calls(played["log"], "cuLaunchKernel")
    assert sorted((queued["device"], queued["stream"]) for queued in launches) == [
        (str(i), str(10 + i)) for i in range(4)
    ]
    assert len(calls(played["log"], "cuCtxPushCurrent")) == len(calls(played["log"], "cuCtxPopCurrent")) == 4


def test_the_next_process_compiles_nothing(second: Played) -> None:
    assert second["errors"]["compiled"] == []


def test_a_damaged_kernel_in_the_cache_is_compiled_again(stub: Path, cache: Path, second: Played) -> None:
    (entry,) = cache.glob("sm_90-*")
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert play(stub, cache, "once")["once"]["compiled"] == ["sm_90"]
    assert entry.read_bytes() == whole


def test_the_grid_covers_every_site_of_more_than_2_31_elements(first: Played) -> None:
    played = first["huge"]
    assert math.prod(played["result"]) > 2**31
    (queued,) = calls(played["log"], "cuLaunchKernel")
    assert int(queued["blocks"]) * int(queued["threads"]) >= 2**19 * 16 * 24
    assert (int(queued["blocks"]) - 1) * int(queued["threads"]) < 2**19 * 16 * 24
    assert numbers(queued)[2:] == [2**19, 3, 16, 24, 0, 48 * 3, 3, 1]


def test_a_graph_is_captured_with_kernels_that_are_loaded_and_refused_with_others(second: Played) -> None:
    """The refused call loads nothing, the last one only launches: a capture forbids more."""
    message, _, within = second["capture"]["result"]
    assert "CUDA graph" in message
    assert "once before the capture" in message
    log = second["capture"]["log"]
    names = [line.split()[0] for line in log]
    assert names.count("cuLibraryLoadData") == 1
    assert [queued["stream"] for queued in calls(log, "cuLaunchKernel")] == ["5", "6"]
    assert names[-3:] == ["cuCtxPushCurrent", "cuLaunchKernel", "cuCtxPopCurrent"]
    assert numbers(calls(log, "cuLaunchKernel")[1])[:2] == within


def test_no_rows_are_no_launch(first: Played) -> None:
    played = first["nothing"]
    assert played["result"] == [4, 0, 1, 4, 4]
    assert not played["log"]


def test_every_refusal_of_the_driver_is_one_error_that_names_the_call(second: Played) -> None:
    played = second["errors"]
    assert list(played["result"]) == list(CALLS)
    for call, message in played["result"].items():
        assert call in message
        assert "(719)" in message
    pushed, popped = (len(calls(played["log"], name)) for name in ("cuCtxPushCurrent", "cuCtxPopCurrent"))
    assert pushed - 1 == popped  # one push was refused; no context stays behind, whatever fails


def test_a_grid_of_blocks_never_exceeds_what_a_device_takes() -> None:
    spectrum = torch.empty(1, dtype=torch.int8).expand(4, 2**40, 1, 1, 1)
    images = torch.empty(1, dtype=torch.uint8).expand(2**40, 2, 2, 1)
    factors = ((1.0,) * 4, (0.0,) * 4)
    assert launch.plan(images, spectrum, SPEC, factors, merge=False).blocks == 2**31 - 1


def test_what_nvrtc_refuses_is_one_error_with_its_log() -> None:
    with pytest.raises(KernelError, match=r"(?s)nvrtcCompileProgram failed.*SPECTRAL_STORED=7.*sm_90.*error"):
        nvrtc.compile_header(
            (*launch.macros(SPEC, torch.uint8, torch.float16, merge=False)[:-1], "SPECTRAL_STORED=7", "float=;"),
            "sm_90",
        )
    with pytest.raises(KernelError, match=r"(?s)sm_999.*gpu-architecture"):
        nvrtc.compile_header(("SPECTRAL_Q1=2",), "sm_999")


def test_a_cache_that_cannot_be_written_is_said_and_the_kernel_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPECTRAL_CACHE", str(tmp_path / "file"))
    macros = launch.macros(SPEC, torch.uint8, torch.float16, merge=False)
    assert nvrtc.cubin_for(macros, "sm_86").startswith(b"\x7fELF")
    assert "cannot be kept" in caplog.text
    assert "SPECTRAL_CACHE set to such a folder" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a driver")
def test_no_driver_is_said() -> None:
    with pytest.raises(KernelError, match="the CUDA driver cannot be used"):
        driver.architecture(0)


@pytest.mark.parametrize("module", [nvrtc, driver])
def test_missing_bindings_are_said(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module.__name__.rpartition(".")[2]
    load = {"nvrtc": nvrtc._bindings, "driver": driver._driver}[name]
    monkeypatch.setitem(sys.modules, f"cuda.bindings.{name}", None)
    load.cache_clear()
    with pytest.raises(KernelError, match=f"cuda.bindings.{name}"):
        load()


def test_a_dtype_that_the_kernel_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="no spectrum of this dtype"):
        launch.macros(SPEC, torch.uint8, torch.float64, merge=False)
    with pytest.raises(InputError, match="no images of this dtype"):
        launch.macros(SPEC, torch.int16, torch.float16, merge=False)
    with pytest.raises(InputError, match="encoding"):
        launch.split(torch.zeros(1, 2, 2, 1, dtype=torch.uint8), SPEC, torch.int8)
    with pytest.raises(InputError, match="does not divide"):
        launch.split(torch.zeros(1, 3, 2, 1, dtype=torch.uint8), SpectralSpec(2, 2))
