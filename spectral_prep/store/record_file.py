"""Versioned, self-checking JSON records: the only place that knows format versions, and how bytes become a record.

Input: a record, a frozen dataclass whose `KIND` names it. Output: a JSON file that names its format, version and kind
and carries the sha256 of its own content, so that a record copied alone still proves that it is whole.

1. `read_content` proves the file: format, kind, version, sha256.
2. `decoded` makes the record of its content: every field is there, of its type and within its bounds, and there is no
   other. Nothing of a record is used before.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from spectral_prep.errors import CorruptFileError, InputError, SpectralError
from spectral_prep.places import at, atomic_write, replace_together
from spectral_prep.places.url import Place
from spectral_prep.system.files import ANYWHERE, Advice
from spectral_prep.system.json_text import json_value

FORMAT = "spectral-shards"
VERSION = 1
DIGEST = "sha256"
LONGEST_TEXT = 200
LARGEST = 1 << 28
"""Bytes of a record: the manifest of ImageNet-21K at Q = 16 has some 10 MB."""
MOST_VALUES = 1 << 22
"""Of a record: that manifest has some 300,000, counted as `json_value` does."""

AS_THEY_ARE = frozenset((str, int, float, bool, type(None)))
LEFT_OUT = {"left out": True}
"""The metadata of a field that a record does not have while it is None: older records stay what they are."""

Value = TypeVar("Value")
Content = Mapping[str, Any]


class Record(Protocol):
    """A frozen dataclass that is stored as a JSON file of its own."""

    KIND: ClassVar[str]


Kind = TypeVar("Kind", bound=Record)


def plain(value: object) -> dict[str, Any]:
    """Return a dataclass as JSON knows it: dictionaries, lists, numbers, texts.

    >>> from spectral_prep.grid import SpectralSpec
    >>> plain(SpectralSpec(4, 4))
    {'q1': 4, 'q2': 4, 'layout': 'blocks', 'transform': 'dct'}
    """
    result: dict[str, Any] = _plain(value)
    return result


def _plain(value: object) -> Any:
    """Return what `json.loads(json.dumps(asdict(value)))` does, several times as fast: records list thousands."""
    if type(value) in AS_THEY_ARE:
        return value
    if isinstance(value, (list, tuple)):
        return [each if type(each) in AS_THEY_ARE else _plain(each) for each in value]
    if is_dataclass(value):
        named = [(field, getattr(value, field.name)) for field in fields(value)]
        return {
            field.name: _plain(each) for field, each in named if each is not None or not field.metadata.get("left out")
        }
    if isinstance(value, Mapping):
        return {key if type(key) is str else str(key): _plain(each) for key, each in value.items()}
    return json.loads(json.dumps(value))


def digest(kind: str, content: Content) -> str:
    """Return the sha256 of a record's content, independent of how the JSON is laid out."""
    canonical = json.dumps([FORMAT, VERSION, kind, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_vouched(path: Place, record: Record, files: Mapping[Place, bytes], advice: Advice = ANYWHERE) -> None:
    """Write files and the record that vouches for them, in place of older ones (`places.replace_together`)."""
    replace_together({**files, path: rendered(record)}, advice)


def write_record(path: Place, record: Record, advice: Advice = ANYWHERE) -> bytes:
    """Write a record atomically and return the bytes written; `advice` is for the user where that fails."""
    return write_content(path, record.KIND, plain(record), advice)


def write_content(path: Place, kind: str, content: Content, advice: Advice = ANYWHERE) -> bytes:
    """Write the content of a record atomically and return the bytes written."""
    written = _rendered(kind, content)
    atomic_write(path, written, advice)
    return written


def read_record(
    path: Place,
    kind: type[Kind],
    upgrade: Callable[[Content], Content] = lambda content: content,
    damaged: str | None = None,
) -> Kind:
    """Return a record; `upgrade` adds to the content what older records of this version do not have.

    `damaged` is what to run next where it is damaged.

    Raises
    ------
    InputError
        If the file is not there, or was written by a newer version of the format.
    CorruptFileError
        If it is not a whole record of this kind, naming the field that is wrong.
    """
    try:
        return decoded(kind, upgrade(read_content(path, kind.KIND)), path, f"the {kind.KIND} record")
    except CorruptFileError as error:
        raise (error if damaged is None else error.advised(damaged)) from error.__cause__


def read_content(path: Place, kind: str) -> dict[str, Any]:
    """Return the content of a record whose fields nobody has looked at; raises what `read_record` raises."""
    if isinstance(path, Path) and path.is_symlink():  # what lies in a folder stays in it
        raise CorruptFileError(f"the {kind} record is a symbolic link", where=path, expected="a file of the folder")
    try:
        written = at(path).read(LARGEST)
        record = json_value(written, MOST_VALUES)
    except FileNotFoundError:
        raise InputError(f"no {kind} record", where=path, expected=f"a file {path.name}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise CorruptFileError(f"unreadable {kind} record", where=path, got=error) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("kind") != kind:
        raise CorruptFileError(f"not a {FORMAT} {kind} record", where=path)
    if record.get("version") != VERSION:
        raise InputError(
            "unknown format version",
            where=path,
            expected=VERSION,
            got=record.get("version"),
            run="pip install --upgrade spectral-shards",
        )
    content = {key: value for key, value in record.items() if key not in ("format", "version", "kind", DIGEST)}
    if record.get(DIGEST) != digest(kind, content) or written != _text(record):
        raise CorruptFileError(f"the {kind} record does not match its own sha256", where=path)
    return content


def decoded(kind: type[Value], content: object, where: Place, what: str, run: str | None = None) -> Value:
    """Return the dataclass whose `plain` form this is; `what` it is and what to `run` go into the error.

    Raises
    ------
    CorruptFileError
        Naming the first field that is missing, unknown, of another type or out of its bounds.

    >>> from spectral_prep.grid import SpectralSpec
    >>> decoded(SpectralSpec, {"q1": 4, "q2": 4, "layout": "blocks", "transform": "dct"}, Path("plan.json"), "the plan")
    SpectralSpec(q1=4, q2=4, layout='blocks', transform='dct')
    >>> decoded(SpectralSpec, {"q1": 4, "q2": "4", "layout": "blocks", "transform": "dct"}, Path("p.json"), "the plan")
    Traceback (most recent call last):
    spectral_prep.errors.CorruptFileError: the plan has an unusable field: q2. Where: p.json. Expected: 4. Got: '4'
    """
    try:
        found: Value = _adapter(cast(Any, kind)).validate_python(content, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _unusable(what, where, ".".join(map(str, first["loc"])), first["msg"], first["input"], run) from error
    except SpectralError as error:
        raise CorruptFileError(f"{what} has an unusable field", where=where, got=error, run=run) from error
    if (difference := _difference(plain(found), content)) is not None:
        raise _unusable(what, where, *difference, run)
    return found


def rendered(record: Record) -> bytes:
    """Return the bytes of a record's file."""
    return _rendered(record.KIND, plain(record))


def _rendered(kind: str, content: Content) -> bytes:
    return _text({"format": FORMAT, "version": VERSION, "kind": kind, **content, DIGEST: digest(kind, content)})


def _text(record: Content) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()


def _unusable(what: str, where: Place, field: str, expected: object, got: object, run: str | None) -> CorruptFileError:
    shown = repr(got)
    shown = shown if len(shown) <= LONGEST_TEXT else f"{shown[:LONGEST_TEXT]}…"
    return CorruptFileError(
        f"{what} has an unusable field: {field}", where=where, expected=expected, got=shown, run=run
    )


def _difference(expected: object, got: object, name: str = "") -> tuple[str, object, object] | None:
    """Return where a decoded value is not the content that it was made of: decoding converts what is nearly right.

    Whole numbers stand for floats, but nothing else for anything of another type.
    """
    prefix = f"{name}." if name else ""
    if isinstance(expected, dict) and isinstance(got, dict):
        if missing := sorted(expected.keys() - got.keys()):
            return f"{prefix}{missing[0]}", expected[missing[0]], "nothing"
        pairs = [(f"{prefix}{key}", value, got[key]) for key, value in expected.items()]
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = [(f"{prefix}{place}", *both) for place, both in enumerate(zip(expected, got, strict=True))]
    elif (type(expected) is type(got) or (type(expected), type(got)) == (float, int)) and expected == got:
        return None
    else:
        return name, expected, got
    return next((found for key, one, other in pairs if (found := _difference(one, other, key)) is not None), None)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
