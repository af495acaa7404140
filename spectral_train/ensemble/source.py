"""How good the ensemble of a run is on labelled images that it never saw, wherever they come from.

Input: the folder of a run and a source as `spectral-prep convert` takes it. Output: a `SourceEvaluation`. Images go
through the preprocessing of the run, a few at a time: what is kept are sums, so that memory does not grow with the
source but for its index (about 0.25 kB an image).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places.url import Place
from spectral_prep.sources import open_source
from spectral_prep.sources.interface import Fields, RawImage, RowIndex, Source
from spectral_prep.sources.layout import looks_like
from spectral_prep.sources.opening import listed
from spectral_prep.sources.read_ahead import raw_images
from spectral_train.ensemble.calibration import Quality
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, Combination, SchemeName
from spectral_train.ensemble.combiners import Tempered
from spectral_train.ensemble.images import Batch, through
from spectral_train.ensemble.network import EnsembleNetwork, open_network
from spectral_train.ensemble.prediction_file import PredictedRow, Write, prediction_file
from spectral_train.ensemble.tally import Bin, Tally

ROWS_AT_ONCE = 1024
MOST_NAMED = 20


@dataclass(frozen=True)
class Labelled:
    """Labelled images: which source, what it is taken for (None: what its names look like), and which of its splits.

    Without a split it is "test" where the source has one, else "train". `fields` says which image and label of a row,
    where there are several.
    """

    source: Place
    dataset: str | None = None
    split: str | None = None
    fields: Fields = field(default_factory=Fields)


@dataclass(frozen=True)
class SourceEvaluation:
    """What `spectral-ensemble evaluate --source` says of the rows whose class the run knows.

    Accuracies are fractions, losses nats a row. `confusion` counts rows by true and most likely class; `unknown` rows
    by classes that the run does not know, which are in none of the figures; `bad` names the first images that could not
    be read, of `bad_rows`.
    """

    dataset: str
    split: str
    scheme: SchemeName
    rows: int
    quality: Quality
    top5_accuracy: float
    temperature: float
    calibrated: Quality
    bins: tuple[Bin, ...]
    branches: Mapping[int, float]
    confusion: Mapping[str, Mapping[str, int]]
    absent: tuple[str, ...]
    unknown: Mapping[str, int]
    bad_rows: int
    bad: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {**asdict(self), "accuracy": self.quality.accuracy, "loss": self.quality.loss, "ece": self.quality.ece}


def evaluate_source(
    run: Place, labelled: Labelled, combination: Combination = DEFAULT_COMBINATION, predictions: Place | None = None
) -> SourceEvaluation:
    """Evaluate the ensemble of a run on labelled images.

    Parameters
    ----------
    run
        The folder with `branch-00/` ….
    labelled
        The images. Their classes are matched with those of the run by name.
    combination
        Of which branches, and how their outputs are combined; `calibrate` is measured beside.
    predictions
        A .csv or .parquet file for what is said of each row.

    Raises
    ------
    InputError, PlanMismatchError, CorruptFileError, CorruptSourceError
        As `open_network`, `sources.open_source` and `prediction_file` do; `InputError` also if there is no such split,
        or the run knows none of its classes.
    """
    network = open_network(run, replace(combination, calibrate=True))
    dataset, classes = labelled.dataset or looks_like(labelled.source), network.plans[0].classes
    with tempfile.TemporaryDirectory() as staging, prediction_file(predictions, classes) as write:
        source = open_source(dataset, labelled.source, Path(staging), labelled.fields, to_train=False)
        split, index = _split_of(source, labelled)
        rows = Rows(index, source.classes, numbers_of(source.classes, classes))
        _require_known(rows, classes, labelled.source)
        counted, done = Counted(network), 0
        for batch in through(_raws(source, split, index), network):
            counted.add(batch, rows.some(done, batch.images), write)
            done += batch.images
    if not counted.ensemble.rows:
        got = listed(f"{name}: {reason}" for name, reason in counted.bad.items())
        what = "no image of a class that the run knows can be read"
        raise CorruptSourceError(what, where=labelled.source, got=got)
    present = {label for label, _ in counted.ensemble.pairs}
    return SourceEvaluation(
        dataset=dataset,
        split=split,
        scheme=combination.scheme,
        rows=counted.ensemble.rows,
        quality=counted.ensemble.quality,
        top5_accuracy=counted.ensemble.top_accuracy,
        temperature=counted.tempered.temperature,
        calibrated=counted.calibrated.quality,
        bins=counted.ensemble.bins,
        branches={
            plan.shard or 0: right / counted.ensemble.rows
            for plan, right in zip(network.plans, counted.right, strict=True)
        },
        confusion=_named(counted.ensemble.pairs, classes),
        absent=tuple(name for number, name in enumerate(classes) if number not in present),
        unknown=dict(counted.unknown),
        bad_rows=counted.bad_rows,
        bad=counted.bad,
    )


def numbers_of(theirs: Sequence[str], ours: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return which class of the run each class of a source is, by its name; −1 where the run has none of that name.

    >>> numbers_of(("dog", "cat", "cow"), ("cat", "dog")).tolist()
    [1, 0, -1]
    """
    known = {name: number for number, name in reversed(tuple(enumerate(ours)))}
    same = tuple(theirs) == tuple(ours)  # names need not differ
    return np.array([number if same else known.get(name, -1) for number, name in enumerate(theirs)], np.int64)


class Row(NamedTuple):
    """One labelled image: its name, its class, and the number of that class in the run, −1 for none."""

    id: str
    true: str
    number: int


@dataclass(frozen=True)
class Rows:
    """The rows of a split, and which class of the run each class of the source is."""

    index: RowIndex
    classes: tuple[str, ...]
    numbers: npt.NDArray[np.int64]

    def some(self, first: int, count: int) -> list[Row]:
        """Return some rows in a sequence."""
        labels = self.index.labels[first : first + count].tolist()
        names = self.index.names[first : first + count]
        return [
            Row(name, self.classes[label], int(self.numbers[label])) for name, label in zip(names, labels, strict=True)
        ]


@dataclass
class Counted:
    """All that is kept of the rows so far: `ensemble` as it is combined, `calibrated` with its temperature."""

    network: EnsembleNetwork
    ensemble: Tally = field(default_factory=Tally)
    calibrated: Tally = field(default_factory=Tally)
    right: list[int] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    bad_rows: int = 0
    bad: dict[str, str] = field(default_factory=dict)

    @property
    def tempered(self) -> Tempered:
        """How outputs are combined, with the temperature of the held-out rows."""
        return cast(Tempered, self.network.combiner)

    def add(self, batch: Batch, rows: Sequence[Row], write: Write) -> None:
        """Count the rows of a batch, and write what is said of them."""
        for place, reason in batch.bad.items():
            self.bad_rows += 1
            if len(self.bad) < MOST_NAMED:
                self.bad[rows[place].id] = reason
        good = [rows[place] for place in batch.good]
        self.unknown.update(row.true for row in good if row.number < 0)
        raw_NK = self.tempered.combiner(batch.outputs) if good else torch.empty(0, 0)
        said = iter(raw_NK.tolist())
        for place, row in enumerate(rows):
            problem = batch.bad.get(place)
            write(PredictedRow(row.id, row.true, None if problem else next(said), problem))
        known = torch.tensor([place for place, row in enumerate(good) if row.number >= 0], dtype=torch.int64)
        if len(known):
            labels, outputs = torch.tensor([row.number for row in good])[known], [each[known] for each in batch.outputs]
            self.ensemble.add(raw_NK[known], labels)
            self.calibrated.add(self.tempered(outputs), labels)
            classes = raw_NK.shape[1]  # features may stand behind the log-probabilities
            here = [int((each[:, :classes].argmax(1) == labels).sum()) for each in outputs]
            self.right = [sum(pair) for pair in zip(self.right or [0] * len(here), here, strict=True)]


def _split_of(source: Source, labelled: Labelled) -> tuple[str, RowIndex]:
    index = source.index()
    split = labelled.split or ("test" if "test" in index else "train")
    if split not in index:
        raise InputError("the source has no such split", where=labelled.source, expected=" or ".join(index), got=split)
    return split, index[split]


def _require_known(rows: Rows, ours: Sequence[str], where: Place) -> None:
    """Refuse rows of which none has a class of the run."""
    present = np.unique(rows.index.labels)
    if (rows.numbers[present] < 0).all():
        raise InputError(
            "the run knows none of these classes",
            where=where,
            expected=f"names of classes such as {listed(ours[:MOST_NAMED])}",
            got=listed(rows.classes[label] for label in present[: MOST_NAMED + 1]),
            run="the same command after renaming the class folders, or with the names in classes.txt beside the files",
        )


def _raws(source: Source, split: str, index: RowIndex) -> Iterator[RawImage | CorruptSourceError]:
    """Yield the raw image of each row, in order."""
    for first in range(0, len(index.names), ROWS_AT_ONCE):
        names = index.names[first : first + ROWS_AT_ONCE]
        ids = np.arange(first, first + len(names), dtype=np.int32)
        yield from raw_images(source.for_rows(split, ids), split, list(zip(ids.tolist(), names, strict=True)))


def _named(pairs: Mapping[tuple[int, int], int], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    named: dict[str, dict[str, int]] = {}
    for (label, guess), rows in sorted(pairs.items()):
        row = named.setdefault(classes[label], {})
        row[classes[guess]] = row.get(classes[guess], 0) + rows
    return named
