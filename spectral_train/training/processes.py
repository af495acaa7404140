"""On how many CPU threads a network trains, and how many networks train side by side.

Input: the plan of a network. Output: numbers; neither changes a promise, but threads may change the bits of weights.
"""

from __future__ import annotations

import math

from spectral_prep.system.resources import usable_cpus
from spectral_train.device import Resources, choose_device
from spectral_train.models import branch_options
from spectral_train.run.record import NetworkPlan

NARROW_MODELS = ("fc", "tnn")
WIDE_ENOUGH_FOR_THREADS = 256


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
