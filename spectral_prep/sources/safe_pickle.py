"""An unpickler for the CIFAR python releases that cannot run anything.

Input: a pickle. Output: the dictionary it holds, keys as bytes, of plain containers, numbers, bytes and uint8
arrays. A pickle may name any function of any installed module and have it called; here each of the few names that those
releases hold leads to a stand-in of this module, and any other name is refused. Not even numpy's own constructors are
reached: an array is put together from its recorded shape and bytes after both have been checked.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError

MOST_STEPS = 3 << 17
"""CIFAR-100's training set, the largest of those releases, takes a quarter of a million."""


def load(file: BinaryIO, size: int, where: object) -> dict[bytes, Any]:
    """Return the dictionary in a pickle, without running anything it asks for.

    Parameters
    ----------
    file
        Open for reading forwards, at the start of the pickle.
    size
        Bytes that may be read from it; nothing larger is allocated, whatever lengths the pickle states.
    where
        The name of the file, for messages.

    Raises
    ------
    CorruptSourceError
        If the pickle names anything but what those releases hold, holds an array of another dtype than uint8, is
        truncated, or is not a pickle of a dictionary.
    """
    try:
        unpickler = _Unpickler(_Bounded(file, size), encoding="bytes")
        unpickler.dispatch = _Counted(unpickler.dispatch)  # type: ignore[misc]
        content = unpickler.load()
        if not isinstance(content, dict):
            raise CorruptSourceError("not a pickled dictionary", where=where, got=type(content).__name__)
        return {_key(key): _value(value) for key, value in content.items()}
    except _RefusedError as refusal:
        raise CorruptSourceError(
            f"refuses to load {refusal} from a pickle", where=where, expected="uint8 arrays, lists, numbers and bytes"
        ) from refusal
    except (CorruptSourceError, OSError):
        raise
    except Exception as error:  # a damaged pickle can make the unpickler raise anything
        raise CorruptSourceError(
            "truncated or damaged pickle", where=where, got=f"{type(error).__name__}: {error}"
        ) from error


class _RefusedError(Exception):
    """The pickle asks for something that no image release needs; the text says for what."""


# The Python class behind pickle.Unpickler (https://docs.python.org/3/library/pickle.html#restricting-globals), because
# the C one allocates a memo as large as the file asks for: five bytes could take 32 GB.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise _RefusedError(f"{_KNOWN_AS.get(module, module)}.{name}")
        return _STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("a persistent object")


class _Counted(dict[int, Callable[..., None]]):
    """What each step of a pickle does, a bounded number of times: a step is a byte, what it makes is many."""

    left = MOST_STEPS

    def __getitem__(self, step: int) -> Callable[..., None]:
        self.left -= 1
        if self.left < 0:
            raise _RefusedError(f"more than {MOST_STEPS} steps")
        if step == pickle.BYTEARRAY8[0]:
            raise _RefusedError("a bytearray")  # its stated size is allocated before it is read
        return super().__getitem__(step)


class _Bounded:
    """A file that never reads, and so never allocates, more than it was said to hold."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.left = size

    def read(self, size: int) -> bytes:
        content = self.file.read(max(0, min(size, self.left)))
        self.left -= len(content)
        return content

    def readline(self) -> bytes:
        content = self.file.readline(self.left)
        self.left -= len(content)
        return content


class _Dtype:
    """Stands for numpy.dtype; its recorded state (byte order and such) has no meaning for one-byte numbers."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """Stands for an array being reconstructed; `pixels` stays empty until the state has been read and checked."""

    pixels: npt.NDArray[np.uint8] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, shape, dtype, fortran_order, content = state
        if dtype.code not in ("u1", "|u1"):
            raise _RefusedError(f"an array of dtype {dtype.code}")
        if min(shape, default=0) < 0 or math.prod(shape) != len(content):
            raise ValueError(f"an array of shape {shape} in {len(content)} bytes")
        self.pixels = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _ArrayType:
    """Stands for numpy.ndarray, which the releases only name."""


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str | bytes) -> bytes:
    """Stand for _codecs.encode, by which Python 3 writes bytes in a Python 2 pickle."""
    if encoding not in ("latin1", b"latin1"):
        raise _RefusedError(f"_codecs.encode with {encoding!r}")
    return text.encode("latin-1")


# os.system is pickled under the name of the module that implements it.
_KNOWN_AS: Mapping[str, str] = {"posix": "os", "nt": "os"}

_STAND_INS: Mapping[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


def _key(key: object) -> bytes:
    if not isinstance(key, str | bytes):
        raise ValueError(f"a key that is not text: {key!r}")
    return key.encode() if isinstance(key, str) else key


def _value(value: Any) -> Any:
    return value.pixels if isinstance(value, _Array) else value
