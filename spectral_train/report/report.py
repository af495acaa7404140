"""The report of one or more runs: Markdown, its figures as PNG, and one HTML page that needs no other file.

Input: the folders of runs. Output: `report.md`, `report.html` and the figures in one folder.

1. A table over the runs; runs that differ in their seed alone also as mean ± deviation.
2. For each run the papers' tables with the papers' figures beside ours, costs and bounds, curves, calibration, fewer
   branches, classes, and what differs from the papers, all of it from the records.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectral_prep.errors import InputError
from spectral_prep.places import atomic_write, require_writable
from spectral_prep.places.url import Place
from spectral_prep.system.files import TO_OUT
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, Combination
from spectral_train.report.figures import FIGURES
from spectral_train.report.sections import over_runs, plain_text, section
from spectral_train.report.summary import Summary, summarise
from spectral_train.run.metrics import Log, silent

MARKDOWN = "report.md"
HTML = "report.html"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left; font-variant-numeric: tabular-nums }
th { border-bottom: 2px solid #888 }
img { max-width: 100% }
code { background: #f3f3f3; padding: 0 .2rem }
"""


@dataclass(frozen=True)
class Report:
    """What was written: the folder, and every file in it."""

    folder: Place
    files: tuple[Place, ...]


def report(
    runs: Sequence[Place],
    out: Place | None = None,
    combination: Combination = DEFAULT_COMBINATION,
    log: Log = silent,
) -> Report:
    """Write the report of one or more runs.

    Parameters
    ----------
    runs
        Folders with `branch-00/` …; a baseline in them is compared with.
    out
        The folder to write; by default `report/` in the run, or `./report` for several.
    combination, log
        As in `evaluate`.

    Raises
    ------
    InputError
        If Markdown is not installed, with the line that installs it; if the folder may not be written; also as
        `evaluate` does.
    """
    if not runs:
        raise InputError("no run to report on", run="spectral-ensemble report runs/RUN")
    folder = out or (runs[0] / "report" if len(runs) == 1 else Path("report"))
    require_writable(folder / HTML, TO_OUT)
    summaries = [summarise(run, combination, log) for run in runs]
    figures = {
        _figure_name(number, name, summaries): draw(summary)
        for number, summary in enumerate(summaries)
        for name, draw in FIGURES.items()
        if name != "loss" or summary.curves
    }
    text = compose(summaries, figures)
    contents = {**figures, MARKDOWN: text.encode(), HTML: to_html(text, figures).encode()}
    for name, content in contents.items():
        atomic_write(folder / name, content, TO_OUT)
    return Report(folder, tuple(folder / name for name in contents))


def compose(summaries: Sequence[Summary], figures: Mapping[str, bytes]) -> str:
    """Return the Markdown; figures are linked by their names."""
    title = summaries[0].name if len(summaries) == 1 else f"{len(summaries)} runs"
    parts = [f"# Spectral ensemble: {plain_text(title)}", over_runs(summaries)]
    for number, summary in enumerate(summaries):
        links = {name: _figure_name(number, name, summaries) for name in FIGURES}
        parts.append(section(summary, {name: link for name, link in links.items() if link in figures}))
    return "\n\n".join(parts) + "\n"


def to_html(text: str, figures: Mapping[str, bytes]) -> str:
    """Return the Markdown as one HTML page with its figures inside: nothing is loaded from anywhere."""
    try:
        import markdown
    except ImportError as error:
        raise InputError("a report needs Markdown", got=error, run="pip install 'spectral-shards[report]'") from error
    body = markdown.markdown(text, extensions=["tables"])
    for name, content in figures.items():
        body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{base64.b64encode(content).decode()}"')
    title = html.escape(html.unescape(text.splitlines()[0].removeprefix("# ")))
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _figure_name(number: int, name: str, summaries: Sequence[Summary]) -> str:
    return f"{name}.png" if len(summaries) == 1 else f"{number + 1}-{name}.png"
