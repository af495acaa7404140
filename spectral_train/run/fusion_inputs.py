"""What a branch says of the training, held-out and test rows, for a head that is fitted on all branches' words.

Input: the values of those rows, (n, D) float16 or int8 with a scale a column, with the ids and labels of the rows.
Output: `fusion-logits.safetensors` or `fusion-features.safetensors` in the folder of the branch, and the record that
vouches for it, written last. A branch writes it alone, from its own shard.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError
from spectral_prep.places import exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.store.fields import Count, Positive, Sha256, require
from spectral_prep.store.record_file import read_record, write_vouched
from spectral_prep.store.records import FileEntry
from spectral_train.folders import data_set_found
from spectral_train.run.outputs import HELD_OUT, TEST, ids_and_labels
from spectral_train.run.paths import WRITING_BESIDE, NetworkPaths, without_options
from spectral_train.run.record import NetworkRecord, require_file
from spectral_train.run.said import ON, On
from spectral_train.run.tensor_file import readable

TRAINING = "training"
ROWS = (TRAINING, HELD_OUT, TEST)
DTYPES: Mapping[On, torch.dtype] = {"logits": torch.float16, "features": torch.int8}


@dataclass(frozen=True)
class RowValues:
    """`values` (n, D) as stored, `ids` (n,) int32 ascending, `labels` (n,) integer."""

    values: Tensor
    ids: npt.NDArray[np.int32]
    labels: Tensor


@dataclass(frozen=True)
class FusionInputs:
    """The rows of `ROWS`, and `scale` (D,) by which a stored value is multiplied."""

    rows: Mapping[str, RowValues]
    scale: Tensor

    @property
    def bytes_a_row(self) -> int:
        """Of values, id and label."""
        some = self.rows[TRAINING]
        return some.values.shape[1] * some.values.element_size() + some.ids.itemsize + some.labels.element_size()


@dataclass(frozen=True)
class InputsRecord:
    """`fusion-logits.json`: of which weights these are the words, how many rows and columns, and the file."""

    KIND: ClassVar[str] = "fusion-inputs"

    on: On
    weights: Sha256
    rows: Mapping[str, Count]
    columns: Positive
    bytes_a_row: Positive
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        require(set(self.rows) == set(ROWS), "rows of other kinds", ", ".join(ROWS), ", ".join(sorted(self.rows)))
        require(self.rows[TRAINING] > 0, "no training rows", "one or more", 0)
        names = [entry.path for entry in self.files]
        require(names == [f"fusion-{self.on}.safetensors"], "other files", f"fusion-{self.on}.safetensors", names)


def weights_of(record: NetworkRecord) -> str:
    """Return the sha256 of a network's weights."""
    return next(entry.sha256 for entry in record.files if entry.path == "model.safetensors")


def written(record: NetworkRecord, paths: NetworkPaths, on: On) -> InputsRecord | None:
    """Return the record of the inputs of a branch as it is now, None where there is none or it is of other weights.

    Raises
    ------
    CorruptFileError
        If the record or its file is damaged.
    """
    if not exists(paths.fusion_record(on)):
        return None
    again = f"delete {paths.fusion_record(on)}, then {_write(paths, on, data=data_set_found(record.plan.dataset_id))}"
    found = read_record(paths.fusion_record(on), InputsRecord, damaged=again)
    if found.weights != weights_of(record) or found.on != on:
        return None
    for entry in found.files:
        require_file(f"a file of {record.plan.name}", entry, paths, again)
    return found


def write_inputs(inputs: FusionInputs, record: NetworkRecord, paths: NetworkPaths, on: On) -> InputsRecord:
    """Write the inputs of a branch, and last the record that vouches for them."""
    tensors: dict[str, Tensor] = {"scale": inputs.scale}
    for name, rows in inputs.rows.items():
        tensors |= {f"{name}.values": rows.values.contiguous(), f"{name}.labels": rows.labels.contiguous()}
        tensors[f"{name}.ids"] = torch.from_numpy(rows.ids)
    path, content = paths.fusion_inputs(on), safetensors.torch.save(tensors)
    said = InputsRecord(
        on=on,
        weights=weights_of(record),
        rows={name: len(rows.ids) for name, rows in inputs.rows.items()},
        columns=inputs.rows[TRAINING].values.shape[1],
        bytes_a_row=inputs.bytes_a_row,
        files=(FileEntry.of_bytes(paths.root, path, content),),
    )
    write_vouched(paths.fusion_record(on), said, {path: content}, WRITING_BESIDE)
    return said


def read_inputs(record: NetworkRecord, paths: NetworkPaths, on: On, without: Collection[int] = ()) -> FusionInputs:
    """Return the inputs of a branch; its tensors are maps of the file. `without` are lost branches, for the advice.

    Raises
    ------
    InputError
        If they were not written, or of other weights.
    CorruptFileError
        If the file is damaged or not what the record says.
    """
    said = written(record, paths, on)
    if said is None:
        written_on = [
            f"spectral-ensemble fuse {quoted(paths.root.parent)} --on {each}{without_options(without)}, or "
            for each in ON
            if exists(paths.fusion_record(each))
        ]
        raise InputError(
            f"{record.plan.name} has not written what its network says of the training rows",
            where=paths.fusion_record(on),
            run="".join(written_on) + _write(paths, on, without, data_set_found(record.plan.dataset_id)),
        )
    place = paths.fusion_inputs(on)
    with readable(place, "the inputs of the fusion cannot be read") as path, safetensors.safe_open(path, "pt") as file:
        rows = {name: RowValues(file.get_tensor(f"{name}.values"), *ids_and_labels(file, name)) for name in ROWS}
        inputs = FusionInputs(rows, file.get_tensor("scale"))
    if (fault := _fault(inputs, said, len(record.plan.classes))) is not None:
        raise CorruptFileError("these are no inputs of the fusion", where=place, got=fault, run=f"delete {place}")
    return inputs


def require_same_rows(first: FusionInputs, other: FusionInputs, names: tuple[str, str]) -> None:
    """Raise `PlanMismatchError` if the rows of two branches are not the same images."""
    for name in ROWS:
        one, two = first.rows[name], other.rows[name]
        if not np.array_equal(one.ids, two.ids) or not torch.equal(one.labels, two.labels):
            raise PlanMismatchError(
                f"{names[0]} and {names[1]} have different {name.replace('_', '-')} rows",
                expected="the same ids and labels",
                run=f"train {names[1]} again on the same data set",
            )


def _fault(inputs: FusionInputs, said: InputsRecord, classes: int) -> str | None:
    if inputs.scale.shape != (said.columns,) or not inputs.scale.isfinite().all():
        return f"scales {tuple(inputs.scale.shape)}, expected {said.columns} finite numbers"
    for name, rows in inputs.rows.items():
        shape = (said.rows[name], said.columns)
        if tuple(rows.values.shape) != shape or rows.values.dtype != DTYPES[said.on]:
            return f"{name} values {rows.values.dtype} {tuple(rows.values.shape)}, expected {DTYPES[said.on]} {shape}"
        if rows.ids.shape != shape[:1] or rows.labels.shape != shape[:1]:
            return f"{name} ids or labels of other rows"
        if shape[0] and not 0 <= int(rows.labels.min()) <= int(rows.labels.max()) < classes:
            return f"{name} labels beyond the {classes} classes"
        if rows.values.isnan().any():
            return f"{name} values that are no numbers"
    return None


def _write(paths: NetworkPaths, on: On, without: Collection[int] = (), data: Place | None = None) -> str:
    place = "DATASET" if data is None else quoted(data)
    here = f"spectral-ensemble fuse {quoted(paths.root.parent)} --on {on}{without_options(without)} --data {place}"
    return f"{here}, or the command that trained the branch, with --fuse-inputs {on}"
