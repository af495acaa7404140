"""Where tasks run: one Protocol (`interface.Engine`), one table of names.

`--task I/N` and `--shard S` need no engine: they are for schedulers, which start processes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spectral_prep.choices import EngineName
from spectral_prep.engines.interface import Engine
from spectral_prep.engines.processes import Processes
from spectral_prep.engines.ray_cluster import Ray
from spectral_prep.errors import InputError

ENGINES: Mapping[EngineName, Callable[[str | None], Engine]] = {
    "processes": lambda address: Processes(),
    "ray": Ray,
}
"""What makes each engine of the address that the user gave, if any."""


def engine_of(name: EngineName, address: str | None = None) -> Engine:
    """Return the engine that a command names; nothing is started yet.

    Raises
    ------
    InputError
        If an address is given for processes, which have none.

    >>> engine_of("ray", "head:6379")
    Ray(address='head:6379')
    """
    if address is not None and name == "processes":
        raise InputError("--ray-address is Ray's", got=address, run="the same command with --engine ray")
    return ENGINES[name](address)
