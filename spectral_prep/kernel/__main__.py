"""`python -m spectral_prep.kernel --self-check`: the CUDA kernel against the CPU's, bit by bit, and against a copy."""

from __future__ import annotations

import sys
from itertools import chain

import click
import torch

from spectral_prep.errors import KernelError, SpectralError
from spectral_prep.kernel import self_check


@click.command()
@click.option("--self-check", "wanted", is_flag=True, required=True, help="Compare every GPU with the CPU and time it.")
def main(wanted: bool) -> None:
    """Check the CUDA kernel on every GPU of this machine: exit code 0 only if all its bits are the CPU's."""
    try:
        if not torch.cuda.is_available():
            raise KernelError(
                "no GPU that torch can use, so the CUDA kernel was not checked",
                expected="a CUDA device and torch with CUDA",
                got=f"torch {torch.__version__} with no usable device",
                run="the same command on a machine with a GPU; conversion works here, on the CPU",
            )
        devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
        different = list(chain.from_iterable(map(_check, devices)))
    except SpectralError as error:
        click.echo(error, err=True)
        sys.exit(error.exit_code)
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
