"""The self-check tells equal from different by hash, and a kernel that differs or cannot be built is not used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from spectral_prep.encoding import Encoding, encode
from spectral_prep.errors import KernelError
from spectral_prep.kernel import cpu, cuda, launch, self_check
from spectral_prep.kernel.__main__ import main
from spectral_prep.kernel.backend import TorchOperations
from spectral_prep.spectrum import SpectralSpec, merge, regroup, split

CPU = torch.device("cpu")


class Regrouping:
    """Stands for both kernels: regroups pixels and transforms nothing."""

    def split(self, images: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None = None) -> Tensor:
        spectrum = regroup(images, spec).to(torch.float32)
        return spectrum.to(dtype) if encoding is None else encode(spectrum, encoding)

    def merge(
        self, spectrum: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None = None
    ) -> Tensor:
        return merge(spectrum.to(torch.float32), spec, dtype)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A CPU kernel that computes with torch, and a launcher that calls the same: no GPU and no compiler are needed."""

    monkeypatch.setattr(cpu, "kernel", Regrouping)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(launch, "split", Regrouping().split)
    monkeypatch.setattr(launch, "merge", Regrouping().merge)
    cuda._objection.cache_clear()
    yield monkeypatch
    cuda._objection.cache_clear()


def one_bit_off(images: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None) -> Tensor:
    spectrum = Regrouping().split(images, spec, dtype, encoding)
    spectrum.view(torch.uint8).flatten()[-1] ^= 1
    return spectrum


def test_the_cases_hold_every_grid_with_every_layout_transform_and_dtype() -> None:
    for field, number in (("layout", 2), ("transform", 3)):
        seen = {(case.spec.q, getattr(case.spec, field)) for case in self_check.CASES}
        assert len(seen) == len(self_check.GRIDS) * number
    assert {(case.spec.transform, case.stored) for case in self_check.CASES} >= {
        (transform, stored) for transform in self_check.TRANSFORMS for stored in self_check.STORED
    }


@pytest.mark.parametrize("case", self_check.QUICK)
def test_equal_bits_are_equal_hashes_and_one_bit_is_seen(case: self_check.Case, on_cpu: pytest.MonkeyPatch) -> None:
    assert self_check.compare(case, CPU).equal
    on_cpu.setattr(launch, "split", one_bit_off)
    assert not self_check.compare(case, CPU).equal


def test_a_device_that_agrees_is_used(on_cpu: pytest.MonkeyPatch) -> None:
    case = self_check.QUICK[0]
    images = self_check._images(case)
    given = (images, case.spec, case.stored)
    assert torch.equal(cuda.CudaKernel().split(*given), Regrouping().split(*given))


def test_a_device_that_differs_is_not_used_and_the_case_is_named(on_cpu: pytest.MonkeyPatch) -> None:
    on_cpu.setattr(launch, "split", one_bit_off)
    for operation in (cuda.CudaKernel().split, cuda.CudaKernel().merge):
        with pytest.raises(
            KernelError, match=r"differs from the CPU for 4x4 blocks dct, uint8 to float16.*--self-check"
        ):
            operation(torch.zeros(1, 4, 4, 1, dtype=torch.uint8), self_check.QUICK[0].spec, torch.float16)


def test_a_device_that_cannot_launch_is_asked_once(on_cpu: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*_: object) -> NoReturn:
        asked.append(1)
        raise KernelError("cuLaunchKernel failed")

    on_cpu.setattr(launch, "split", refuse)
    for _ in range(3):
        with pytest.raises(KernelError, match="cuLaunchKernel failed"):
            cuda.CudaKernel().split(torch.zeros(1, 4, 4, 1, dtype=torch.uint8), self_check.QUICK[0].spec, torch.float16)
    assert len(asked) == 1


@pytest.mark.parametrize("case", self_check.QUICK)
def test_without_a_cpu_kernel_torch_is_the_judge(case: self_check.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def exact(images: Tensor, spec: SpectralSpec, dtype: torch.dtype, encoding: Encoding | None) -> Tensor:
        spectrum = split(images, spec)
        return spectrum.to(dtype) if encoding is None else encode(spectrum, encoding)

    monkeypatch.setattr(cpu, "kernel", lambda: None)
    monkeypatch.setattr(launch, "split", exact)
    assert self_check.agrees(case, CPU)
    monkeypatch.setattr(launch, "split", lambda *arguments: exact(*arguments).flip(0))
    assert not self_check.agrees(case, CPU)
    with pytest.raises(KernelError, match="cannot be checked"):
        self_check.compare(case, CPU)


def test_the_builds_for_a_cpu_are_named_and_agree() -> None:
    if not cpu.usable():
        pytest.skip("no compiled CPU kernel is installed")
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 0
    assert f"CPU kernel built: {', '.join(cpu.compiled())}; used on this machine: {[*cpu.usable()][-1]}" in done.stdout


def test_a_build_that_differs_is_named_with_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(TorchOperations):
        def split(self, *arguments: Any, **more: Any) -> Tensor:
            return super().split(*arguments, **more).flip(0)

    monkeypatch.setattr(cpu, "compiled", lambda: ("baseline", "avx2"))
    monkeypatch.setattr(cpu, "usable", lambda: {"baseline": TorchOperations(), "avx2": Wrong()})
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 1
    assert "the CPU kernel is wrong: avx2, as in " in done.stderr
    monkeypatch.setattr(cpu, "usable", lambda: {"baseline": Wrong()})
    assert "the CPU kernel is wrong: baseline, as in " in CliRunner().invoke(main, []).stderr


def test_without_a_compiled_kernel_the_command_says_so_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_libraries", lambda build: [])
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 1
    assert "no compiled CPU kernel that runs here; torch operations compute" in done.stderr
    assert "none is installed" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_so_and_fails() -> None:
    done = CliRunner().invoke(main, ["--self-check"])
    assert done.exit_code == 1
    assert done.stderr.startswith("no GPU that torch can use, so the CUDA kernel was not checked. Expected:")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_with_a_gpu_every_bit_is_the_cpus() -> None:
    assert CliRunner().invoke(main, ["--self-check"]).exit_code == 0
