"""The head that combines the branches of a run: what it was fitted to, how it was chosen, and the files of it.

Input: its record, weights and outputs. Output: the folder `fused/` of the run, or `fused-without-03/` for all branches
but some, and back from it. `fused.json` is written last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import safetensors
import safetensors.torch
from torch import Tensor

from spectral_prep.errors import CorruptFileError, PlanMismatchError
from spectral_prep.places import exists
from spectral_prep.store.fields import Count, Name, Positive, Seed, Sha256, require
from spectral_prep.store.record_file import read_record, write_vouched
from spectral_prep.store.records import FileEntry
from spectral_train.run.fusion_inputs import ROWS, weights_of
from spectral_train.run.outputs import Outputs, read_outputs, to_bytes
from spectral_train.run.paths import WRITING_BESIDE, NetworkPaths
from spectral_train.run.record import NetworkRecord, require_file
from spectral_train.run.said import On
from spectral_train.run.tensor_file import readable

LEARNED = "learned"
"""What is kept where no head is better on held-out rows."""

FILES = ["model.safetensors", "outputs.safetensors"]


@dataclass(frozen=True)
class Candidate:
    """A head that was fitted, or `learned`, and what it came to on held-out rows; `hidden` 0 is a linear head."""

    name: Name
    hidden: Count
    weight_decay: float
    held_out_loss: float
    held_out_accuracy: float


@dataclass(frozen=True)
class Fusion:
    """The branches and the sha256 of their weights, the head, and all that it was chosen from.

    `columns` counts the numbers of a row that each branch gives to the head; `kept` is the place among the candidates.
    """

    branches: tuple[Count, ...]
    weights: tuple[Sha256, ...]
    on: On
    columns: tuple[Positive, ...]
    candidates: tuple[Candidate, ...]
    kept: Count
    epochs: Positive
    seed: Seed
    rows: Mapping[str, Count]
    bytes_a_row: Positive

    def __post_init__(self) -> None:
        lengths = {len(self.branches), len(self.weights), len(self.columns)}
        require(len(lengths) == 1, "branches of different number", len(self.branches), sorted(lengths))
        require(set(self.rows) == set(ROWS), "rows of other kinds", ", ".join(ROWS), ", ".join(sorted(self.rows)))
        require(self.kept < len(self.candidates), "no such candidate", len(self.candidates), self.kept)
        require(self.on == "features" or len(set(self.columns)) == 1, "branches of other classes", "one", self.columns)

    @property
    def head(self) -> Candidate:
        """The one that is kept."""
        return self.candidates[self.kept]


@dataclass(frozen=True)
class FusedRecord:
    """`fused.json`: how the head came about, and the files that it vouches for."""

    KIND: ClassVar[str] = "fused"

    fusion: Fusion
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        names = [entry.path for entry in self.files]
        require(names == FILES, "other files", ", ".join(FILES), ", ".join(names))


def write_fused(
    fusion: Fusion, tensors: Mapping[str, Tensor], outputs: tuple[Outputs, Outputs], paths: NetworkPaths
) -> None:
    """Write the head, its outputs on held-out and test rows, and the record that vouches for both; else leave all."""
    contents = {
        paths.model: safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}),
        paths.outputs: to_bytes(*outputs),
    }
    record = FusedRecord(fusion, tuple(FileEntry.of_bytes(paths.root, *each) for each in contents.items()))
    write_vouched(paths.fused_record, record, contents, WRITING_BESIDE)


def read_fused(paths: NetworkPaths, records: Sequence[NetworkRecord], again: str) -> Fusion | None:
    """Return what is recorded of a head after proving its files whole, None where there is none.

    Raises
    ------
    PlanMismatchError
        If a branch was trained anew since; `again` is what to run.
    CorruptFileError
        If the record or a file of it is damaged, or the files are there without it.
    """
    if not exists(paths.fused_record):
        if exists(paths.model):
            what = "a fused network without its record"
            raise CorruptFileError(what, where=paths.root, expected=paths.fused_record.name, run=again)
        return None
    record = read_record(paths.fused_record, FusedRecord, damaged=again)
    fusion = record.fusion
    if (fusion.branches, fusion.weights) != branches_of(records):
        raise PlanMismatchError(
            "the fused network was fitted to other branches than those that are here",
            where=paths.root,
            run=f"{again}, or delete {paths.root}",
        )
    for entry in record.files:
        require_file("a file of the fused network", entry, paths, again)
    return fusion


def branches_of(records: Sequence[NetworkRecord]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the shards of branches and the sha256 of their weights."""
    return tuple(record.plan.shard or 0 for record in records), tuple(map(weights_of, records))


def read_head(paths: NetworkPaths) -> dict[str, Tensor]:
    """Return the tensors of a head, whose files `read_fused` has proved; raise `CorruptFileError` if they are none."""
    with readable(paths.model, "the head cannot be read") as path:
        return safetensors.torch.load_file(path)


def fused_outputs(fusion: Fusion, paths: NetworkPaths, rows: str, classes: int) -> Outputs:
    """Return what the fused network says of `held_out` or `test` rows; raise `CorruptFileError` if it cannot be."""
    outputs = read_outputs(paths.outputs, rows)
    if (fault := outputs.fault(fusion.rows[rows], classes)) is not None:
        raise CorruptFileError("the outputs of the fused network cannot be its own", where=paths.outputs, got=fault)
    return outputs
