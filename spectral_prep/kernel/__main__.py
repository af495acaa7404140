"""`python -m spectral_prep.kernel`: the compiled CPU kernels, compared; `--self-check`: every GPU against the CPU's.

A GPU is compared bit by bit, and timed against a copy.
"""

from __future__ import annotations

import sys
from itertools import chain

import click
import torch

from spectral_prep.errors import KernelError, SpectralError
from spectral_prep.kernel import cpu, self_check


@click.command()
@click.option("--self-check", "of_gpus", is_flag=True, help="Compare every GPU with the CPU and time it.")
def main(of_gpus: bool) -> None:
    """Say which CPU kernels this package was installed with, and check each that this machine can run.

    Exit code 0 only if there is one, and all of them agree; with --self-check only if there is a GPU, and all bits of
    every GPU are the CPU's.
    """
    try:
        _check_gpus() if of_gpus else _check_builds()
    except SpectralError as error:
        click.echo(error, err=True)
        sys.exit(error.exit_code)


def _check_builds() -> None:
    """Print which builds there are; raise `KernelError` if there is none or one is wrong."""
    compiled, usable = cpu.compiled(), cpu.usable()
    if not usable:
        raise KernelError(
            "no compiled CPU kernel that runs here; torch operations compute, which is slower",
            expected=f"one of {', '.join(cpu.BUILDS)}",
            got=", ".join(compiled) or "none is installed",
            run="pip install again where a C++ compiler is there",
        )
    click.echo(f"CPU kernel built: {', '.join(compiled)}; used on this machine: {[*usable][-1]}")
    wrong = {name: str(case) for case in self_check.CASES for name in self_check.wrong_builds(case, usable)}
    if wrong:
        raise KernelError(
            f"the CPU kernel is wrong: {'; '.join(f'{name}, as in {case}' for name, case in wrong.items())}",
            run="pip install again with another compiler, or SPECTRAL_KERNEL=torch",
        )
    click.echo(f"{len(self_check.CASES)} cases: the same bits from {', '.join(usable)}, which are torch's, rounded")


def _check_gpus() -> None:
    """Print what every GPU gave; end with 1 if one differs."""
    if not torch.cuda.is_available():
        raise KernelError(
            "no GPU that torch can use, so the CUDA kernel was not checked",
            expected="a CUDA device and torch with CUDA",
            got=f"torch {torch.__version__} with no usable device",
            run="the same command on a machine with a GPU; conversion works here, on the CPU",
        )
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    different = list(chain.from_iterable(map(_check, devices)))
    sys.exit(1 if different else 0)


def _check(device: torch.device) -> list[self_check.Comparison]:
    """Print what one device gave; return the cases in which it differs from the CPU."""
    compared = [self_check.compare(case, device) for case in self_check.CASES]
    different = [comparison for comparison in compared if not comparison.equal]
    click.echo(f"{device} {torch.cuda.get_device_name(device)}: {len(compared)} cases, {len(different)} differ")
    for comparison in different:
        click.echo(f"  differs: {comparison.case}: sha256 {comparison.on_device}, on the CPU {comparison.on_cpu}")
    for stored in (torch.float16, torch.int8):
        timing = self_check.time_split(stored, device)
        click.echo(
            f"  {self_check.TIMED_SHAPE} to {stored}: {timing.split * 1e3:.3f} ms, "
            f"{timing.bytes_moved / timing.split / 1e9:.0f} GB/s, {timing.split / timing.copy:.2f} × a device copy"
        )
    return different


if __name__ == "__main__":
    main()
