"""What the networks of a run say of the rows that an ensemble is measured on, averaged over views of each image.

Input: finished networks and the data set that they were trained on. Output: their outputs, as `run.outputs` holds them
of the rows as they are: of test rows, or without any of held-out ones. Nothing is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from spectral_prep.errors import PlanMismatchError
from spectral_prep.places.url import Place
from spectral_train.data.augment import SpectralInput
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.nearby import nearby
from spectral_train.data.placement import check_shard, placement
from spectral_train.data.reader import RowReader, row_reader
from spectral_train.data.shard import Shard, check_files, find_data, open_folders, open_shard
from spectral_train.data.standardise import Standardisation
from spectral_train.data.views import Averaged, needed
from spectral_train.device import DEFAULT_RESOURCES, Resources, choose_device
from spectral_train.folders import data_set_found
from spectral_train.models.speaking import LogProbabilities
from spectral_train.recipe.augmentation import Views
from spectral_train.run.branches import has_test, shard_of
from spectral_train.run.metrics import silent
from spectral_train.run.outputs import BranchOutputs, Outputs
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import NetworkRecord
from spectral_train.run.weights import load_model
from spectral_train.training.baseline import image_reader
from spectral_train.training.fit import Training
from spectral_train.training.network import TrainingRows, outputs_on_test


@dataclasses.dataclass(frozen=True)
class Viewer:
    """The run, its data set, which views, and what they may take."""

    run: RunPaths
    data: Place | None
    views: Views
    resources: Resources = DEFAULT_RESOURCES

    def of_branches(self, records: Sequence[NetworkRecord]) -> BranchOutputs:
        """Return the outputs of branches on rows of `run.branches.measured_rows`.

        Raises
        ------
        InputError
            If a shift is not exact, or spectral folders are missing that a flip needs.
        PlanMismatchError
            If the data set is another.
        CorruptFileError
            As `check_shard` does.
        """
        said = [self._of_branch(record) for record in records]
        return BranchOutputs([each.log_probabilities for each in said], said[0].labels)

    def of_baseline(self, record: NetworkRecord) -> Outputs:
        """Return the outputs of the conventional network on these rows, of views of whole images."""
        plan, resources = record.plan, self.resources
        shard = self._opened(self._data(record), 0, ShardChoice(shards=1), record)
        shard = nearby(shard, resources.cache)
        for folder in shard.folders:
            check_files(folder)
        reader = image_reader(shard, Standardisation.of(plan.mean, plan.std))
        return self._outputs(record, self.run.baseline, reader, SpectralInput.of_images(plan))

    def _of_branch(self, record: NetworkRecord) -> Outputs:
        plan, resources = record.plan, self.resources
        root = self._data(record)
        shard = self._opened(root, shard_of(record), plan.choice, record)
        wide = needed(plan.spec, plan.spectrals)
        folders = open_folders(root, wide)
        shard = nearby(dataclasses.replace(shard, folders=folders), resources.cache)
        device = choose_device(resources.device)
        chosen = placement(shard, "test" if has_test(record) else "train", resources.memory, device)
        check_shard(shard, chosen)
        reader = row_reader(shard, device, chosen)
        return self._outputs(record, self.run.branch(shard_of(record)), reader, SpectralInput.of(shard))

    def _outputs(self, record: NetworkRecord, paths: NetworkPaths, reader: RowReader, wide: SpectralInput) -> Outputs:
        plan = record.plan
        training = Training(plan, paths, choose_device(self.resources.device), silent)
        network = LogProbabilities(load_model(plan, paths))
        averaged = Averaged(network, plan.input_shape[0], wide, self.views).to(training.device)
        if has_test(record):
            return outputs_on_test(averaged, reader, training)
        return TrainingRows.read(reader, plan.recipe).held_out_outputs(averaged, training)

    def _opened(self, root: Place, number: int, choice: ShardChoice, record: NetworkRecord) -> Shard:
        shard = open_shard(root, number, choice)
        if shard.dataset_id != record.plan.dataset_id:
            raise PlanMismatchError(
                "the run was trained on another data set",
                where=root,
                expected=record.plan.dataset_id,
                got=shard.dataset_id,
                run="the same command with the --data that it was trained on",
            )
        return shard

    def _data(self, record: NetworkRecord) -> Place:
        """Return the data set: that which was given, else the one of the run where it is usual."""
        return find_data(self.data or data_set_found(record.plan.dataset_id))
