"""The state of training after a finished epoch, in one file: weights, optimizer state and history cannot disagree.

1. All tensors and the JSON (plan, history) go into the bytes of one safetensors file.
2. `atomic_write` puts it in the place of the former one. A kill at any moment leaves one of the two whole.

No state of a random generator is kept: order and noise are pure functions of (seed, epoch, step).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from spectral_prep.errors import CorruptShardError
from spectral_prep.store.files import atomic_write
from spectral_train.runs import BranchPaths

METADATA = "spectral_train"
DIGEST = "sha256"


def save(paths: BranchPaths, model: nn.Module, optimizer: torch.optim.Optimizer, content: Mapping[str, Any]) -> None:
    """Write the checkpoint of a folder; `content` is the plain JSON that goes with the tensors."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items() if isinstance(value, Tensor)}
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    metadata = {METADATA: json.dumps(content), DIGEST: _digest(whole)}
    atomic_write(paths.checkpoint, safetensors.torch.save(whole, metadata))


def read_content(paths: BranchPaths) -> dict[str, Any] | None:
    """Return the JSON of the checkpoint, or None where there is none; raise `CorruptShardError` if it is damaged."""
    if not paths.checkpoint.is_file():
        return None
    try:
        with safetensors.safe_open(paths.checkpoint, "pt") as file:
            content: dict[str, Any] = json.loads(file.metadata()[METADATA])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise _damaged(paths, error) from error
    return content


def restore(paths: BranchPaths, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the tensors of the checkpoint into a freshly built model and optimizer."""
    try:
        tensors = safetensors.torch.load_file(paths.checkpoint)
        with safetensors.safe_open(paths.checkpoint, "pt") as file:
            if file.metadata()[DIGEST] != _digest(tensors):
                raise _damaged(paths, "tensors that do not match their sha256")
        model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    except (safetensors.SafetensorError, KeyError, TypeError, RuntimeError, OSError) as error:
        raise _damaged(paths, error) from error
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names and values: safetensors itself has no checksum."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(name.encode())
        content.update(tensors[name].cpu().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def _damaged(paths: BranchPaths, error: object) -> CorruptShardError:
    return CorruptShardError(
        "the checkpoint is damaged",
        where=paths.checkpoint,
        got=error,
        run="delete it, then the same command: training starts again",
    )
