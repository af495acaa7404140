"""What a run no longer needs: checkpoints of finished networks, and what killed processes left.

Input: the folder of a run. Output: the files, each with its size and why it may go; and their removal, unless a process
trains there. A network that is begun and not finished is kept, unless the caller says that it may go, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spectral_prep.errors import InputError
from spectral_prep.places import at, exists, sole_use
from spectral_prep.places.url import Place
from spectral_prep.system.files import is_temporary
from spectral_train.folders import NETWORK
from spectral_train.run.metrics import read_lines
from spectral_train.run.paths import HEAD, WRITING, NetworkPaths

OWN = re.compile(
    r"((branch|rates|fused|fusion-\w+)\.json|(checkpoint|model|outputs|fusion-\w+)\.safetensors|metrics\.jsonl)"
    r"|(rates|tensorboard)/.+"
)
"""The files that are written into the folder of a network (`NetworkPaths`), but for its lock."""

BEGUN = {"checkpoint.safetensors", "rates.json", "training.lock"}
"""One of these is in the folder of every network that is begun: another folder may have the name of one."""


@dataclass(frozen=True)
class Leftover:
    """A file that may go: where it is, its bytes, and why."""

    place: Place
    size: int
    why: str
    network: NetworkPaths


def leftovers(run: Place, unfinished: bool = False) -> tuple[Leftover, ...]:
    """Return what may go of a run; with `unfinished` also all of networks that are begun and not finished."""
    return tuple(
        each
        for name in (at(run).folders() if at(run).is_folder() else [])
        if NETWORK.fullmatch(name) or HEAD.fullmatch(name)
        for each in _of_network(NetworkPaths(run / name), unfinished and NETWORK.fullmatch(name) is not None)
    )


def remove(found: Sequence[Leftover]) -> tuple[Leftover, ...]:
    """Remove these files and return those that are gone: a network that a process trains is left alone."""
    gone: list[Leftover] = []
    for network in dict.fromkeys(each.network for each in found):
        try:
            with sole_use(network.lock, "a network is trained", WRITING):
                for each in (each for each in found if each.network == network):
                    at(each.place).remove()
                    gone.append(each)
        except InputError:  # it is being trained, or may not be written
            continue
        at(network.root).prune()
    return tuple(gone)


def _of_network(network: NetworkPaths, unfinished: bool) -> list[Leftover]:
    done = exists(network.record)
    files = sorted(at(network.root).files())
    begun = not BEGUN.isdisjoint(entry.path for entry in files)
    found = []
    for entry in files:
        place = network.root / entry.path
        if is_temporary(entry.path) and OWN.match(entry.path):
            why = "of a write that was killed"
        elif done and place.name == network.checkpoint.name:  # its own, or that of a rate that was tried
            why = "checkpoint of a finished network"
        elif unfinished and begun and not done and OWN.fullmatch(entry.path):
            why = f"of a network that is not finished, {_epochs(network)} epochs trained"
        else:
            continue
        found.append(Leftover(place, entry.size, why, network))
    return found


def _epochs(network: NetworkPaths) -> int:
    return len(read_lines(network.metrics))
