"""The hostile inputs that `hostile` measures: converted sets and runs with one lie, behind right checksums."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spectral_prep.store.record_file import DIGEST, FORMAT, VERSION, digest, read_content, write_content
from tests.prep.store.test_zarr_rows import bomb, with_crc32c
from tests.torture.changes import reseal
from tests.torture.honest import make_honest
from tests.torture.hostile import Case
from tests.torture.hostile_sources import endless, holes, image_cases, pipe, source_cases

VERIFY = "spectral-prep verify --deep set"
INFO = "spectral-prep info set"
SHOW = "spectral-prep show set --row 3 --out row.png"
FINALIZE = "spectral-prep finalize set"
FC = "--model fc --set depth=2 --set width=8 --epochs 1 --device cpu --workers 1"
TRAIN = f"spectral-train --shard 0 --data set --run new {FC}"
EVALUATE = "spectral-ensemble evaluate run"
REPORT = "spectral-ensemble report run"
PREDICT = "spectral-ensemble predict run picture.png"

ROWS = 2**31 - 2
MIB = 1 << 20
PART = "spectral-00/train/x/c/0/0/0/0"
Spoil = Callable[[Path], object]


def all_cases(folder: Path) -> list[Case]:
    """Return every case; honest sets and runs are made below `folder`."""
    honest = make_honest(folder / "honest")

    def copy_of(name: str, to: str) -> Spoil:
        def make(case: Path) -> None:
            shutil.copytree(honest[name], case / to)
            shutil.copy(honest.picture, case / "picture.png")

        return make

    zarr, tars, run = copy_of("zarr", "set"), copy_of("webdataset", "set"), copy_of("run", "run")
    cases = [
        Case(name, command, make, in_folder(where, spoil, seal=not re.search("of holes|in the place", name)))
        for where, make, table in (("set", zarr, SETS), ("set", tars, TARS), ("run", run, RUNS))
        for name, (commands, spoil) in table.items()
        for command in commands
    ]
    return [*cases, *image_cases(run), *source_cases()]


def in_folder(name: str, spoil: Spoil, *, seal: bool) -> Spoil:
    """Return what spoils a set or a run and makes its checksums right; not those of what cannot be read to its end."""

    def spoiled(case: Path) -> None:
        spoil(case / name)
        if seal:
            reseal(case / name)

    return spoiled


def replaced(path: str, content: bytes | Callable[[bytes], bytes]) -> Spoil:
    """Return what gives a file another content."""

    def spoil(root: Path) -> None:
        file = root / path
        file.write_bytes(content if isinstance(content, bytes) else content(file.read_bytes()))

    return spoil


def sealed(path: str, kind: str, change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Return what changes the content of a record and seals it again."""

    def spoil(root: Path) -> None:
        for file in root.glob(path):
            content = read_content(file, kind)
            change(content)
            write_content(file, kind, content)

    return spoil


def many_values(path: str, kind: str, value: str, count: int) -> Spoil:
    """Return what gives a record one more field: a list of so many values, under its own right sha256."""

    def spoil(root: Path) -> None:
        content = read_content(root / path, kind)
        content["more"] = [json.loads(value)] * count
        record = {"format": FORMAT, "version": VERSION, "kind": kind, **content, DIGEST: digest(kind, content)}
        (root / path).write_text(json.dumps(record, separators=(",", ":")))

    return spoil


def together(*spoils: Spoil) -> Spoil:
    """Return what does several things."""
    return lambda root: [spoil(root) for spoil in spoils]


def _rows(content: dict[str, Any]) -> None:
    content["splits"]["train"].update(rows=ROWS, block_rows=ROWS)


def _plan_rows(content: dict[str, Any]) -> None:
    content["splits"]["train"].update(rows=ROWS, block_rows=ROWS, chunk_rows=ROWS)


def _block_rows(content: dict[str, Any]) -> None:
    if content["split"] == "train":
        content.update(stop=ROWS, count=16 * ROWS)


def _shape(content: bytes) -> bytes:
    document = json.loads(content)
    document["shape"][0] = 10**12
    return json.dumps(document).encode()


def _index(content: bytes) -> bytes:
    size = 20  # one chunk and a checksum
    return content[:-size] + with_crc32c(struct.pack("<QQ", 0, 1 << 62))


EVERYWHERE = (VERIFY, INFO, SHOW, TRAIN)
GIB_ROWS = together(
    sealed("plan.json", "plan", _plan_rows),
    sealed("blocks/00000.json", "block", _block_rows),
    sealed("*/spectral.json", "spectral", _rows),
)
SETS: Mapping[str, tuple[tuple[str, ...], Spoil]] = {
    "a chunk that states a GiB, and holds it": ((VERIFY, TRAIN, SHOW), replaced(PART, lambda _: bomb(1 << 30))),
    "a chunk that holds a GiB and states its own size": ((VERIFY, TRAIN), replaced(PART, lambda _: bomb(16 * 12))),
    "an index of a chunk of 2^62 bytes": ((VERIFY, TRAIN), replaced(PART, _index)),
    "a part of 64 GiB of holes": ((VERIFY, TRAIN), lambda root: os.truncate(root / PART, 1 << 36)),
    "labels of 64 GiB of holes": ((VERIFY, TRAIN), holes("spectral-00/train/y/c/0", 1 << 36)),
    "an array of 10^12 rows": ((VERIFY, TRAIN), replaced("spectral-00/train/x/zarr.json", _shape)),
    "labels of 10^12 rows": ((VERIFY, TRAIN), replaced("spectral-00/train/y/zarr.json", _shape)),
    "zarr.json nested 10^6 deep": ((VERIFY, TRAIN), replaced("spectral-00/train/x/zarr.json", b"[" * 10**6)),
    "2^31 rows in all records": (EVERYWHERE, GIB_ROWS),
    "a plan nested 20 million deep": ((VERIFY, INFO, FINALIZE), replaced("plan.json", lambda _: b"[" * 2 * 10**7)),
    "a spectral record nested 20 million deep": (
        (VERIFY, INFO, TRAIN),
        replaced("spectral-00/spectral.json", lambda _: b"[" * 2 * 10**7),
    ),
    "a manifest of 1 TiB of holes": ((VERIFY, INFO, SHOW), holes("manifest.json", 1 << 40)),
    "a manifest of 5 million empty lists": ((VERIFY, INFO), many_values("manifest.json", "manifest", "[]", 5 * 10**6)),
    "a spectral record of 5 million numbers": (
        (VERIFY, TRAIN),
        many_values("spectral-00/spectral.json", "spectral", "0.5", 5 * 10**6),
    ),
    "a row index of one line of 50 MiB": ((VERIFY, FINALIZE), replaced("rows/train.jsonl", lambda _: b"[" * 50 * MIB)),
    "a row index of 50 MiB of line ends": (
        (VERIFY, FINALIZE),
        replaced("rows/train.jsonl", lambda _: b"\n" * 50 * MIB),
    ),
    "a pipe in the place of a part": ((VERIFY, TRAIN, SHOW), pipe(PART)),
    "/dev/zero in the place of a part": ((VERIFY, TRAIN), endless(PART)),
    "/dev/zero in the place of a record": ((VERIFY, INFO, TRAIN), endless("spectral-00/spectral.json")),
}

TAR, NPY = "spectral-00/train-00000.tar", "spectral-00/train-y.npy"
TARS: Mapping[str, tuple[tuple[str, ...], Spoil]] = {
    "a tar of 64 GiB of holes": ((VERIFY, TRAIN), holes(TAR, 1 << 36)),
    "a member of 8 GiB": (
        (VERIFY, TRAIN),
        replaced(TAR, lambda content: content[:124] + b"77777777777\0" + content[136:]),
    ),
    "labels whose .npy header says 10^15 rows": (
        (VERIFY, TRAIN),
        replaced(NPY, lambda content: content.replace(b"(80,), ", b"(10**15,), ").replace(b"(", b"(9999999", 1)),
    ),
    "labels of 64 GiB of holes (.npy)": ((VERIFY, TRAIN), holes(NPY, 1 << 36)),
}


def _weights(header: bytes, name: str = "model") -> Spoil:
    return replaced(f"branch-00/{name}.safetensors", struct.pack("<Q", len(header)) + header + bytes(4096))


def _as_outputs(header: bytes) -> Spoil:
    return _weights(header, "outputs")


def _tensors(count: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"{number}": empty for number in range(count)}, separators=(",", ":")).encode()


def _plan(change: Callable[[dict[str, Any]], object]) -> Spoil:
    return sealed("branch-00/branch.json", "branch", lambda content: change(content["plan"]))


ALL_OF_RUN = (EVALUATE, PREDICT, REPORT)
RUNS: Mapping[str, tuple[tuple[str, ...], Spoil]] = {
    "a safetensors header of 2^60 bytes": (
        ALL_OF_RUN,
        replaced("branch-00/model.safetensors", lambda content: struct.pack("<Q", 1 << 60) + content[8:]),
    ),
    "a tensor of 2^40 values": (
        (EVALUATE, PREDICT),
        _weights(b'{"1.bias":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'),
    ),
    "a million empty tensors": ((EVALUATE, PREDICT), lambda root: _weights(_tensors(10**6))(root)),
    "a tensor of 10 million dimensions": (
        (EVALUATE, PREDICT),
        lambda root: _weights(b'{"x":{"dtype":"F32","shape":[' + b"1," * 10**7 + b'1],"data_offsets":[0,4]}}')(root),
    ),
    "outputs that are a million empty tensors": ((EVALUATE, PREDICT), lambda root: _as_outputs(_tensors(10**6))(root)),
    "a network of 10^9 layers": (
        ALL_OF_RUN,
        _plan(lambda plan: plan["recipe"]["model_options"].update(depth=10**9)),
    ),
    "a layer of 10^9 neurons": (
        (EVALUATE, PREDICT),
        _plan(lambda plan: plan["recipe"]["model_options"].update(width=10**9)),
    ),
    "images of 2^30 by 2^30 pixels": (
        (EVALUATE, PREDICT),
        _plan(lambda plan: plan.update(input_shape=[1, 2**30, 2**30])),
    ),
    "metrics of one line of 50 MiB": ((REPORT,), replaced("branch-00/metrics.jsonl", lambda _: b"[" * 50 * MIB)),
    "metrics of 5 million empty lists": ((REPORT,), replaced("branch-00/metrics.jsonl", lambda _: b"[]\n" * 5 * 10**6)),
    "metrics of 5 million lists in a line": (
        (REPORT,),
        replaced("branch-00/metrics.jsonl", lambda _: b"[" + b"[]," * 5 * 10**6 + b"0]\n"),
    ),
    "a branch record nested 20 million deep": (
        ALL_OF_RUN,
        replaced("branch-00/branch.json", lambda _: b"[" * 2 * 10**7),
    ),
    "a pipe in the place of weights": ((EVALUATE, PREDICT), pipe("branch-00/model.safetensors")),
    "/dev/zero in the place of outputs": ((EVALUATE,), endless("branch-00/outputs.safetensors")),
}
