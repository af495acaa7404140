"""What the CUDA kernel should reach on two GPUs, from its machine code: a prediction, no measurement.

    python benchmarks/roofline.py > docs/roofline.md      # needs cuda.bindings, and nvdisasm or triton

1. NVRTC compiles the kernel for the GPU's architecture, as the launcher does; nvdisasm lists its instructions.
2. The loop over channels is the smallest loop that holds every store; it runs once for Q coefficients of one site.
3. Each kind of instruction divided by what a multiprocessor (SM) completes a clock is a limit, and so are the bytes
   divided by the bandwidth. The smallest limit is the prediction.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from spectral_prep.kernel.launch import THREADS, macros
from spectral_prep.kernel.nvrtc import compile_header
from spectral_prep.spectrum import SpectralSpec

SPECS = [
    *(SpectralSpec(*grid) for grid in ((2, 2), (4, 4), (1, 28), (1, 32), (7, 7), (8, 8))),
    SpectralSpec(8, 8, transform="dct2"),
]
STORED = (torch.float16, torch.int8)

# What runs where, by the first part of its name. What is not listed (branches, uniform registers) only takes a slot.
PIPES = {
    "multiply-add": ("FFMA", "FADD", "FMUL", "IMAD", "HFMA2"),
    "integer": ("IADD3", "VIADD", "LOP3", "ISETP", "SEL", "LEA", "PRMT", "SHF", "FMNMX", "I2FP", "F2FP", "MOV"),
    "conversion": ("I2F", "F2F", "F2I", "MUFU"),
    "load-store": ("LDG", "STG", "LDC"),
}
SPILLS = ("LDL", "STL")


@dataclass(frozen=True)
class Gpu:
    """Vendor's figures: bandwidth in bytes a second, boost clock, threads that each pipe of an SM serves a clock."""

    name: str
    arch: str
    bandwidth: float
    multiprocessors: int
    clock: float
    per_clock: dict[str, int]


GPUS = [
    Gpu("H100 SXM", "sm_90", 3.35e12, 132, 1.755e9,
        {"issue": 128, "multiply-add": 128, "integer": 64, "conversion": 16, "load-store": 32}),
    Gpu("A100 SXM 80 GB", "sm_80", 2.039e12, 108, 1.41e9,
        {"issue": 128, "multiply-add": 64, "integer": 64, "conversion": 16, "load-store": 32}),
]  # fmt: skip

TITLE = """# Roofline of the CUDA kernel: PREDICTED, NOT MEASURED

No GPU was at hand. These figures follow from the machine code that NVRTC gives and from the vendors' data sheets; made
by `python benchmarks/roofline.py`, which says how. `split`, uint8 in, layout `blocks`.

* *instructions*: of the loop over channels, for the Q coefficients of one channel of one site. The index arithmetic
  of a site, which its channels share, stands outside this loop and is not counted: it matters most at Q = 4.
* *memory*: billions of coefficients a second if only the bytes counted, each read and written once.
* *predicted*: the smallest of memory and the limits of the SM's pipes; *bound by* names it.
* *threads*: resident on one SM, of 2048, as the registers allow. Where they are few the latency of memory may not be
  hidden, which this model does not know, as it does not know cache lines that a warp's loads split."""


def main() -> None:
    """Print the table of every GPU, spec and storage dtype."""
    print(TITLE)
    for gpu in GPUS:
        print(f"\n## {gpu.name} ({gpu.arch}): {gpu.bandwidth / 1e12:g} TB/s, {gpu.multiprocessors} SMs", end="")
        print(f" at {gpu.clock / 1e9:g} GHz\n")
        print("| Q | transform | stored | instructions | multiply-add | integer | conversion | load-store |", end="")
        print(" registers | threads | memory | predicted | bound by | % of memory |")
        print("|" + "--:|---|---|" + "--:|" * 9 + "---|--:|")
        for spec in SPECS:
            for stored in STORED:
                print(row(gpu, spec, stored))


def row(gpu: Gpu, spec: SpectralSpec, stored: torch.dtype) -> str:
    """Return one line of the table."""
    compiled = compile_header(macros(spec, torch.uint8, stored, merge=False), gpu.arch)
    counts = Counter(channel_loop(compiled.cubin))
    used = {"issue": counts.total()} | {pipe: sum(counts[name] for name in PIPES[pipe]) for pipe in PIPES}
    if any(counts[name] for name in SPILLS):
        raise SystemExit(f"{spec} spills on {gpu.arch}: its loads and stores would have to be counted")
    chip = gpu.multiprocessors * gpu.clock * spec.q
    limits = {pipe: chip * gpu.per_clock[pipe] / number for pipe, number in used.items() if number}
    limits["memory"] = gpu.bandwidth / (1 + stored.itemsize)
    bound = min(limits, key=lambda pipe: limits[pipe])
    registers = int(re.findall(r"Used (\d+) registers", compiled.log)[0])
    grid = f"{spec.q} ({spec.q1}×{spec.q2})"
    cells = (grid, spec.transform, str(stored).removeprefix("torch."), *used.values(), registers, resident(registers))
    rates = (f"{limits['memory'] / 1e9:.0f}", f"{limits[bound] / 1e9:.0f}", bound)
    return "| " + " | ".join(map(str, (*cells, *rates, f"{100 * limits[bound] / limits['memory']:.0f}"))) + " |"


def resident(registers: int) -> int:
    """Threads of one SM that 65,536 registers hold, in whole blocks; a warp's registers come in steps of 256."""
    a_warp = -(-registers * 32 // 256) * 256
    return min(2048 // THREADS, 65536 // (a_warp * THREADS // 32)) * THREADS


def channel_loop(cubin: bytes) -> list[str]:
    """Return the names of the instructions in the smallest loop that holds every store."""
    lines = disassembled(cubin)
    labels: dict[str, int] = {}
    names: list[str] = []
    jumps: list[tuple[int, str]] = []
    for line in lines:
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(names)
        elif found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?(\w+)[^;]*;", line):
            if target := re.search(r"`\((\.L_x_\d+)\)", line):
                jumps.append((len(names), target[1]))
            names.append(found[1])
    stores = [place for place, name in enumerate(names) if name == "STG"]
    loops = [(labels[label], end) for end, label in jumps if labels[label] <= stores[0] and stores[-1] < end]
    first, last = min(loops, key=lambda loop: loop[1] - loop[0])
    return names[first : last + 1]


def disassembled(cubin: bytes) -> list[str]:
    """Return nvdisasm's listing."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([nvdisasm(), "-c", file.name], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def nvdisasm() -> str:
    """Return the disassembler: on the path, or in triton's wheel."""
    found = shutil.which("nvdisasm")
    if found is not None:
        return found
    triton = importlib.util.find_spec("triton")
    if triton is None or triton.origin is None:
        raise SystemExit("nvdisasm is not installed; pip install triton brings one")
    return str(Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "nvdisasm")


if __name__ == "__main__":
    main()
