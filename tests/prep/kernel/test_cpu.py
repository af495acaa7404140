"""The compiled CPU kernel is scipy's transform to float32's precision, in every build the same bits."""

from __future__ import annotations

import _ctypes
import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from spectral_prep import spectrum
from spectral_prep.choices import Layout, Transform
from spectral_prep.encoding import Encoding, calibrate, encode
from spectral_prep.errors import InputError
from spectral_prep.kernel import cpu, dispatch, fused_merge, fused_split
from spectral_prep.kernel.backend import TorchOperations
from spectral_prep.kernel.cpu import BUILDS, CpuKernel
from spectral_prep.spectrum import SpectralSpec
from tests.prep.test_spectrum import GRIDS, LAYOUTS, TRANSFORMS, images, reference
from tests.support.compiling import plain_loops

FLOATS = [torch.float32, torch.float16, torch.bfloat16]
EVERY_GRID = [*GRIDS, (5, 3), (5, 1), (3, 7), (1, 32), (10, 10), (15, 17)]


@pytest.fixture(scope="module")
def builds() -> list[CpuKernel]:
    """Every build that is installed and that this machine can run."""
    baseline = cpu._load("baseline")
    if baseline is None:
        pytest.skip("no compiled CPU kernel is installed")
    found = [cpu._load(name) for name in BUILDS[: baseline.level + 1]]
    return [kernel for kernel in found if kernel is not None]


@pytest.fixture
def best(builds: list[CpuKernel]) -> CpuKernel:
    return builds[-1]


def unit_in_last_place(values: npt.NDArray[Any], dtype: torch.dtype) -> npt.NDArray[Any]:
    info = torch.finfo(dtype)
    powers: npt.NDArray[Any] = 2.0 ** np.floor(np.log2(np.maximum(np.abs(values), info.tiny)))
    units: npt.NDArray[Any] = np.maximum(powers * info.eps, info.tiny * info.eps)
    return units


def stored_in_every_way(kernel: CpuKernel, batch: Tensor, spec: SpectralSpec) -> list[tuple[Tensor, Encoding | None]]:
    encoding = calibrate(spectrum.split(batch, spec), spec)
    return [
        *((kernel.split(batch, spec, dtype), None) for dtype in FLOATS),
        (kernel.split(batch, spec, encoding=encoding), encoding),
    ]


@pytest.mark.parametrize("grid", EVERY_GRID)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_split_is_scipys_transform(
    best: CpuKernel, grid: tuple[int, int], layout: Layout, transform: Transform
) -> None:
    spec = SpectralSpec(*grid, layout, transform)
    batch = images(2, grid[0] * 3, grid[1] * 2, 3)
    expected = reference(batch, spec)
    slack = 2e-7 * np.abs(expected).max()
    for stored, encoding in stored_in_every_way(best, batch, spec):
        if encoding is not None:
            assert (stored.int() - encode(torch.from_numpy(expected), encoding).int()).abs().max() <= 1
            continue
        rounding = 0 if stored.dtype == torch.float32 else 0.5 * unit_in_last_place(expected, stored.dtype)
        assert (np.abs(stored.double().numpy() - expected) <= slack + 1.001 * rounding).all()


@pytest.mark.parametrize("grid", EVERY_GRID)
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_build_gives_the_same_bits_both_ways(
    builds: list[CpuKernel], grid: tuple[int, int], layout: Layout, transform: Transform
) -> None:
    spec = SpectralSpec(*grid, layout, transform)
    batch = images(3, grid[0] * 5, grid[1] * 5, 2)  # 75 sites: a whole strip and a part of one, over three images
    for stored, encoding in stored_in_every_way(builds[0], batch, spec):
        back = [builds[0].merge(stored, spec, dtype, encoding) for dtype in (torch.uint8, torch.float32)]
        for other in builds[1:]:
            assert torch.equal(other.split(batch, spec, stored.dtype, encoding), stored)
            assert torch.equal(other.split(batch.float(), spec, stored.dtype, encoding), stored)
            for merged in back:
                assert torch.equal(other.merge(stored, spec, merged.dtype, encoding), merged)
        if stored.dtype in (torch.float32, torch.float16):
            assert torch.equal(back[0], batch)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 16, 17])
@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (4, 4), (3, 5), (1, 28)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_number_of_channels(builds: list[CpuKernel], channels: int, grid: tuple[int, int], layout: Layout) -> None:
    spec = SpectralSpec(*grid, layout, "none")
    batch = images(2, grid[0] * 9, grid[1] * 11, channels)
    for kernel in builds:
        assert torch.equal(kernel.split(batch, spec, torch.float32), spectrum.split(batch, spec))
        assert torch.equal(kernel.merge(spectrum.split(batch, spec), spec), batch)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[1:6:2, 4:20, ::2, 1:],
        lambda x: x.permute(0, 2, 1, 3),
        lambda x: x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
        lambda x: x[:, :, :, 1:2].expand(-1, -1, -1, 3),
        lambda x: x[2:3].expand(4, -1, -1, -1),
        lambda x: x[:0],
        lambda x: x[:, :, :, :0],
        lambda x: x[:, :0],
    ],
    ids=["sliced", "transposed", "channels first", "grey", "repeated", "no rows", "no channels", "no sites"],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_any_strides_and_no_elements(best: CpuKernel, view: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    batch = view(images(8, 24, 24, 3).to(dtype))
    spec = SpectralSpec(4, 2)
    assert torch.equal(best.split(batch, spec), best.split(batch.contiguous(), spec))
    assert torch.equal(best.merge(best.split(batch, spec), spec, dtype).round(), batch)


def test_nothing_beyond_the_images_is_read_into_the_result(best: CpuKernel) -> None:
    spec = SpectralSpec(2, 2)
    around = images(3, 6, 6, 3)
    inside = around[1:2].clone()
    first = best.split(around[1:2], spec)
    around[0], around[2] = 0, 255
    assert torch.equal(best.split(around[1:2], spec), first)
    assert torch.equal(best.split(inside, spec), first)


def test_indexes_beyond_2_to_the_31_elements(best: CpuKernel) -> None:
    spec = SpectralSpec(4, 4)
    far = 3 * 2**30  # memory is reserved, and only the pages that are written exist
    batch = torch.empty(far + 2**12, dtype=torch.uint8).as_strided((2, 8, 8, 1), (far, 8, 1, 1))
    batch.copy_(images(2, 8, 8, 1))
    out = torch.empty(16 * 2**28, dtype=torch.float16).as_strided((16, 2, 1, 2, 2), (2**28, 4, 4, 2, 1))
    assert torch.equal(best.split(batch, spec, out=out), best.split(batch.contiguous(), spec))


@pytest.mark.parametrize("past_cache", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_images_are_written_into_the_rows_of_a_block_one_by_one(best: CpuKernel, dtype: str, past_cache: bool) -> None:
    """A block beyond the size that caches hold is written past them, where its lines are whole and aligned."""
    spec = SpectralSpec(2, 2)
    batch = images(5, 32, 32, 3)
    encoding = Encoding("float16") if dtype == "float16" else calibrate(spectrum.split(batch, spec), spec)
    rows = 5 if not past_cache else 2**20 // (3 * 32 * 32)
    block = torch.zeros(4, rows, 3, 16, 16, dtype=encoding.torch_dtype)
    for row in range(5):
        out = block[:, row : row + 1]
        assert fused_split(batch[row : row + 1], spec, encoding=encoding, out=out) is out
    assert torch.equal(block[:, :5], best.split(batch, spec, encoding=encoding))
    assert not block[:, 5:].any()


@pytest.mark.parametrize(
    "out",
    [
        lambda block: block.permute(0, 1, 2, 4, 3),
        lambda block: block[:, :1],
        lambda block: block.float(),
        lambda block: block.to("meta"),
    ],
    ids=["transposed", "shape", "dtype", "device"],
)
def test_an_out_that_does_not_fit_is_refused(out: Callable[[Tensor], Tensor]) -> None:
    block = torch.empty(4, 2, 3, 4, 4, dtype=torch.float16)
    with pytest.raises(InputError, match="out"):
        fused_split(images(2, 8, 8, 3), SpectralSpec(2, 2), out=out(block))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_bit(best: CpuKernel, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, spec = images(7, 32, 32, 3), SpectralSpec(2, 2)
    whole = best.split(batch, spec)
    monkeypatch.setattr(cpu, "WORTH_A_THREAD", 1)
    torch.set_num_threads(threads)
    assert torch.equal(best.split(batch, spec), whole)
    assert torch.equal(best.merge(whole, spec), batch)


def test_several_callers_at_once(best: CpuKernel) -> None:
    batch, spec = images(4, 60, 60, 3), SpectralSpec(1, 60)  # a rolled length: its cosines are made on first use
    results: list[Tensor] = []
    callers = [threading.Thread(target=lambda: results.append(best.split(batch, spec))) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 8
    assert all(torch.equal(result, results[0]) for result in results)


def test_int8_saturates_and_rounds_halves_to_even(builds: list[CpuKernel]) -> None:
    spec = SpectralSpec(1, 1, "blocks", "none")
    pixels = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9, -127.5]).view(1, 1, -1, 1)
    for kernel in builds:
        stored = kernel.split(pixels, spec, encoding=Encoding("int8", (1.0,), (0.0,)))
        assert stored.flatten().tolist() == [0, 2, 2, 0, -2, 126, 127, 127, -127, -127]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_rounding_of_the_short_floats(builds: list[CpuKernel], dtype: torch.dtype) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 2**16, np.uint32)
    values = torch.from_numpy(np.concatenate([bits, np.arange(2**16, dtype=np.uint32) << 13]).view(np.float32))
    values = values[~values.isnan()].view(1, 1, -1, 1)
    spec = SpectralSpec(1, 1, "blocks", "none")
    for kernel in builds:
        stored = kernel.split(values, spec, dtype)
        assert torch.equal(stored.flatten(), values.flatten().to(dtype))
        assert torch.equal(kernel.merge(stored, spec, torch.float32).flatten(), stored.flatten().float())


@pytest.mark.parametrize("encoding", [None, Encoding("int8", (8.0,) * 4, (255.0, 0.0, 0.0, 0.0))])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_operators_pass_opcheck(encoding: Encoding | None, channels: int) -> None:
    batch = images(2, 6, 6, channels)
    scalars = ([], []) if encoding is None else (list(encoding.scale_factor), list(encoding.add_offset))
    stored = fused_split(batch, SpectralSpec(2, 2), encoding=encoding)
    spec = (2, 2, "blocks", "dct")
    torch.library.opcheck(torch.ops.spectral.split.default, (batch, *spec, stored.dtype, *scalars))
    torch.library.opcheck(torch.ops.spectral.merge.default, (stored, *spec, torch.uint8, *scalars))


def test_out_is_filled_by_torch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "torch")
    batch, spec = images(2, 8, 8, 3), SpectralSpec(2, 2)
    out = torch.zeros(4, 3, 3, 4, 4, dtype=torch.float16)
    fused_split(batch, spec, out=out[:, 1:])
    assert torch.equal(out[:, 1:], fused_split(batch, spec))
    assert not out[:, 0].any()


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiles_as_one_graph(backend: str) -> None:
    spec = SpectralSpec(2, 2)

    def there_and_back(batch: Tensor) -> Tensor:
        return fused_merge(fused_split(batch, spec) * 1, spec) + 1

    batch = images(2, 6, 6, 3)
    torch.compiler.reset()
    compiled = torch.compile(there_and_back, fullgraph=True, backend=backend)
    with plain_loops() if backend == "inductor" else contextlib.nullcontext():
        assert torch.equal(compiled(batch), batch + 1)


def test_the_variable_chooses_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, spec = images(2, 8, 8, 3), SpectralSpec(4, 4)
    seen = []

    class Noted(TorchOperations):
        def split(self, *arguments: Any, **options: Any) -> Tensor:
            seen.append("cpu")
            return super().split(*arguments, **options)

    monkeypatch.setitem(dispatch.BACKENDS, "cpu", Noted)
    monkeypatch.setattr(cpu, "kernel", lambda: Noted())
    for name in ("torch", "cpu", ""):
        monkeypatch.setenv(dispatch.VARIABLE, name)
        fused_split(batch, spec)
        seen.append(name)
    assert seen == ["torch", "cpu", "cpu", "cpu", ""]


@pytest.mark.parametrize(("name", "message"), [("fast", "unknown SPECTRAL_KERNEL"), ("cuda", "cannot compute on this")])
def test_a_kernel_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, name)
    with pytest.raises(InputError, match=message):
        fused_split(images(1, 4, 4, 1), SpectralSpec(2, 2))


def test_without_the_library_torch_computes_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.setattr(cpu, "kernel", lambda: None)
    dispatch._say_once.cache_clear()
    batch, spec = images(2, 8, 8, 3), SpectralSpec(4, 4)
    with caplog.at_level(logging.WARNING, "spectral_prep"):
        stored = fused_split(batch, spec)
        assert torch.equal(fused_merge(stored, spec), batch)
    assert torch.equal(stored, spectrum.split(batch, spec).half())
    assert [record.getMessage() for record in caplog.records] == [
        "no compiled CPU kernel is installed; computing with torch operations, which is slower"
    ]
    monkeypatch.setenv(dispatch.VARIABLE, "cpu")
    with pytest.raises(InputError, match="not installed"):
        fused_split(batch, spec)


def test_what_the_kernels_cannot_store_goes_through_torch() -> None:
    batch, spec = images(2, 8, 8, 3), SpectralSpec(4, 4)
    doubles = fused_split(batch.double(), spec, torch.float64)
    assert torch.equal(doubles, spectrum.split(batch.double(), spec))
    assert torch.equal(fused_merge(doubles, spec), batch)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, spec: fused_split(x[0], spec), r"\(N, H, W, C\)"),
        (lambda x, spec: fused_split(x, SpectralSpec(3, 3)), "does not divide"),
        (lambda x, spec: fused_split(x, spec, torch.int8), "needs an encoding"),
        (lambda x, spec: fused_split(x, spec, encoding=Encoding("int8", (1.0,), (0.0,))), "another grid"),
        (lambda x, spec: fused_merge(x, spec), r"\(Q=4, N, C, h, w\)"),
        (lambda x, spec: fused_merge(fused_split(x, spec), spec, encoding=Encoding("float32")), "not stored as"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(call: Callable[[Tensor, SpectralSpec], Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(images(1, 4, 4, 1), SpectralSpec(2, 2))


def test_a_library_of_another_version_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_cpu_baseline.old.so").write_bytes(Path(_ctypes.__file__).read_bytes())
    monkeypatch.setattr(cpu, "__file__", str(tmp_path / "cpu.py"))
    assert cpu._load("baseline") is None
