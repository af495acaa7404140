"""The text of a report: one Markdown table a question, the papers' figures beside a run's.

Input: summaries of runs. Output: Markdown. Nothing is said that is not in a record or in `papers`.
"""

from __future__ import annotations

import html
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from spectral_prep.printable import one_line, quoted, shown
from spectral_prep.store.record_file import plain
from spectral_train.ensemble.evaluate import NO_TEST, percent, settings_text
from spectral_train.report.cost import Cost, widest_layer
from spectral_train.report.papers import Bounds, Published, published
from spectral_train.report.settings import of_each_branch, setting
from spectral_train.report.summary import Summary, worst_confusions

NONE = "–"
MOST_CONFUSIONS = 5

Cells = Sequence[Sequence[str]]
"""Of a table: rows of text, the first one the head."""


_SYNTAX = str.maketrans({sign: f"&#{ord(sign)};" for sign in "|[]*`\\"})


def plain_text(name: str) -> str:
    """Return a name as Markdown that says it and does nothing: no tags, no links, no images from elsewhere.

    >>> plain_text("<script>![](http://a)")
    '&lt;script&gt;!&#91;&#93;(http://a)'
    """
    return html.escape(shown(name)).translate(_SYNTAX)


def code_text(text: str) -> str:
    """Return a text as a Markdown code span."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def markdown_table(rows: Cells) -> str:
    """Return rows of cells as a Markdown table; the first row is the head.

    >>> print(markdown_table([["a", "b"], ["1", "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x&#124;y |
    """
    lines = ["| " + " | ".join(map(plain_text, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def filled(rows: Cells) -> Cells:
    """Return a table without the rows and columns that hold nothing, whatever they are called.

    >>> filled([["", "a", "b"], ["x", "1", NONE], ["y", NONE, NONE]])
    [['', 'a'], ['x', '1']]
    """
    kept = [rows[0], *(row for row in rows[1:] if any(cell != NONE for cell in row[1:]))]
    full = [place for place in range(len(rows[0])) if not place or any(row[place] != NONE for row in kept[1:])]
    return [[row[place] for place in full] for row in kept]


def over_runs(summaries: Sequence[Summary]) -> str:
    """Return one line a run, and for runs that differ in their seed alone mean ± deviation."""
    heads = ["Run", "Data set", "Q", "Branches", "Model", "Epochs", "Seed", *_MEASURES]
    lines = [
        [
            each.name,
            each.plan.dataset,
            str(each.plan.spec.q),
            _branches(each),
            *(setting(each.records, name) for name in ("model", "epochs", "seed")),
            *(show(of(each)) for of, show in _MEASURES.values()),
        ]
        for each in summaries
    ]
    text = ["## Runs", markdown_table(filled([heads, *lines]))]
    groups = [group for group in _by_plan(summaries) if len(group) > 1]
    if groups:
        means = [
            [
                ", ".join(each.name for each in group),
                str(len(group)),
                *(_spread(group, *measure) for measure in _MEASURES.values()),
            ]
            for group in groups
        ]
        text += [
            "Runs that differ in their seed alone, mean ± standard deviation:",
            markdown_table(filled([["Runs", "Seeds", *_MEASURES], *means])),
        ]
    return "\n\n".join(text)


def section(summary: Summary, figures: Mapping[str, str]) -> str:
    """Return everything about one run; `figures` are the links of those that were drawn."""
    known = published(summary.plan.recipe.name, summary.plan.dataset)
    parts = [
        f"## {plain_text(summary.name)}",
        _facts(summary),
        "### Accuracy",
        _poster_table(summary, known),
        "### Accuracy, size and training time by scheme",
        _scheme_table(summary, known),
        "### Compression, computation, speed-up",
        _cost_table(summary, known),
        _cost_notes(summary),
        *_figure(figures, "loss", "### Loss"),
        "### Calibration",
        "Before and after a temperature that was fitted to held-out rows; ECE in 15 bins, both on the rows that the "
        "accuracies are of.",
        _calibration_table(summary),
        *_figure(figures, "branches", "### Fewer branches, and a lost node"),
        _ablation_table(summary),
        *_figure(figures, "classes", "### Which classes each branch sees"),
        *_figure(figures, "confusion", "### Confusion"),
        _confusions(summary),
        "### What differs from the papers",
        _differences(summary, known),
    ]
    return "\n\n".join(part for part in parts if part)


def _facts(summary: Summary) -> str:
    plan, rows = summary.plan, summary.records[0].rows
    missing, soups = summary.evaluation.missing, [len(record.ingredients) for record in summary.records]
    grouped = "" if plan.shards == plan.spec.q else f", {plan.shards} shards ({plain_text(plan.grouping)})"
    lines = [
        f"{plan.dataset} ({plan.dataset_id}), {plan.height}×{plan.width}×{plan.channels}, {len(plan.classes)} classes; "
        f"{rows['training']:,} rows trained on, {rows['held_out']:,} held out, {rows['test']:,} test rows",
        f"Q = {plan.spec.q} ({plan.spec.q1}×{plan.spec.q2}, {plan.spec.layout}, {plan.spec.transform}, "
        f"{plan.encoding.dtype}){grouped}"
        + (f", in every branch also {', '.join(map(str, plan.common))}" if plan.common else ""),
        code_text(summary.commands.branches),
        *map(plain_text, of_each_branch(summary.records)),
        *([NO_TEST.format(rows=summary.evaluation.rows)] if summary.evaluation.measured_on == "held_out" else []),
        *([f"Soup: networks averaged in each branch: {', '.join(map(str, soups))}"] if any(soups) else []),
        *([f"Branches that take no part: {', '.join(map(str, missing))}"] if missing else []),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _poster_table(summary: Summary, known: Sequence[Published]) -> str:
    evaluation = summary.evaluation
    heads = ["", "Mean Acc.", "Highest Acc.", f"Ens. Acc. ({evaluation.main})", "Baseline"]
    ours = [
        evaluation.mean_accuracy,
        evaluation.best_accuracy,
        evaluation.ensemble[evaluation.main],
        evaluation.baseline,
    ]
    papers = [[each.source, *map(_percent, (each.mean, each.highest, each.quoted, each.baseline))] for each in known]
    return markdown_table(filled([heads, ["this run", *map(_percent, ours)], *papers]))


def _scheme_table(summary: Summary, known: Sequence[Published]) -> str:
    costs, evaluation = summary.costs, summary.evaluation
    paper = known[0] if known else None
    heads = ["Method", "Accuracy", "Size", "Training time, slowest branch"]
    rows = [["conventional network", _percent(evaluation.baseline), *_size_and_time(costs.baseline)]]
    for scheme, value in evaluation.ensemble.items():
        size = costs.branches[costs.best].size if scheme == "best" else costs.size
        name = f"spectral, {scheme}{settings_text(evaluation.settings[scheme])}"
        rows.append([name, percent(value), _megabytes(size), _seconds(costs.slowest)])
    if paper is None:
        return markdown_table(filled([heads, *rows]))
    theirs = [paper_cells(paper, "baseline"), *(paper_cells(paper, scheme) for scheme in evaluation.ensemble)]
    heads += [f"{paper.source}: accuracy", "size", "time"]
    return markdown_table(filled([heads, *([*row, *cells] for row, cells in zip(rows, theirs, strict=True))]))


def paper_cells(paper: Published, method: str) -> list[str]:
    """Return accuracy, size and time that a paper has for a scheme, or for its conventional network (`baseline`)."""
    if method == "baseline":
        return [_percent(paper.baseline), _unit(paper.baseline_mb, "MB"), _unit(paper.baseline_hours, "h")]
    if method not in paper.schemes:
        return [NONE, NONE, NONE]
    size = paper.best_mb if method == "best" else paper.ensemble_mb
    return [_percent(paper.schemes[method]), _unit(size, "MB"), _unit(paper.ensemble_hours, "h")]


def _cost_table(summary: Summary, known: Sequence[Published]) -> str:
    costs, bounds = summary.costs, _bounds(summary)
    paper = known[0] if known else None
    printed = (paper.compression, paper.compression_best) if paper else (None, None)
    rows = [
        [
            f"{name}, {which}",
            _ratio(values and values[place]),
            _ratio(theirs[place]),
            f"{bounds.formula[place]} = {bounds.compression[place]:.3g}",
        ]
        for name, values, theirs in (
            ("Compression ratio", costs.compression, printed),
            ("Reduction in computation", costs.computation, (None, None)),
        )
        for place, which in enumerate(("all branches", "select-the-best"))
    ]
    speedup = paper.speedup if paper else None
    rows.append(["Parallel speed-up", _ratio(costs.speedup), _ratio(speedup), f"Q = {bounds.speedup:g}"])
    rows.append(["Total speed-up, one branch after the other", _ratio(costs.total_speedup), NONE, NONE])
    heads = ["", "Measured", paper.source if paper else "Papers", "Bound (long paper, Table 1; an order, no constant)"]
    known_rows = [row for row in rows if row[1:3] != [NONE, NONE]]  # a bound alone says nothing of this run
    return markdown_table(filled([heads, *known_rows])) if known_rows else ""


def _cost_notes(summary: Summary) -> str:
    costs = summary.costs
    where = ", ".join(sorted({record.device for record in summary.records}))
    gflops = f"{costs.flops / 1e9:.4g} GFLOP an image through all branches"
    if costs.baseline is not None:
        gflops += f", {costs.baseline.flops / 1e9:.4g} through the conventional network"
    note = (
        f"{gflops}; forward, matrix products and convolutions, two a multiply-add. Times are wall-clock seconds of the "
        f"epochs on {plain_text(where)}, beside whatever else ran there."
    )
    if costs.baseline:
        return note
    command = f"{summary.commands.baseline} --run {quoted(summary.run)}"
    return (
        f"{note}\n\nNo ratio: the baseline was not trained. Accuracy and size of the conventional network, "
        f"compression, computation and speed-up are filled by {code_text(command)} with the `--data` of the branches."
    )


def _calibration_table(summary: Summary) -> str:
    rows = [
        [scheme, f"{each.before.loss:.4f}", percent(each.before.ece), f"{each.temperature:.2f}",
         f"{each.after.loss:.4f}", percent(each.after.ece)]
        for scheme, each in summary.evaluation.calibration.items()
    ]  # fmt: skip
    return markdown_table([["Scheme", "Loss", "ECE", "Temperature", "Loss after", "ECE after"], *rows])


def _ablation_table(summary: Summary) -> str:
    ablation = summary.evaluation.ablation
    if ablation is None or not ablation.lost:
        return ""
    ensemble = summary.evaluation.ensemble[summary.evaluation.main]
    worst = min(ablation.lost, key=lambda shard: ablation.lost[shard])
    mean = statistics.mean(ablation.lost.values())
    return (
        f"Whole ensemble: {percent(ensemble)}. One branch lost, weights fitted anew: {percent(mean)} on average, "
        f"{percent(ablation.lost[worst])} at worst (branch {worst})."
    )


def _confusions(summary: Summary) -> str:
    names = summary.plan.classes
    worst = worst_confusions(summary.confusion, MOST_CONFUSIONS)
    rows = [[names[label], names[guess], str(count)] for label, guess, count in worst]
    return markdown_table([["Class", "Taken for", "Rows"], *rows]) if rows else "No row is mistaken."


def _differences(summary: Summary, known: Sequence[Published]) -> str:
    if not known:
        return f"The recipe {code_text(summary.plan.recipe.name)} is none of the papers'."
    rows = summary.records[0].rows
    here = {
        "data set": summary.plan.dataset,
        "training rows": f"{rows['training']:,} (and {rows['held_out']:,} held out)",
        "test rows": f"{rows['test']:,}",
        "optimizer": setting(summary.records, "optimizer"),
        "learning rate": f"{setting(summary.records, 'lr')}, {setting(summary.records, 'schedule')}",
        "batch size": setting(summary.records, "batch_size"),
        "epochs": setting(summary.records, "epochs"),
        "hardware": ", ".join(sorted({record.device for record in summary.records})),
    }
    lines = [[word, here[word], *(each.setting.get(word, NONE) for each in known)] for word in here]
    return markdown_table([["", "this run", *(each.source for each in known)], *lines])


def _bounds(summary: Summary) -> Bounds:
    plan = summary.plan
    widest = max(widest_layer(record.plan) for record in summary.records)
    return Bounds.of(plan.recipe.model, math.prod(plan.input_shape), widest, plan.shards)


def _by_plan(summaries: Sequence[Summary]) -> list[list[Summary]]:
    """Group runs whose plans differ in the seed alone."""
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        plan = plain(summary.plan)
        del plan["recipe"]
        networks = [{**plain(record.plan.recipe), "seed": None} for record in summary.records]
        groups.setdefault(json.dumps([plan, networks, summary.evaluation.missing], sort_keys=True), []).append(summary)
    return list(groups.values())


def _spread(
    group: Sequence[Summary], of: Callable[[Summary], float | None], show: Callable[[float | None], str]
) -> str:
    values = [value for value in map(of, group) if value is not None]
    if len(values) < 2:
        return NONE
    return f"{show(statistics.mean(values))} ± {show(statistics.stdev(values))}"


def _branches(summary: Summary) -> str:
    shards, here = summary.plan.shards, len(summary.records)
    return str(shards) if here == shards else f"{here} of {shards}"


def _figure(figures: Mapping[str, str], name: str, title: str) -> list[str]:
    return [title, f"![{name}]({figures[name]})"] if name in figures else []


def _size_and_time(cost: Cost | None) -> list[str]:
    return [NONE, NONE] if cost is None else [_megabytes(cost.size), _seconds(cost.seconds)]


def _percent(fraction: float | None) -> str:
    return NONE if fraction is None else percent(fraction)


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}×"


def _unit(value: float | None, unit: str) -> str:
    return NONE if value is None else f"{value:g} {unit}"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.3g} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"


_MEASURES: Mapping[str, tuple[Callable[[Summary], float | None], Callable[[float | None], str]]] = {
    "Mean Acc.": (lambda each: each.evaluation.mean_accuracy, _percent),
    "Highest Acc.": (lambda each: each.evaluation.best_accuracy, _percent),
    "Ens. Acc.": (lambda each: each.evaluation.ensemble[each.evaluation.main], _percent),
    "Baseline": (lambda each: each.evaluation.baseline, _percent),
    "Compression": (lambda each: each.costs.compression and each.costs.compression[0], _ratio),
    "Parallel speed-up": (lambda each: each.costs.speedup, _ratio),
    "Total speed-up": (lambda each: each.costs.total_speedup, _ratio),
}
