"""Fuse the branches of a run: a head on what all of them say, fitted to training rows, chosen on held-out rows.

Input: a run whose branches have written what they say of all rows (`run.fusion_inputs`). Output: the folder `fused/`,
or `fused-without-03/`, which `evaluate`, `predict`, `export` and `report` take as the scheme `fused`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from spectral_prep.errors import InputError
from spectral_train.ensemble.fitted import learned
from spectral_train.ensemble.fusion import Fitted, Words, candidates, line, log_probabilities, merit
from spectral_train.run.branches import checked_outputs, missing, outputs_of, shard_of
from spectral_train.run.fused import LEARNED, Candidate, Fusion, branches_of, write_fused
from spectral_train.run.fusion_inputs import TRAINING, read_inputs, require_same_rows
from spectral_train.run.metrics import Log, silent
from spectral_train.run.outputs import HELD_OUT, TEST, Outputs, accuracy, cross_entropy
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import NetworkRecord
from spectral_train.run.said import On

DEFAULT = Fitted()


@dataclass(frozen=True)
class Kept:
    """The best way so far: the tensors of its head, none for `learned`, and its words on held-out and test rows."""

    candidate: Candidate
    tensors: Mapping[str, Tensor]
    log_probabilities: tuple[Tensor, Tensor]


def fuse(
    run: RunPaths,
    records: Sequence[NetworkRecord],
    on: On = "logits",
    how: Fitted = DEFAULT,
    log: Log = silent,
) -> Fusion:
    """Fit heads to what branches of a run say of its training rows, write the best and return how it came about.

    Memory peaks at the values of all rows; where these are more than 1 GiB, at a batch of them beside maps of files.

    Parameters
    ----------
    run
        The run.
    records
        Of the branches to fuse, from `read_branches`: all, or those that are not lost.
    on
        What the heads see: log-probabilities or features.
    how
        Hidden neurons, epochs and seed of the heads.
    log
        Takes a line a head.

    Raises
    ------
    InputError
        If a branch has not written what it says of the rows, naming it and what to run.
    PlanMismatchError, CorruptFileError
        As `outputs_of` and `read_inputs` do.
    """
    if how.hidden < 1 or how.epochs < 1:
        raise InputError(
            "unusable head", expected="1 hidden neuron and 1 epoch, or more", got=f"{how.hidden}, {how.epochs}"
        )
    lost = missing(records)
    said = [read_inputs(record, run.branch(shard_of(record)), on, lost) for record in records]
    for record, each in zip(records[1:], said[1:], strict=True):
        require_same_rows(said[0], each, (records[0].plan.name, record.plan.name))
    words = {rows: Words(said, rows, on) for rows in (TRAINING, HELD_OUT, TEST)}
    best = _learned(run, records)
    log(line(best.candidate))
    found = [best.candidate]
    classes = len(records[0].plan.classes)
    for candidate, head in candidates(words[TRAINING], words[HELD_OUT], classes, how, log):
        found.append(candidate)
        if merit(candidate) > merit(best.candidate):
            said_now = log_probabilities(head, words[HELD_OUT]), log_probabilities(head, words[TEST])
            best = Kept(candidate, head.tensors(), said_now)
    shards, weights = branches_of(records)
    fusion = Fusion(
        branches=shards,
        weights=weights,
        on=on,
        columns=words[TRAINING].columns,
        candidates=tuple(found),
        kept=found.index(best.candidate),
        epochs=how.epochs,
        seed=how.seed,
        rows={rows: len(each) for rows, each in words.items()},
        bytes_a_row=sum(each.bytes_a_row for each in said),
    )
    first = records[0], run.branch(shard_of(records[0]))
    outputs = [
        Outputs(values, there.ids, there.labels)
        for values, there in zip(
            best.log_probabilities, (checked_outputs(*first, rows) for rows in (HELD_OUT, TEST)), strict=True
        )
    ]
    write_fused(fusion, best.tensors, (outputs[0], outputs[1]), folder_of(run, records))
    return fusion


def folder_of(run: RunPaths, records: Sequence[NetworkRecord]) -> NetworkPaths:
    """Return the folder of the head of these branches."""
    return run.fused(missing(records))


def verdict(fusion: Fusion) -> str:
    """Return which way is kept, and why, for a reader."""
    fallback, head = fusion.candidates[0], fusion.head
    size = f"{fusion.bytes_a_row} bytes a row from {len(fusion.branches)} branches"
    if head is fallback:
        best = max(fusion.candidates[1:], key=merit)
        return f"No head is better than learned on held-out rows, which is kept. The best: {line(best)}; {size}"
    return f"Kept: {line(head)}, where learned has {100 * fallback.held_out_accuracy:.2f} %; {size}"


def _learned(run: RunPaths, records: Sequence[NetworkRecord]) -> Kept:
    held_out, test = (outputs_of(run, records, rows) for rows in (HELD_OUT, TEST))
    combiner = learned(held_out)
    values = [combiner(each.log_probabilities).log().float() for each in (held_out, test)]
    found = Candidate(LEARNED, 0, 0.0, cross_entropy(values[0], held_out.labels), accuracy(values[0], held_out.labels))
    return Kept(found, {}, (values[0], values[1]))
