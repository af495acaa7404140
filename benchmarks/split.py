"""The fused kernel beside what else computes the same spectrum, in elements a second.

    pip install torch-dct                       # what the papers used; left out of the table where it is missing
    python benchmarks/split.py --threads 1
    python benchmarks/split.py --shape imagenet --grid 4x4 --rounds 30
    python benchmarks/split.py --shape imagenet --rows 1 --rounds 300      # an image right after its resize

Every method takes uint8 images (N, H, W, C) and gives the stored spectrum (Q, N, C, h, w), float16 or int8. They take
turns: a round times each method once, a number is the median over rounds, and a ratio the median of the ratios within
the rounds, so that a machine that drifts does not change it. One thread is timed in CPU seconds, which other processes
do not stretch. `copy` moves as many bytes as reading the input and
writing the output does. `fused` writes into one tensor again and again, as `copy` does; `fused, into a block` into the
next rows of a larger one, as a converter does; `fused, new memory` and the others have the system hand them fresh pages
each time.
"""

from __future__ import annotations

import importlib
import itertools
import statistics
import time
from collections.abc import Callable

import click
import scipy.fft
import torch
from torch import Tensor

from spectral_prep.encoding import Encoding, calibrate, encode
from spectral_prep.kernel import cpu, fused_split
from spectral_prep.spectrum import SpectralSpec, basis, regroup, split

SHAPES = {"mnist": (8192, 28, 28, 1), "cifar": (2048, 32, 32, 3), "imagenet": (32, 224, 224, 3)}
GRIDS = ("2x2", "4x4", "1x28", "7x7", "8x8")
BLOCK_ROWS = 64
TIMED_ELEMENTS = 2**22
EXPLICIT = 16  # largest Q whose products are worth writing out one by one for the compiler

Method = Callable[[Tensor], Tensor]


def methods(spec: SpectralSpec, encoding: Encoding, compiled: bool) -> dict[str, Method]:
    """Return every method by its name."""
    out: dict[torch.Size, Tensor] = {}

    def fused(images_NHWC: Tensor) -> Tensor:
        written = out.get(images_NHWC.shape)
        out[images_NHWC.shape] = cpu.required().split(images_NHWC, spec, encoding=encoding, out=written)
        return out[images_NHWC.shape]

    found: dict[str, Method] = {
        "fused": fused,
        "fused, into a block": into_a_block(spec, encoding),
        "fused, new memory": lambda x: cpu.required().split(x, spec, encoding=encoding),
        "torch": lambda x: encode(split(x, spec), encoding),
        "scipy": lambda x: encode(scipy_split(x, spec), encoding),
        "copy": copy_of(spec, encoding),
    }
    try:
        torch_dct = importlib.import_module("torch_dct")
        found["torch-dct"] = lambda x: encode(last(x, spec, lambda y: torch_dct.dct(y, norm="ortho")), encoding)
    except ImportError:
        pass
    if compiled:
        found["compiled"] = torch.compile(lambda x: encode(split(x, spec), encoding), dynamic=False)
        if spec.q <= EXPLICIT:
            found["compiled, explicit"] = torch.compile(lambda x: encode(explicit(x, spec), encoding), dynamic=False)
    return found


def last(images_NHWC: Tensor, spec: SpectralSpec, along_last: Callable[[Tensor], Tensor]) -> Tensor:
    """Transform with a function that works along the last dimension."""
    return along_last(regroup(images_NHWC, spec).movedim(0, -1).float().contiguous()).movedim(-1, 0).contiguous()


def scipy_split(images_NHWC: Tensor, spec: SpectralSpec) -> Tensor:
    """Transform with scipy's float32 DCT along the first dimension, on as many threads as torch."""
    pixels = regroup(images_NHWC, spec).float().numpy()
    return torch.from_numpy(scipy.fft.dct(pixels, axis=0, norm="ortho", workers=torch.get_num_threads()))


def explicit(images_NHWC: Tensor, spec: SpectralSpec) -> Tensor:
    """Transform as one expression of numbers and pixels, which a compiler can fuse into one loop."""
    pixels = [plane.float() for plane in regroup(images_NHWC, spec)]
    rows = basis(spec).tolist()
    return torch.stack([sum(weight * plane for weight, plane in zip(row, pixels, strict=True)) for row in rows])


def into_a_block(spec: SpectralSpec, encoding: Encoding) -> Method:
    """Return a split into the next rows of a block of BLOCK_ROWS or of two batches, whichever is more."""
    blocks: dict[int, Tensor] = {}
    turn = itertools.count()

    def fused_into(images_NHWC: Tensor) -> Tensor:
        n, height, width, c = images_NHWC.shape
        if not blocks:
            shape = (spec.q, max(BLOCK_ROWS, 2 * n), c, *spec.spectral_size(height, width))
            blocks[0] = torch.zeros(shape, dtype=encoding.torch_dtype)
        first = next(turn) % (blocks[0].shape[1] // n) * n
        return fused_split(images_NHWC, spec, encoding=encoding, out=blocks[0][:, first : first + n])

    return fused_into


def copy_of(spec: SpectralSpec, encoding: Encoding) -> Method:
    """Return a copy between two buffers that moves a split's bytes: half of them read, half written."""
    buffers: dict[int, Tensor] = {}

    def copy(images_NHWC: Tensor) -> Tensor:
        count = images_NHWC.numel() * (1 + encoding.itemsize) // 2
        source = buffers.setdefault(0, torch.ones(count, dtype=torch.uint8))
        return buffers.setdefault(1, torch.empty_like(source)).copy_(source)

    return copy


def measure(table: dict[str, Method], images_NHWC: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return the seconds a call of each method in each round, after a round to warm up.

    Each first runs once untimed: it would otherwise pay for what the method before it left in the caches. A small batch
    is timed over several calls.
    """
    seconds: dict[str, list[float]] = {name: [] for name in table}
    calls = max(1, TIMED_ELEMENTS // images_NHWC.numel())
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(rounds + 1):
        for name, method in table.items():
            method(images_NHWC)
            start = clock()
            for _ in range(calls):
                method(images_NHWC)
            seconds[name].append((clock() - start) / calls)
    return {name: times[1:] for name, times in seconds.items()}


@click.command()
@click.option("--shape", "shapes", type=click.Choice(list(SHAPES)), multiple=True, default=list(SHAPES))
@click.option("--grid", "grids", multiple=True, default=GRIDS)
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--rows", type=int, help="images in the batch; 1 is an image right after its resize")
@click.option("--compile/--no-compile", "compiled", default=True)
def main(
    shapes: tuple[str, ...], grids: tuple[str, ...], threads: int, rounds: int, rows: int | None, compiled: bool
) -> None:
    """Print one line a case: million elements a second of each method, and how many times slower than fused it is."""
    torch.set_num_threads(threads)
    for shape in shapes:
        n, height, width, c = SHAPES[shape]
        images_NHWC = torch.randint(0, 256, (rows or n, height, width, c), dtype=torch.uint8)
        for grid in grids:
            q1, q2 = map(int, grid.split("x"))
            if height % q1 or width % q2:
                continue
            spec = SpectralSpec(q1, q2)
            for encoding in (Encoding("float16"), calibrate(split(images_NHWC[:64].double(), spec), spec)):
                torch.compiler.reset()
                seconds = measure(methods(spec, encoding, compiled), images_NHWC, rounds)
                print(f"{shape} {grid} {encoding.dtype}, {threads} threads, {len(images_NHWC)} images")
                for name, times in seconds.items():
                    rate = images_NHWC.numel() / statistics.median(times) / 1e6
                    ratio = statistics.median(a / b for a, b in zip(times, seconds["fused"], strict=True))
                    print(f"    {name:20} {rate:9.0f} M/s   {ratio:7.2f} × the time of fused", flush=True)


if __name__ == "__main__":
    main()
