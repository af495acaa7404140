"""One field of an honest data set or run changed, and every checksum made right again: what `fuzz` feeds to readers.

Input: a folder and what hypothesis draws. Output: the folder with one change that no checksum catches, and a line that
says which.

1. `change_json` changes one place of a JSON value: it goes, comes twice, has another type, another size, another order.
2. Each kind of file is a `Target`: records, Zarr's metadata, lines, headers of safetensors, tars and .npy, indices.
3. `reseal` gives every other record of the folder the sizes and sha256 that the files now have.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import safetensors
import safetensors.torch
from hypothesis import strategies as st

from spectral_prep.errors import SpectralError
from spectral_prep.places import sha256_of
from spectral_prep.store.record_file import DIGEST, read_content, write_content
from spectral_train.training import checkpoint

Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    255,
    256,
    2**15,
    2**16,
    2**24,
    10**7,
    10**9,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63,
    10**30,
)
FLOATS = (0.0, -0.0, 0.5, 1e-320, 1e9, 1e38, 1e39, 1e308, float("nan"), float("inf"))
WORDS: tuple[str, ...] = ("", "x", "é\udcff", "\0", "../x", "/etc/passwd", ".", "train", "test", "fc")
WORDS += ("timm:vit_giant_patch14_clip_224", "float16", "int8", "zarr", "webdataset", "none", "zstd", "pickle")
WORDS += ("auto", "balanced", "x" * 50_000)
DEEPEST = 400
NUMERIC = st.sampled_from([*NUMBERS, *(-number for number in NUMBERS), *FLOATS, *(-number for number in FLOATS)])
SCALARS = st.one_of(st.none(), st.booleans(), NUMERIC, st.sampled_from(WORDS), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
OPERATIONS = ("value", "number", "delete", "twice", "retype", "reorder", "sibling", "unknown", "deep", "long", "empty")


def change_json(draw: Draw, content: Any) -> tuple[Any, str]:
    """Return a JSON value with one place changed, and what was done there."""
    changed = copy.deepcopy(content)
    if not isinstance(changed, dict | list) or not changed:
        return draw(VALUES), "the whole"
    inside, path = changed, []
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = draw(st.sampled_from(keys))
        path.append(str(key))
        if not isinstance(inside[key], dict | list) or not inside[key] or draw(st.integers(0, 3)) == 0:
            break
        inside = inside[key]
    operation = draw(st.sampled_from(OPERATIONS))
    told = f"{'.'.join(path)}: {operation}"
    if operation == "delete":
        del inside[key]
        return changed, told
    if operation in ("twice", "unknown"):
        value = inside[key] if operation == "twice" else draw(VALUES)
        if isinstance(inside, list):
            inside.insert(key, value)
        else:
            inside[f"{key}-twice" if operation == "twice" else draw(st.text(max_size=4))] = value
        return changed, told
    inside[key] = _changed_value(draw, operation, inside[key], [inside[other] for other in keys])
    shown = repr(inside[key])
    return changed, f"{told} → {shown if len(shown) < 100 else shown[:100] + '…'}"


def _changed_value(draw: Draw, operation: str, value: Any, siblings: list[Any]) -> Any:
    if operation == "number":
        if type(value) in (int, float):
            return draw(st.sampled_from([value + 1, value - 1, -value, value * 2, value * 2**31, float(value), 0]))
        return draw(NUMERIC)
    if operation == "retype":
        return draw(st.sampled_from([str(value), [value], {"x": value}, value is None, None]))
    if operation == "reorder" and isinstance(value, list):
        return value[::-1]
    if operation == "sibling":
        return copy.deepcopy(draw(st.sampled_from(siblings)))
    if operation == "deep":
        for _ in range(draw(st.sampled_from([3, 100, DEEPEST]))):
            value = [value]
        return value
    if operation == "long" and isinstance(value, list | str) and len(value):
        return value * draw(st.sampled_from([2, 1000]))
    if operation == "empty" and isinstance(value, list | str | dict):
        return type(value)()
    return draw(VALUES)


@dataclass(frozen=True)
class Target:
    """A kind of file: which ones of a folder, and how one is changed."""

    name: str
    pattern: str
    change: Callable[[Draw, Path], str]

    def apply(self, draw: Draw, root: Path) -> str:
        """Change one file of a folder, or all alike, and return what was done."""
        paths = sorted(path for path in root.glob(self.pattern) if path.is_file())
        place = draw(st.integers(0, len(paths) - 1))
        return f"{paths[place].relative_to(root)}: {self.change(draw, paths[place])}"


def record_target(kind: str, pattern: str) -> Target:
    """Return the target of a kind of record; nothing of it but the change is sealed anew."""

    def change(draw: Draw, path: Path) -> str:
        content, told = change_json(draw, read_content(path, kind))
        if not isinstance(content, dict):
            path.write_text(json.dumps(content))
            return told
        write_content(path, kind, {key: value for key, value in content.items() if key not in HEADER})
        return told

    return Target(kind, pattern, change)


def records_target(kind: str, pattern: str) -> Target:
    """Return the target whose records are all changed alike, at the same place to the same value."""

    def change(draw: Draw, path: Path) -> str:
        root = next(parent for parent in path.parents if path in parent.glob(pattern))
        before = read_content(path, kind)
        after, told = change_json(draw, before)
        if not isinstance(after, dict):
            return "nothing"
        for other in sorted(root.glob(pattern)):
            content = read_content(other, kind)
            gone, new = before.keys() - after.keys(), {k: v for k, v in after.items() if _unlike(before, after, k)}
            merged = {key: value for key, value in {**content, **new}.items() if key not in gone}
            write_content(other, kind, {key: value for key, value in merged.items() if key not in HEADER})
        return f"and all alike: {told}"

    return Target(f"{kind}, all alike", pattern, change)


HEADER = ("format", "version", "kind", DIGEST)


def _unlike(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> bool:
    return key not in before or repr(before[key]) != repr(after[key])


def json_target(name: str, pattern: str) -> Target:
    """Return the target of a plain JSON file."""

    def change(draw: Draw, path: Path) -> str:
        content, told = change_json(draw, json.loads(path.read_text()))
        path.write_text(json.dumps(content))
        return told

    return Target(name, pattern, change)


def raw_target(name: str, pattern: str) -> Target:
    """Return the target of a text that is no JSON of this house any more: nested, cut, doubled, huge numbers."""

    def change(draw: Draw, path: Path) -> str:
        text = path.read_text(errors="surrogateescape")
        kind = draw(st.sampled_from(["deep", "digits", "cut", "empty", "latin1", "nan", "lines"]))
        if kind == "deep":
            depth = draw(st.sampled_from([900, 3000, 100_000]))
            new = text.replace(":", ":" + "[" * depth + "]" * depth + ',"z":', 1)
        elif kind == "digits":
            new = text.replace(": ", ": " + "9" * 5000 + ', "z": ', 1)
        elif kind == "cut":
            new = text[: draw(st.integers(0, len(text)))]
        elif kind == "nan":
            new = text.replace(": 0", ": NaN", 1).replace(": 1", ": -Infinity", 1)
        elif kind == "lines":
            new = text + draw(st.sampled_from(["\n", "[]\n", '["a", 99999999999]\n', '["a", 1.5]\n', "null\n", text]))
        else:
            new = "" if kind == "empty" else "\udcff" + text
        path.write_bytes(new.encode("utf-8", "surrogateescape"))
        return f"raw {kind}"

    return Target(f"{name}, raw", pattern, change)


def lines_target(name: str, pattern: str) -> Target:
    """Return the target of a file of JSON lines."""

    def change(draw: Draw, path: Path) -> str:
        lines = path.read_text().splitlines()
        place = draw(st.integers(0, len(lines) - 1))
        content, told = change_json(draw, json.loads(lines[place]))
        lines[place] = json.dumps(content)
        path.write_text("\n".join(lines) + "\n")
        return f"line {place}: {told}"

    return Target(name, pattern, change)


def header_target(name: str, pattern: str) -> Target:
    """Return the target of the header of a safetensors file; a checkpoint's own sha256 is made right."""

    def change(draw: Draw, path: Path) -> str:
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
        inner = header.get("__metadata__", {}).get(checkpoint.METADATA)
        kind = draw(st.sampled_from(["header", "length", "values", *(["inner"] * 3 if inner else [])]))
        if kind == "inner":
            changed, told = change_json(draw, json.loads(inner))
            header["__metadata__"][checkpoint.METADATA] = json.dumps(changed)
        elif kind == "values":
            place = draw(st.integers(0, max(0, len(body) // 4 - 1))) * 4
            value = draw(st.sampled_from([float("nan"), float("inf"), 1e30, -1e30, 1.0, -1.0, 1e-40]))
            body = body[:place] + struct.pack("<f", value) + body[place + 4 :]
            told = f"bytes {place} of the values are those of {value}"
        elif kind == "header":
            header, told = change_json(draw, header)
        else:
            told = "the length"
        text = json.dumps(header).encode()
        length = (
            len(text)
            if kind != "length"
            else draw(st.sampled_from([0, 1, size - 1, size + 1, 10**8, 2**63, 2**64 - 1]))
        )
        path.write_bytes(length.to_bytes(8, "little") + text + body)
        if inner and kind != "length":
            _seal_checkpoint(path, header, body)
        return f"{kind}: {told}"

    return Target(name, pattern, change)


def _seal_checkpoint(path: Path, header: Any, body: bytes) -> None:
    """Let a checkpoint say the sha256 of the tensors that it has, if it has any."""
    try:
        header["__metadata__"][checkpoint.DIGEST] = checkpoint._digest(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError):
        return
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


TAR_FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "size": (124, 12),
    "type": (156, 1),
    "magic": (257, 8),
    "prefix": (345, 155),
}
TAR_VALUES = (
    b"\xff",
    b"0",
    b"7" * 11,
    b"\x80" + b"\xff" * 11,
    b"../x",
    b"000000001.cls",
    b"L",
    b"x",
    b"S",
    b"2",
    b"\0" * 12,
)


def tar_target() -> Target:
    """Return the target of one header of a tar, whose own checksum is made right."""

    def change(draw: Draw, path: Path) -> str:
        content = bytearray(path.read_bytes())
        start = (
            draw(st.sampled_from([0, 512 * 2]))
            if draw(st.booleans())
            else 512 * draw(st.integers(0, len(content) // 512 - 1))
        )
        field = draw(st.sampled_from(sorted(TAR_FIELDS)))
        place, size = TAR_FIELDS[field]
        value = draw(st.sampled_from(TAR_VALUES))[:size]
        content[start + place : start + place + size] = value.ljust(size, b"\0")
        content[start + 148 : start + 156] = b" " * 8
        content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
        path.write_bytes(content)
        return f"{field} of the block at {start} is {value!r}"

    return Target("tar header", "spectral-*/*.tar", change)


def bytes_target(name: str, pattern: str, reach: int = 200) -> Target:
    """Return the target of single bytes near the beginning: .npy headers, labels, ids, members of tars."""

    def change(draw: Draw, path: Path) -> str:
        content = bytearray(path.read_bytes())
        place = draw(st.integers(0, min(len(content), reach) - 1))
        if draw(st.integers(0, 3)) == 0:
            content[:] = content[:place]
            told = f"cut to {place} bytes"
        else:
            content[place] = draw(st.integers(0, 255))
            told = f"byte {place} is {content[place]}"
        path.write_bytes(content)
        return told

    return Target(name, pattern, change)


def chunk_target(name: str, pattern: str) -> Target:
    """Return the target of a Zarr chunk, or of a part's index, whose crc32c is made right."""

    def change(draw: Draw, path: Path) -> str:
        content = bytearray(path.read_bytes()[:-4])
        size = draw(st.sampled_from([1, 8]))
        near_end = draw(st.booleans())
        reach = min(len(content) - size, 24)
        place = draw(st.integers(0, reach))
        place = len(content) - size - place if near_end else place
        value = draw(st.sampled_from([0, 1, 8, 255, 2**16, 2**32, 2**40, 2**63, 2**64 - 1])) & (256**size - 1)
        content[place : place + size] = value.to_bytes(size, "little")
        path.write_bytes(content + google_crc32c.value(bytes(content)).to_bytes(4, "little"))
        return f"{size} bytes at {place} are {value}"

    return Target(name, pattern, change)


DATA_TARGETS = (
    record_target("plan", "plan.json"),
    record_target("block", "blocks/*.json"),
    records_target("block", "blocks/*.json"),
    record_target("spectral", "spectral-*/spectral.json"),
    records_target("spectral", "spectral-*/spectral.json"),
    record_target("manifest", "manifest.json"),
    raw_target("record", "**/*.json"),
    lines_target("row index", "rows/*.jsonl"),
    raw_target("row index", "rows/*.jsonl"),
)
ZARR_TARGETS = (
    json_target("zarr.json", "spectral-*/**/zarr.json"),
    chunk_target("part", "spectral-*/*/x/c/*/*/*/*"),
    chunk_target("labels and ids", "spectral-*/*/*/c/[0-9]"),
)
TAR_TARGETS = (
    tar_target(),
    bytes_target("npy header", "spectral-*/*.npy"),
    bytes_target("tar bytes", "spectral-*/*.tar", 4000),
)
RUN_TARGETS = (
    record_target("branch", "*/branch.json"),
    records_target("branch", "branch-*/branch.json"),
    raw_target("record", "*/branch.json"),
    header_target("weights", "*/model.safetensors"),
    header_target("outputs", "*/outputs.safetensors"),
    lines_target("metrics", "*/metrics.jsonl"),
    raw_target("metrics", "*/metrics.jsonl"),
)
FUSED_TARGETS = (
    record_target("rates", "*/rates.json"),
    record_target("fused", "fused/fused.json"),
    record_target("fusion-inputs", "*/fusion-*.json"),
    raw_target("record", "*/[!b]*.json"),
    header_target("head", "fused/model.safetensors"),
    header_target("outputs of the head", "fused/outputs.safetensors"),
    header_target("fusion inputs", "*/fusion-*.safetensors"),
)
WIDTH_TARGETS = (
    json_target("--width-by", "widths.json"),
    bytes_target("--width-by", "widths.csv"),
    raw_target("--width-by", "widths.*"),
)
BEGUN_TARGETS = (header_target("checkpoint", "*/checkpoint.safetensors"),)


def reseal(root: Path) -> None:
    """Give every record the size and sha256 of each file that it lists and that is there, records of records last.

    A record that is no record any more, or that lists no files as records do, stays as it is: it is what was changed.
    """
    for pattern, kind, base in (
        ("blocks/*.json", "block", root),
        ("spectral-*/spectral.json", "spectral", None),
        ("*/branch.json", "branch", None),
        ("*/fused.json", "fused", None),
        ("*/fusion-*.json", "fusion-inputs", None),
        ("manifest.json", "manifest", root),
    ):
        for path in sorted(root.glob(pattern)):
            try:
                content = read_content(path, kind)
            except (SpectralError, RecursionError, ValueError):
                continue
            if _sealed(content, base or path.parent):
                write_content(path, kind, content)


def _sealed(content: Mapping[str, Any], base: Path) -> bool:
    files, stale = content.get("files"), False
    for entry in files if isinstance(files, list) else ():
        if (
            not isinstance(entry, dict)
            or entry.keys() != {"path", "size", "sha256"}
            or not isinstance(entry["path"], str)
        ):
            continue
        try:
            path = base / entry["path"]
            if not path.is_file():  # a device, whose content has no end
                continue
            now = {"size": path.stat().st_size, "sha256": sha256_of(path)}
        except (OSError, ValueError):
            continue
        sealed = isinstance(entry["sha256"], str) and len(entry["sha256"]) == 64
        whole = sealed and type(entry["size"]) is int and 0 <= entry["size"] < 1 << 62
        if whole and any(entry[key] != value for key, value in now.items()):
            entry.update(now)
            stale = True
    return stale
