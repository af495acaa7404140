"""On how many CPU threads a network trains, how many networks train side by side, and what each takes of an engine.

Input: the plan of a network. Output: numbers; none changes a promise, but threads may change the bits of weights.
"""

from __future__ import annotations

import math

from spectral_prep.engines.interface import Needs
from spectral_prep.errors import InputError
from spectral_prep.system.resources import usable_cpus
from spectral_train.device import Resources, choose_device
from spectral_train.models import branch_options
from spectral_train.run.record import NetworkPlan

NARROW_MODELS = ("fc", "tnn")
WIDE_ENOUGH_FOR_THREADS = 256
PROCESS_BYTES = 1 << 30
"""What a process that trains takes beside its rows: Python, torch, a small network and its outputs."""


def threads_for(plan: NetworkPlan) -> int:
    """Return how many CPU threads a network trains on: narrow linear layers lose more to a second than they gain."""
    model = plan.recipe.model
    width = branch_options(model, plan.recipe.model_options).get("width", math.inf)
    return 1 if model in NARROW_MODELS and width < WIDE_ENOUGH_FOR_THREADS else usable_cpus()


def processes_for(plan: NetworkPlan, resources: Resources, networks: int) -> int:
    """Return in how many processes so many networks like this one train at the same time; on a GPU in one."""
    if choose_device(resources.device).type != "cpu":
        return 1
    most = usable_cpus() // threads_for(plan)
    return min(resources.workers or most, most, networks)


def needs_of(plan: NetworkPlan, resources: Resources, row_bytes: int) -> Needs:
    """Return what a network takes of an engine elsewhere: its threads or a GPU, and memory for rows of so many bytes.

    Raises
    ------
    InputError
        If a network is to have a GPU and to train on the CPU.
    """
    gpus = resources.gpus
    if gpus is None:
        gpus = int(resources.device == "cuda" or (resources.device == "auto" and resources.engine.has_gpus()))
    if gpus and resources.device == "cpu":
        raise InputError("a GPU for what trains on the CPU", got=f"--device cpu, {gpus:g} GPUs a branch")
    rows = row_bytes if resources.memory is None else min(row_bytes, resources.memory)
    return Needs(cpus=1 if gpus else threads_for(plan), memory=PROCESS_BYTES + rows, gpus=gpus)
