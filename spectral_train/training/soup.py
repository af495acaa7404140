"""Model soup: one network whose weights are the mean of several networks' (the long paper's future work, [57]).

Input: runs of the same networks on the same data set and held-out rows, trained apart: other seeds, learning rates,
epochs. Output: a run of the same size, whose every branch is the mean of the runs' branches, as good a run as any.

1. The ingredients of a branch are ordered by their loss on held-out rows.
2. `greedy` begins with the best and takes each further one whose mean with those taken is no less accurate on held-out
   rows (Wortsman et al. 2022, algorithm 1); so it is never worse there than the best. `uniform` takes all.
3. The statistics of batch normalisation are not those of any mean: they are estimated again on the training rows.
4. Outputs on held-out and test rows, weights and record are written as after training.

Networks that began with different random weights do not lie in one basin, and their mean knows nothing: greedy then
keeps the best one alone. Ingredients of one seed, trained at other rates or longer, have a better chance.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from spectral_prep.errors import InputError, PlanMismatchError
from spectral_prep.places import exists, sole_use
from spectral_prep.places.cache import DEFAULT_CACHE
from spectral_prep.places.url import Place
from spectral_prep.store.record_file import plain
from spectral_prep.system.differences import differences
from spectral_prep.system.threads import torch_threads
from spectral_train.data.loader import batches
from spectral_train.data.nearby import nearby
from spectral_train.data.placement import check_shard, placement
from spectral_train.data.reader import row_reader
from spectral_train.data.shard import find_data, open_shard
from spectral_train.device import choose_device, deterministic
from spectral_train.folders import data_set_found, require_run_folder
from spectral_train.models import branch_options
from spectral_train.run.branches import read_branches, shard_of
from spectral_train.run.fusion_inputs import weights_of
from spectral_train.run.metrics import Log, silent
from spectral_train.run.outputs import Outputs
from spectral_train.run.paths import WRITING, NetworkPaths, RunPaths
from spectral_train.run.record import NetworkPlan, NetworkRecord, read_network, same_plan
from spectral_train.run.weights import build_network, read_weights
from spectral_train.training.fit import Training
from spectral_train.training.network import Trained, TrainingRows, outputs_on_test, tidy, tidy_finished, write_network
from spectral_train.training.processes import threads_for
from spectral_train.training.request import SoupMethod

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Ingredient:
    """One trained branch."""

    record: NetworkRecord
    paths: NetworkPaths

    @property
    def sha256(self) -> str:
        """Of its weights."""
        return weights_of(self.record)

    def weights(self) -> Weights:
        """Return its weights; `read_branches` has proved the file whole."""
        return read_weights(self.record.plan, self.paths)


def soup(
    runs: Sequence[Place],
    out: Place,
    data: Place | None = None,
    method: SoupMethod = "greedy",
    device: str = "auto",
    log: Log = silent,
) -> tuple[NetworkRecord, ...]:
    """Write the run whose branches are the means of these runs' and return its records.

    Parameters
    ----------
    runs
        Two or more runs with all their branches.
    out
        The run to write; one that was stopped goes on.
    data
        The data set that they were trained on; None: that of its id in `./spectral` or here.
    method
        A name of `METHODS`.
    device
        `auto`, `cpu` or `cuda`.
    log
        Takes a line a branch.

    Raises
    ------
    InputError
        If there are fewer than two runs, the method is unknown, `out` is a data set or a network's folder, or it holds
        a network that no earlier run of this command wrote.
    PlanMismatchError
        If the runs are not of the same networks, data set and held-out rows, or the data is another.
    CorruptFileError
        As `read_branches` and `placement.check_shard` do.
    """
    if len(runs) < 2:
        raise InputError("a soup needs ingredients", expected="two runs or more", got=len(runs))
    if method not in METHODS:
        raise InputError("unknown kind of soup", expected=f"one of {', '.join(METHODS)}", got=method)
    require_run_folder(out, "--out ")
    target = RunPaths(out)
    collected = [[Ingredient(each, RunPaths(run).branch(shard_of(each))) for each in read_branches(RunPaths(run))]
                 for run in runs]  # fmt: skip
    for run, branches in zip(runs, collected, strict=True):
        for one, other in zip(collected[0], branches, strict=True):
            _require_same(one.record.plan, other.record.plan, runs[0], run)
    plan = collected[0][0].record.plan
    root = find_data(data_set_found(plan.dataset_id) if data is None else data)
    records = []
    for ingredients in zip(*collected, strict=True):
        first = ingredients[0].record
        plan, paths = first.plan, target.branch(shard_of(first))
        training = Training(plan, paths, choose_device(device), log, width_rule=first.width_rule)
        done = _finished(ingredients, method, training)
        with contextlib.ExitStack() as held:
            if done is None:
                held.enter_context(sole_use(training.paths.lock, f"{plan.name} is averaged already", WRITING))
                held.enter_context(torch_threads(threads_for(plan)))
                done = _soup_of(ingredients, root, method, training)
        records.append(done)
        log(_line(records[-1], ingredients))
    return tuple(records)


def _finished(ingredients: Sequence[Ingredient], method: SoupMethod, training: Training) -> NetworkRecord | None:
    """Return the mean that an earlier run of this command wrote; refuse to write over any other network.

    Of `greedy` it may be the mean of any of these, also of all.
    """
    paths = training.paths
    if not exists(paths.record):
        return None
    record, given = read_network(paths), {each.sha256 for each in ingredients}
    kept = set(record.ingredients)
    if not set() < kept <= given or (method == "uniform" and kept != given):
        raise InputError("there is a run already", where=paths.root, run="the same command with another --out")
    same_plan(plain(record.plan), training.plan, paths)
    tidy_finished(paths)
    return record


def mean_weights(weights: Sequence[Weights]) -> dict[str, Tensor]:
    """Return the mean of each tensor, computed in float64; what is not floating is that of the first.

    >>> mean_weights([{"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}])["w"].item()
    1.5
    """
    return {
        name: torch.stack([each[name].double() for each in weights]).mean(0).to(first.dtype)
        if first.is_floating_point()
        else first
        for name, first in weights[0].items()
    }


def _soup_of(ingredients: Sequence[Ingredient], root: Place, method: SoupMethod, training: Training) -> NetworkRecord:
    plan = training.plan
    shard = nearby(open_shard(root, plan.shard or 0, plan.choice), DEFAULT_CACHE)
    if shard.dataset_id != plan.dataset_id:
        raise PlanMismatchError(
            "the runs were trained on another data set", where=root, expected=plan.dataset_id, got=shard.dataset_id
        )
    chosen = placement(shard, "train", device=training.device)
    check_shard(shard, chosen)
    reader = row_reader(shard, training.device, chosen)
    rows = TrainingRows.read(reader, plan.recipe)
    mean = MeanNetwork(rows, training)
    by_loss = sorted(ingredients, key=lambda each: each.record.held_out_loss)
    kept = METHODS[method](by_loss, mean)
    outputs = mean.held_out_outputs(kept)
    trained = Trained(
        rows.partition.training[0].size,
        sum(each.record.seconds for each in ingredients),
        outputs.loss,
        outputs.accuracy,
        tuple(each.sha256 for each in kept),
    )
    return write_network(mean.model, trained, outputs, outputs_on_test(mean.model, reader, training), training)


class MeanNetwork:
    """One network that takes the mean of any ingredients, and the training rows to score it on."""

    def __init__(self, rows: TrainingRows, training: Training) -> None:
        tidy(training.paths)
        self.rows, self.training = rows, training
        self.model = build_network(training.plan).to(training.device)

    def held_out_outputs(self, ingredients: Sequence[Ingredient]) -> Outputs:
        """Give the network the mean of these and return what it says of the held-out rows."""
        self.model.load_state_dict(mean_weights([each.weights() for each in ingredients]))
        if len(ingredients) > 1:
            self._estimate_batch_norm()
        return self.rows.held_out_outputs(self.model, self.training)

    def _estimate_batch_norm(self) -> None:
        recipe, positions = self.training.recipe, self.rows.partition.training[0]
        inputs = (x for x, _ in batches(self.rows.examples, positions, recipe.batch_size, self.training.device))
        with deterministic():
            update_bn((x for x in inputs if len(x) > 1), self.model)  # a lone row has no variance


def _greedy(by_loss: Sequence[Ingredient], mean: MeanNetwork) -> Sequence[Ingredient]:
    kept = [by_loss[0]]
    best = mean.held_out_outputs(kept).accuracy
    for candidate in by_loss[1:]:
        accuracy = mean.held_out_outputs([*kept, candidate]).accuracy
        if accuracy >= best:
            kept, best = [*kept, candidate], accuracy
    return kept


def _uniform(by_loss: Sequence[Ingredient], mean: MeanNetwork) -> Sequence[Ingredient]:
    return by_loss


METHODS: Mapping[SoupMethod, Callable[[Sequence[Ingredient], MeanNetwork], Sequence[Ingredient]]] = {
    "greedy": _greedy,
    "uniform": _uniform,
}


def _require_same(first: NetworkPlan, other: NetworkPlan, first_run: Place, run: Place) -> None:
    if found := differences(_same_for_all(first), _same_for_all(other), names=(f"in {first_run}", f"in {run}")):
        raise PlanMismatchError(
            "these runs cannot be averaged",
            where=f"{first_run} and {run}",
            expected="the same networks, data set and held-out rows",
            got="; ".join(found),
        )


def _same_for_all(plan: NetworkPlan) -> dict[str, Any]:
    """Return all of a plan but how it was trained."""
    recipe = plan.recipe
    network = {
        "model": recipe.model,
        "options": branch_options(recipe.model, recipe.model_options),
        "holdout": recipe.holdout,
        "holdout_seed": recipe.holdout_seed,
    }
    return {**plain(plan), "recipe": network}


def _line(record: NetworkRecord, ingredients: Sequence[Ingredient]) -> str:
    best = max(each.record.held_out_accuracy for each in ingredients)
    return (
        f"{record.plan.name}: {len(record.ingredients)} of {len(ingredients)} averaged, held-out accuracy "
        f"{100 * record.held_out_accuracy:.2f} %, loss {record.held_out_loss:.4f}; best ingredient {100 * best:.2f} %"
    )
