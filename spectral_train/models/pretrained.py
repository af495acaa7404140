"""Weights that a network of timm begins with: from a file of the user's, or from the hub's cache on this machine.

Input: `--set pretrained=true` or `=FILE.safetensors`. Output: the model's name with the sha256 of the file,
"timm:resnet18@1f3a…", which the plan holds: another file is another plan. The file itself is kept beside the copies of
shards under its sha256, where every process that trains finds it. Nothing is fetched.

The first layer is timm's own adaptation (`in_chans`): a branch has G·C channels, the C of one spectral after another,
so the weights of 3 colours are repeated for each spectral and scaled by 3/(G·C); of one channel they are the sum over
the colours. The classifier is made anew, unless it has the same number of classes. Small maps are taken as they are:
strides and pooling stay those that were published.
"""

from __future__ import annotations

from pathlib import Path

from spectral_prep.errors import InputError
from spectral_prep.places import copy_to, sha256_of
from spectral_prep.places.cache import Cache
from spectral_prep.system.files import Advice
from spectral_train.models import TIMM

MARK = "@"
SUFFIX = ".safetensors"
WRITING = Advice("free space, then the same command", "the same command with SPECTRAL_CACHE set to such a folder")


def with_pretrained(model: str, given: str) -> str:
    """Return the name of a model that begins with these weights: "true" for the hub's cache, else a file.

    Raises
    ------
    InputError
        If the model is none of timm's, there are no such weights here, or the file is no safetensors file.
    """
    if given == "false":
        return model
    if not model.startswith(TIMM):
        raise InputError("pretrained weights are for networks of timm", expected="--model timm:NAME", got=model)
    if MARK in model:
        return model
    file = _in_hub_cache(model.removeprefix(TIMM)) if given == "true" else Path(given)
    if file.suffix != SUFFIX or not file.is_file():
        raise InputError(
            "no such file of weights", where=file, expected=f"true, or a file NAME{SUFFIX}", run="--set pretrained=FILE"
        )
    sha256 = sha256_of(file)
    if not kept(sha256).is_file():
        copy_to(kept(sha256), file, WRITING)
    return f"{model}{MARK}{sha256}"


def kept(sha256: str) -> Path:
    """Return where weights of this sha256 are kept on this machine."""
    return Cache().folder / "pretrained" / f"{sha256}{SUFFIX}"


def weights_of(model: str) -> Path | None:
    """Return the file of weights that a model begins with, proved whole; None for one that begins without.

    Raises
    ------
    InputError
        If it is not on this machine, or another file has its place.
    """
    _, mark, sha256 = model.partition(MARK)
    if not mark:
        return None
    file = kept(sha256)
    if not file.is_file() or sha256_of(file) != sha256:
        raise InputError(
            "the pretrained weights of the plan are not on this machine",
            where=file,
            expected=f"a file with sha256 {sha256[:12]}…",
            run=f"copy the file there, or the same command with --set pretrained=FILE{SUFFIX}",
        )
    return file


def _in_hub_cache(name: str) -> Path:
    """Return the weights of a network as the hub's own tools keep them."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    repository = None if config is None else config.hf_hub_id
    found = try_to_load_from_cache(repository, "model.safetensors") if repository else None
    if not isinstance(found, str):
        raise InputError(
            f"no weights of {TIMM}{name} in the hub's cache, and nothing is fetched here",
            expected=f"model{SUFFIX} of {repository}" if repository else "a network of which timm publishes weights",
            run=f"hf download {repository} model{SUFFIX} where there is a network, or --set pretrained=FILE{SUFFIX}",
        )
    return Path(found)
