"""The state of training after a finished epoch (`state`), in one file: weights, optimizer and history cannot disagree.

1. All tensors and the JSON (plan, history) go into the bytes of one safetensors file.
2. `atomic_write` puts it in the place of the former one. A kill at any moment leaves one of the two whole.

No state of a random generator is kept: order and noise are pure functions of (seed, epoch, step).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from spectral_prep.errors import CorruptFileError
from spectral_prep.places import atomic_write, exists, on_disk
from spectral_prep.store.record_file import MOST_VALUES, decoded, plain
from spectral_prep.system.json_text import json_value
from spectral_train.run.metrics import EpochMetrics
from spectral_train.run.paths import WRITING, NetworkPaths
from spectral_train.run.tensor_file import require_short_header

METADATA = "spectral_train"
DIGEST = "sha256"
LARGEST_HEADER = 64 << 20
"""Bytes of the header of a checkpoint, where the JSON is, with the names of all classes."""

START_AGAIN = "delete it, then the same command: training starts again"


@dataclass(frozen=True)
class Content:
    """The JSON beside the tensors: the plan in its plain form, the finished epochs, the scale of float16's losses."""

    plan: Mapping[str, Any]
    history: tuple[EpochMetrics, ...]
    scaler: Mapping[str, int | float]


def save(paths: NetworkPaths, tensors: Mapping[str, Tensor], content: Content) -> None:
    """Write the checkpoint of a folder."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    metadata = {METADATA: json.dumps(plain(content)), DIGEST: _digest(contiguous)}
    atomic_write(paths.checkpoint, safetensors.torch.save(contiguous, metadata), WRITING)


def read_content(paths: NetworkPaths) -> Content | None:
    """Return the JSON of the checkpoint, or None where there is none; raise `CorruptFileError` if it is damaged."""
    if not exists(paths.checkpoint):
        return None
    try:
        require_short_header(on_disk(paths.checkpoint), LARGEST_HEADER)
        with safetensors.safe_open(on_disk(paths.checkpoint), "pt") as file:
            content = json_value(file.metadata()[METADATA].encode(), MOST_VALUES)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise damaged(paths, error) from error
    return decoded(Content, content, paths.checkpoint, "the checkpoint", START_AGAIN)


def read_tensors(paths: NetworkPaths) -> dict[str, Tensor]:
    """Return the tensors of the checkpoint; raise `CorruptFileError` if it is damaged."""
    try:
        tensors = safetensors.torch.load_file(on_disk(paths.checkpoint))
        with safetensors.safe_open(on_disk(paths.checkpoint), "pt") as file:
            if file.metadata()[DIGEST] != _digest(tensors):
                raise damaged(paths, "tensors that do not match their sha256")
    except (safetensors.SafetensorError, KeyError, TypeError, OSError) as error:
        raise damaged(paths, error) from error
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names and values: safetensors itself has no checksum."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(name.encode())
        content.update(tensors[name].cpu().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def damaged(paths: NetworkPaths, error: object) -> CorruptFileError:
    """Return the error that names the checkpoint and says what to do."""
    return CorruptFileError(
        "the checkpoint is damaged",
        where=paths.checkpoint,
        got=error,
        run=START_AGAIN,
    )
