"""The figures of a report, small and legible: loss curves (long paper, Figs. 2 to 4), branches, classes, confusion.

Input: a `Summary`. Output: PNG bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral_prep.printable import shown
from spectral_train.report.summary import Curve, Summary, condensed

DOTS_PER_INCH = 110
COLOURS = "viridis"
MOST_NAMES = 30
MOST_NUMBERS = 12
LONGEST_LABEL = 20


def loss_curves(summary: Summary) -> bytes:
    """Return the loss on training and on held-out rows against the epoch: every branch, and the baseline in black."""
    figure = _figure(8, 3.2)
    colours = _shard_colours(summary)
    for axes, name, title in zip(
        figure.subplots(1, 2), ("train_loss", "held_out_loss"), ("training", "held-out"), strict=True
    ):
        for curve in summary.curves:
            _draw_curve(axes, curve, name, colours)
        axes.set(title=f"Loss on {title} rows", xlabel="epoch", ylabel="cross-entropy, nats")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, ncols=2 if len(summary.curves) > MOST_NUMBERS else 1)
    return _png(figure)


def fewer_branches(summary: Summary) -> bytes:
    """Return test accuracy with the 1 to S best branches, and without each single one."""
    figure, evaluation = _figure(8, 2.8), summary.evaluation
    ablation = evaluation.ablation
    growing, lost = figure.subplots(1, 2)
    if ablation is not None:
        growing.plot(
            range(1, len(ablation.growing) + 1), [100 * value for _, value in ablation.growing], marker="o", ms=3
        )
        places = range(len(ablation.lost))
        lost.bar(places, [100 * (value - evaluation.ensemble[evaluation.main]) for value in ablation.lost.values()])
        lost.set_xticks(places, [str(shard) for shard in ablation.lost])
    if evaluation.baseline is not None:
        growing.axhline(100 * evaluation.baseline, color="black", ls="--", lw=1, label="baseline")
        growing.legend(fontsize=7)
    growing.xaxis.get_major_locator().set_params(integer=True)
    growing.set(title=f"{evaluation.main}, best branches first", xlabel="branches", ylabel="test accuracy, %")
    lost.axhline(0, color="black", lw=0.8)
    lost.set(title="One branch lost, weights fitted anew", xlabel="lost branch", ylabel="points")
    for axes in (growing, lost):
        axes.grid(alpha=0.3)
    return _png(figure)


def class_accuracy(summary: Summary) -> bytes:
    """Return the share of each class that each branch gets right: which classes each spectral sees."""
    rows = [f"branch {shard}" for shard in summary.shards] + [summary.evaluation.main]
    figure = _figure(8, 1.2 + 0.24 * len(rows))
    axes = figure.subplots()
    image = axes.imshow(100 * summary.recall, aspect="auto", cmap=COLOURS, vmin=0, vmax=100)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    _class_ticks(axes, summary)
    if summary.recall.shape[1] <= MOST_NUMBERS:
        _numbers(axes, 100 * summary.recall, 50)
    figure.colorbar(image, label="right, %")
    return _png(figure)


def confusion_matrix(summary: Summary) -> bytes:
    """Return how each class's test rows were named by the ensemble, in per cent of the class.

    Of many classes those are shown by name that take part in most mistakes, and the others as one.
    """
    kept, counts = condensed(summary.confusion, MOST_NAMES)
    names = [class_names(summary)[number] for number in kept]
    classes = len(summary.confusion)
    if len(counts) > len(names):
        names.append(f"{classes - len(kept):,} others")
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.0, 0.24 * len(names))
    figure = _figure(side + 1.5, side + 0.5)
    axes = figure.subplots()
    image = axes.imshow(share, cmap=COLOURS, vmin=0, vmax=100)
    axes.set_xticks(range(len(names)), names, fontsize=7, rotation=_turned(names), parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)
    _numbers(axes, np.where((share >= 1) | (len(names) <= MOST_NUMBERS), share, np.nan), 50)
    axes.set(xlabel="named", ylabel="class")
    if classes > len(kept):
        axes.set_title(f"The {len(kept)} of {classes:,} classes in most mistakes", fontsize=9)
    figure.colorbar(image, label="% of the class", shrink=0.8)
    return _png(figure)


FIGURES: Mapping[str, Callable[[Summary], bytes]] = {
    "loss": loss_curves,
    "branches": fewer_branches,
    "classes": class_accuracy,
    "confusion": confusion_matrix,
}


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _shard_colours(summary: Summary) -> Mapping[int, Any]:
    shards = summary.shards
    return dict(zip(shards, colormaps[COLOURS](np.linspace(0, 0.95, len(shards))), strict=True))


def _draw_curve(axes: Axes, curve: Curve, name: str, colours: Mapping[int, Any]) -> None:
    epochs, values = [each.epoch for each in curve.epochs], [getattr(each, name) for each in curve.epochs]
    if curve.shard is None:
        axes.plot(epochs, values, color="black", ls="--", lw=1.2, label="baseline")
    else:
        axes.plot(epochs, values, color=colours[curve.shard], lw=1, label=f"{curve.shard}")


def _class_ticks(axes: Axes, summary: Summary) -> None:
    names = class_names(summary)
    if len(names) <= MOST_NAMES:
        axes.set_xticks(range(len(names)), names, fontsize=7, rotation=_turned(names), parse_math=False)
    else:
        axes.set_xlabel("class")


def _turned(names: Sequence[str]) -> int:
    return 90 if max(map(len, names)) > 2 else 0


def class_names(summary: Summary) -> list[str]:
    """Return the names of the classes as a figure has room for them."""
    names = map(shown, summary.plan.classes)
    return [name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…" for name in names]


def _numbers(axes: Axes, values: Any, dark_below: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6,
                      color="white" if value < dark_below else "black")  # fmt: skip
