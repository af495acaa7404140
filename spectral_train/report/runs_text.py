"""Runs for a reader: a line each, or side by side.

Input: what `runs` found. Output: tables.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from spectral_prep.console.tables import aligned
from spectral_prep.printable import shown
from spectral_prep.system.units import duration, size
from spectral_train.ensemble.evaluate import percent
from spectral_train.report.runs import ACCURACIES, Comparison, Overview
from spectral_train.run.common import across

NOTHING = "–"


def overviews_text(found: Sequence[Overview], width: int | None = None) -> str:
    """Return a line a run; its age is that of the last record."""
    heads = ["Run", "Data set", "Model", "Branches", "Baseline", "Held-out acc.", "Ensemble", "Age", "Size"]
    rows = [
        [
            shown(each.run),
            NOTHING if each.dataset is None else f"{shown(each.dataset)} (Q = {each.q})",
            shown(each.model or NOTHING),
            _branches(each),
            "yes" if each.baseline else NOTHING,
            _percent(each.held_out),
            _percent(each.ensemble),
            NOTHING if each.changed_ns is None else duration(max(0, time.time() - each.changed_ns / 1e9)),
            size(each.size_bytes),
        ]
        for each in found
    ]
    return aligned([heads, *rows], width)


def comparison_text(found: Comparison, width: int | None = None) -> str:
    """Return the settings that differ and the figures, a column a run."""
    heads = ["", *map(shown, found.runs)]
    settings = [
        [name, *(NOTHING if each is None else _setting(each) for each in row)] for name, row in found.settings.items()
    ]
    figures = [
        [name, *(_percent(each) if name in ACCURACIES else f"{each:,.0f}" for each in row)]
        for name, row in found.figures.items()
    ]
    differing = aligned([heads, *settings], width) if settings else "The same settings."
    return "\n\n".join([differing, aligned([heads, *figures], width)])


def _setting(value: object) -> str:
    each = value if isinstance(value, tuple) else (value,)
    return shown(across(NOTHING if own is None else own for own in each))


def _branches(each: Overview) -> str:
    whole = NOTHING if each.branches is None else str(each.branches)
    return f"{each.done} of {whole}" + (f", {len(each.begun)} begun" if each.begun else "")


def _percent(share: float | None) -> str:
    return NOTHING if share is None else percent(share)
