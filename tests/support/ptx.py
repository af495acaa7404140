"""Run the PTX that NVRTC emits, without a GPU: numpy over all threads of a grid, every access checked and counted.

Input: PTX text, a `Memory` of buffers, a grid and the kernel's parameters. Output: the buffers, written, with the
number of times each byte was loaded and stored.

1. The kernel's body is cut into basic blocks, at labels and branches.
2. Every thread stands at a block; the lowest one runs next, for all threads that stand there. Without barriers or
   shared memory, which are refused like any other instruction not listed here, every such order gives one result.
3. Parameters are one stretch of bytes and local memory one a thread, each addressed from zero; a module's constants are
   buffers like any other.
4. Registers are arrays of bits, one element a thread; an instruction's type suffix says how to read them. A float
   operation that leaves its rounding open is refused: the assembler may fuse it, and the GPU's bits would differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[Any]

TYPES = {
    **{
        f"{kind}{bits}": f"{code}{bits // 8}"
        for kind, code in (("u", "u"), ("s", "i"), ("b", "u"))
        for bits in (8, 16, 32, 64)
    },
    "f16": "f2",
    "f32": "f4",
}
SPECIAL = ("%tid.x", "%ctaid.x", "%ntid.x", "%nctaid.x")
INSTRUCTION = re.compile(r"(?:@(?P<negated>!?)(?P<guard>%\w+)\s+)?(?P<opcode>[a-z][\w.]*)\s*(?P<operands>[^;]*);")


class PtxError(AssertionError):
    """What a GPU would not survive, or what this interpreter does not know."""


@dataclass
class Buffer:
    """One allocation: its bytes and how often each was loaded and stored."""

    address: int
    content: npt.NDArray[np.uint8]
    loads: npt.NDArray[np.uint8] = field(init=False)
    stores: npt.NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.loads, self.stores = (np.zeros(self.content.size, np.uint8) for _ in range(2))


class Memory:
    """The global memory of a device: buffers of exactly their size."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []

    def add(self, content: npt.NDArray[np.uint8]) -> Buffer:
        """Return a buffer over these bytes, at their own address; what a kernel stores lands in them."""
        self.buffers.append(Buffer(content.ctypes.data, content))
        return self.buffers[-1]

    def load(self, addresses: npt.NDArray[np.uint64], dtype: np.dtype[Any]) -> Bits:
        buffer, places = self._places(addresses, dtype.itemsize)
        np.add.at(buffer.loads, places, 1)
        return np.ascontiguousarray(buffer.content[places]).view(dtype)[:, 0]

    def store(self, addresses: npt.NDArray[np.uint64], values: Bits) -> None:
        buffer, places = self._places(addresses, values.itemsize)
        np.add.at(buffer.stores, places, 1)
        buffer.content[places] = np.ascontiguousarray(values).view(np.uint8).reshape(places.shape)

    def _places(self, addresses: npt.NDArray[np.uint64], size: int) -> tuple[Buffer, npt.NDArray[np.int64]]:
        first = int(addresses[0])
        owner = next((b for b in self.buffers if b.address <= first < b.address + b.content.size), None)
        if owner is None:
            raise PtxError(f"access to {first:#x}, which is in no buffer")
        offsets = addresses.view(np.int64) - owner.address
        if offsets.min() < 0 or offsets.max() + size > owner.content.size:
            raise PtxError(f"access of {size} bytes out of a buffer of {owner.content.size}")
        if (addresses % size).any():
            raise PtxError(f"misaligned access of {size} bytes")
        return owner, offsets[:, None] + np.arange(size)


@dataclass(frozen=True)
class Instruction:
    """One line: an opcode cut at its dots, its operands, and the predicate it hangs on."""

    opcode: list[str]
    operands: list[str]
    guard: str | None
    negated: bool


class Kernel:
    """The only entry of a PTX module."""

    def __init__(self, ptx: str) -> None:
        entry = re.search(r"\.entry\s+(\w+)\s*\(([^)]*)\)[^{]*\{(.*)\}", ptx, re.S)
        if entry is None:
            raise PtxError("no entry")
        self.name, parameters, body = entry.groups()
        self.parameters = re.findall(r"\.param\s[^,]*?(\w+)(?:\[(\d+)\])?\s*(?:,|$)", parameters)
        self.registers = re.findall(r"\.reg\s+\.(\w+)\s+(%\w+)(?:<(\d+)>)?;", body)
        self.local = [(name, int(size)) for name, size in re.findall(r"\.local\s.*?(\w+)\[(\d+)\];", body)]
        constants = re.findall(r"^\.global\s.*?(\w+)\[\d+\] = \{([\d, ]*)\};", ptx, re.M)
        self.constants = {name: np.array(numbers.split(","), int).astype(np.uint8) for name, numbers in constants}
        self.blocks: list[list[Instruction]] = [[]]
        self.labels: dict[str, int] = {}
        for line in body.splitlines():
            self._read(line.partition("//")[0].strip())

    def _read(self, line: str) -> None:
        if not line or line.startswith((".reg", ".local", ".pragma")):
            return
        if label := re.fullmatch(r"(\$\w+):", line):
            self.blocks.append([])
            self.labels[label[1]] = len(self.blocks) - 1
            return
        found = INSTRUCTION.fullmatch(line)
        if found is None:
            raise PtxError(f"cannot read: {line}")
        operands = [text.strip() for text in re.split(r",(?![^{]*\})", found["operands"])] if found["operands"] else []
        opcode = found["opcode"].split(".")
        for scalar, each in _scalars(opcode, operands):
            self.blocks[-1].append(Instruction(scalar, each, found["guard"], bool(found["negated"])))
        if found["opcode"].startswith(("bra", "ret")):
            self.blocks.append([])

    def run(self, memory: Memory, blocks: int, threads: int, arguments: list[bytes], first_block: int = 0) -> int:
        """Run a one-dimensional grid, or its last blocks, to the end; return how many instructions were executed."""
        sizes = [int(size or 8) for _, size in self.parameters]
        if list(map(len, arguments)) != sizes:
            raise PtxError(f"parameters of {sizes} bytes, arguments of {list(map(len, arguments))}")
        return _Run(self, memory, (first_block, blocks), threads, arguments).to_the_end()


def _scalars(opcode: list[str], operands: list[str]) -> list[tuple[list[str], list[str]]]:
    """Return a load or store of a vector as one for each of its elements; any other instruction as it is."""
    if not {"v2", "v4"} & set(opcode):
        return [(opcode, operands)]
    vector = 0 if opcode[0] == "ld" else 1
    size = np.dtype(TYPES[opcode[-1]]).itemsize
    register, _, offset = operands[1 - vector].strip("[]").partition("+")
    found = []
    for i, element in enumerate(operands[vector].strip("{}").split(",")):
        pair = [f"[{register}+{int(offset or 0) + i * size}]"]
        pair.insert(vector, element.strip())
        found.append(([part for part in opcode if part not in ("v2", "v4")], pair))
    return found


class _Run:
    def __init__(
        self, kernel: Kernel, memory: Memory, blocks: tuple[int, int], threads: int, arguments: list[bytes]
    ) -> None:
        self.kernel, self.memory = kernel, memory
        self.symbols = {name: memory.add(content).address for name, content in kernel.constants.items()}
        self.parameters = b""
        for (name, _), argument in zip(kernel.parameters, arguments, strict=True):
            self.symbols[name] = len(self.parameters)
            self.parameters += argument
        first, end = blocks
        total = (end - first) * threads
        self.standing = np.zeros(total, np.int64)
        self.values: dict[str, Bits] = {}
        for kind, prefix, count in kernel.registers:
            dtype = np.dtype(bool) if kind == "pred" else np.dtype(f"u{int(kind[1:]) // 8}")
            names = [f"{prefix}{i}" for i in range(int(count))] if count else [prefix]
            self.values |= {name: np.zeros(total, dtype) for name in names}
        self.local = np.zeros((total, sum(size for _, size in kernel.local)), np.uint8)
        self.symbols |= {name: 0 for name, _ in kernel.local}
        every = np.arange(total, dtype=np.uint32)
        constant = np.ones(total, np.uint32)
        ids = (every % threads, first + every // threads, threads * constant, end * constant)
        self.values |= {name: value.astype(np.uint32) for name, value in zip(SPECIAL, ids, strict=True)}

    def to_the_end(self) -> int:
        executed = 0
        while (block := int(self.standing.min())) < len(self.kernel.blocks):
            chosen = np.flatnonzero(self.standing == block)
            self.standing[chosen] = block + 1
            for instruction in self.kernel.blocks[block]:
                self._execute(instruction, chosen)
                executed += 1
        return executed

    def _execute(self, instruction: Instruction, chosen: npt.NDArray[np.int64]) -> None:
        if instruction.guard is not None:
            chosen = chosen[self.values[instruction.guard][chosen] ^ instruction.negated]
            if not chosen.size:
                return
        name, *suffixes = instruction.opcode
        operands = instruction.operands
        if name == "bra":
            self.standing[chosen] = self.kernel.labels[operands[0]]
        elif name == "ret":
            self.standing[chosen] = len(self.kernel.blocks)
        elif name == "st" and suffixes[0] == "global":
            self.memory.store(self._address(operands[0], chosen), self._read(operands[1], suffixes[-1], chosen))
        elif name == "st" and suffixes[0] == "local":
            value = np.ascontiguousarray(self._read(operands[1], suffixes[-1], chosen))
            places = self._local(operands[0], chosen, value.itemsize)
            self.local[chosen[:, None], places] = value.view(np.uint8).reshape(places.shape)
        elif name == "ld":
            self._write(operands[0], self._load(suffixes, operands[1], chosen), chosen)
        else:
            self._write(operands[0], self._compute(name, suffixes, operands[1:], chosen), chosen)

    def _load(self, suffixes: list[str], operand: str, chosen: npt.NDArray[np.int64]) -> Bits:
        dtype = np.dtype(TYPES[suffixes[-1]])
        if suffixes[0] == "param":
            places = self._inside(self._address(operand, chosen), len(self.parameters), dtype.itemsize)
            return np.ascontiguousarray(np.frombuffer(self.parameters, np.uint8)[places]).view(dtype)[:, 0]
        if suffixes[0] == "local":
            places = self._local(operand, chosen, dtype.itemsize)
            return np.ascontiguousarray(self.local[chosen[:, None], places]).view(dtype)[:, 0]
        if suffixes[0] != "global" or "volatile" in suffixes:
            raise PtxError(f"ld.{'.'.join(suffixes)}")
        return self.memory.load(self._address(operand, chosen), dtype)

    def _local(self, operand: str, chosen: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
        return self._inside(self._address(operand, chosen), self.local.shape[1], size)

    def _inside(self, addresses: npt.NDArray[np.uint64], limit: int, size: int) -> npt.NDArray[np.int64]:
        """Return the places of every byte of accesses to a space that begins at zero."""
        first = addresses.view(np.int64)
        if first.min() < 0 or first.max() + size > limit or (first % size).any():
            raise PtxError(f"access of {size} bytes out of {limit}, or misaligned")
        return first[:, None] + np.arange(size)

    def _compute(self, name: str, suffixes: list[str], operands: list[str], chosen: npt.NDArray[np.int64]) -> Bits:
        if name == "cvt":
            return _convert(self._read(operands[0], suffixes[-1], chosen), suffixes[-2], suffixes[:-2])
        if name == "cvta":
            return self._read(operands[0], "u64", chosen)
        kind = suffixes[-1]
        if name == "setp":
            return COMPARE[suffixes[0]](*(self._read(operand, kind, chosen) for operand in operands))
        if name == "selp":
            first, second = (self._read(operand, kind, chosen) for operand in operands[:2])
            return np.where(self.values[operands[2]][chosen], first, second)
        if name in ("shl", "shr"):
            return _shift(name, self._read(operands[0], kind, chosen), self._read(operands[1], "u32", chosen))
        if kind == "pred":
            return LOGIC[name](*(self._predicate(operand, chosen) for operand in operands))
        if {"wide", "hi"} & set(suffixes):
            return _wide(name, suffixes, [self._read(operand, kind, chosen) for operand in operands[:2]])
        known = FLOAT if kind == "f32" else INTEGER
        may_be_fused = kind == "f32" and name in ("add", "sub", "mul") and "rn" not in suffixes
        if name not in known or not set(suffixes[:-1]) <= {"rn", "lo"} or may_be_fused:
            raise PtxError(f"{name}.{'.'.join(suffixes)}")
        return known[name](*(self._read(operand, kind, chosen) for operand in operands))

    def _address(self, operand: str, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        register, _, offset = operand.strip("[]").partition("+")
        return self._read(register, "u64", chosen) + np.array(int(offset or 0), np.int64).astype(np.uint64)

    def _predicate(self, operand: str, chosen: npt.NDArray[np.int64]) -> Bits:
        return self.values[operand][chosen] if operand in self.values else np.full(chosen.size, int(operand) != 0)

    def _read(self, operand: str, kind: str, chosen: npt.NDArray[np.int64]) -> Bits:
        """Return an operand's low bits, as its type: a register of 16 bits may hold a value of 8."""
        dtype = np.dtype(TYPES[kind])
        if operand in self.values:
            held = self.values[operand][chosen]
            return held.astype(f"u{dtype.itemsize}").view(dtype)
        if operand in self.symbols:
            return np.full(chosen.size, self.symbols[operand], dtype)
        if operand.startswith("0f"):
            return np.full(chosen.size, int(operand[2:], 16), np.uint32).view(dtype)
        bits = int(operand, 0) & (2 ** (8 * dtype.itemsize) - 1)
        return np.full(chosen.size, bits, f"u{dtype.itemsize}").view(dtype)

    def _write(self, register: str, value: Bits, chosen: npt.NDArray[np.int64]) -> None:
        """Put a value into a register; a narrower integer is extended by its own sign, as ld and cvt do."""
        held = self.values[register]
        if value.dtype.kind == "i":
            value = value.astype(f"i{held.itemsize}")
        elif value.dtype.kind == "f":
            value = value.view(f"u{value.itemsize}")
        held[chosen] = value.astype(held.dtype) if value.dtype.kind in "ub" else value.view(held.dtype)


def fma(a: Bits, b: Bits, c: Bits) -> Bits:
    """Return a·b + c in float32, rounded once.

    The product is exact in double. The sum is rounded to odd there (Boldo and Melquiond 2008), with the error that
    two-sum gives, so that rounding to float is not a second rounding.
    """
    product, addend = a.astype(np.float64) * b, c.astype(np.float64)
    total = product + addend
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)
    bits = total.view(np.int64)
    even = (bits & 1) == 0
    step = np.where((error > 0) == (total > 0), 1, -1)
    odd = np.where(np.isfinite(total) & (error != 0) & even, bits + step, bits)
    return odd.view(np.float64).astype(np.float32)


def _convert(value: Bits, to: str, modifiers: list[str]) -> Bits:
    if modifiers not in ([], ["rn"]) or (value.dtype.kind == "f" and not to.startswith("f")):
        raise PtxError(f"cvt.{'.'.join([*modifiers, to])} from {value.dtype}")
    with np.errstate(over="ignore"):
        return value.astype(TYPES[to])


def _shift(name: str, value: Bits, by: Bits) -> Bits:
    width = 8 * value.itemsize
    by = np.minimum(by, width).astype(value.dtype)
    inside = np.minimum(by, width - 1)
    shifted = value << inside if name == "shl" else value >> inside
    beyond = np.where(value < 0, -1, 0).astype(value.dtype) if name == "shr" else np.zeros_like(value)
    return np.where(by < width, shifted, beyond).astype(value.dtype)


def _wide(name: str, suffixes: list[str], factors: list[Bits]) -> Bits:
    if name != "mul" or suffixes[0] != "wide":
        raise PtxError(f"{name}.{'.'.join(suffixes)}")
    double = factors[0].dtype.kind + str(2 * factors[0].itemsize)
    product: Bits = factors[0].astype(double) * factors[1].astype(double)
    return product


def _divide(a: Bits, b: Bits) -> Bits:
    """Divide like the machine: towards zero. The kernels divide nothing below zero, so this is checked, not coded."""
    if (a < 0).any() or (b <= 0).any():
        raise PtxError("division by zero or of a negative number")
    return a // b


COMPARE: dict[str, Callable[..., Bits]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
LOGIC: dict[str, Callable[..., Bits]] = {
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "xor": np.logical_xor, "mov": np.copy,
}  # fmt: skip
FLOAT: dict[str, Callable[..., Bits]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "fma": fma, "mov": np.copy,
    "min": np.fmin, "max": np.fmax, "neg": np.negative, "abs": np.abs,
}  # fmt: skip
INTEGER: dict[str, Callable[..., Bits]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "mad": lambda a, b, c: a * b + c, "mov": np.copy,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert, "neg": np.negative,
    "min": np.minimum, "max": np.maximum, "div": _divide, "rem": lambda a, b: a - _divide(a, b) * b,
}  # fmt: skip
