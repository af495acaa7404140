"""What is said to a reader about a run on labelled images of a source.

Input: a `SourceEvaluation`. Output: tables: the figures, the calibration, and the confusion, as a matrix where it fits
a terminal, else its most frequent mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping

from spectral_prep.console.tables import aligned
from spectral_prep.printable import shown
from spectral_prep.sources.opening import listed
from spectral_train.ensemble.evaluate import percent
from spectral_train.ensemble.source import SourceEvaluation

WIDEST_MATRIX = 20
MOST_MISTAKES = 20


def source_text(found: SourceEvaluation, width: int | None = None) -> str:
    """Return the tables, as they fit so many columns."""
    quality, calibrated = found.quality, found.calibrated
    figures = [
        [f"{found.dataset}, {found.split}", "Rows", "Acc.", "Top 5", "Loss", "ECE", "at T", "Loss", "ECE"],
        [
            found.scheme,
            str(found.rows),
            percent(quality.accuracy),
            percent(found.top5_accuracy),
            f"{quality.loss:.4f}",
            percent(quality.ece),
            f"{found.temperature:.2f}",
            f"{calibrated.loss:.4f}",
            percent(calibrated.ece),
        ],
    ]
    branches = [["Branch", "Acc."], *([str(shard), percent(value)] for shard, value in found.branches.items())]
    bins = [
        ["Confidence", "Rows", "Mean", "Acc."],
        *(
            [
                f"to {percent(number / len(found.bins))}",
                str(each.rows),
                percent(each.confidence),
                percent(each.accuracy),
            ]
            for number, each in enumerate(found.bins, 1)
            if each.rows
        ),
    ]
    absent = [f"Classes without a row: {listed(found.absent)}"] if found.absent else []
    tables = [figures, branches, bins, _confusion(found.confusion)]
    return "\n\n".join([*(aligned(rows, width) for rows in tables), *absent])


def left_out(found: SourceEvaluation) -> list[str]:
    """Return a sentence for each kind of rows that are in none of the figures."""
    told = []
    if found.unknown:
        rows = sum(found.unknown.values())
        told.append(f"{rows} rows of classes that the run does not know are left out: {listed(found.unknown)}")
    if found.bad_rows:
        named = listed(f"{shown(name)} ({reason})" for name, reason in found.bad.items())
        more = f" and {found.bad_rows - len(found.bad)} more" if found.bad_rows > len(found.bad) else ""
        told.append(f"{found.bad_rows} bad images are left out: {named}{more}")
    return told


def _confusion(confusion: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    names = list(dict.fromkeys([*confusion, *(guess for row in confusion.values() for guess in row)]))
    if len(names) <= WIDEST_MATRIX:
        heads = ["True \\ predicted", *map(shown, names)]
        rows = [[shown(name), *(str(confusion.get(name, {}).get(guess, 0)) for guess in names)] for name in names]
        return [heads, *rows]
    mistakes = [(rows, true, guess) for true, row in confusion.items() for guess, rows in row.items() if guess != true]
    worst = sorted(mistakes, key=lambda each: -each[0])[:MOST_MISTAKES]
    return [["True", "Predicted", "Rows"], *([shown(t), shown(g), str(n)] for n, t, g in worst)]
