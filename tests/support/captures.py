"""What the commands draw, as text, at two widths: the page `docs/terminal.md`.

    python -m tests.support.captures > docs/terminal.md

It is drawn by the code of the commands, from figures that stand here and a clock that is set: the page is the same on
any machine, and a test holds it against the code.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from spectral_prep.console.display import Display
from spectral_prep.console.failure import draw_labelled, labelled
from spectral_prep.console.tables import fitted
from spectral_prep.console.text import info_text
from spectral_prep.conversion.bad_images import refusal
from spectral_prep.conversion.execution import ALONE, Task
from spectral_prep.errors import SpectralError
from spectral_prep.inspection.info import Info
from spectral_prep.printable import printable
from spectral_prep.spectrum import SpectralSpec, parse_q
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.records import BadRow
from spectral_prep.system.files import explain
from spectral_prep.system.watch import Step
from spectral_train.ensemble.calibration import Quality
from spectral_train.ensemble.combination import SchemeName
from spectral_train.ensemble.evaluate import BranchResult, Calibration, Evaluation, table

WIDTHS = (60, 120)
HEAD = """# What is seen while the commands work

Progress and errors go to stderr, results to stdout. On a terminal a step that is going on has a bar, which goes when
it ends; a step that took a second leaves a line. Elsewhere, in the log of a scheduler say, there is a line at once and
then one every 30 seconds. How long the rest takes is said when 2 % is done or 30 s have gone: the first images wait for
processes that start. `--quiet` says nothing but errors, warnings and what was asked for (figures, `--json`): no
progress, and no summary of what was written. `--verbose` also says when each step ends, and what caused an error.
`NO_COLOR` and `TERM=dumb` are heeded; nothing is coloured where there is no terminal.

All below is drawn by the code of the commands (`python -m tests.support.captures > docs/terminal.md`), at 60 and at 120
columns; a test holds the page against it.
"""
COMPLETION = """## Completion

Each of the three commands completes its own commands, options and choices, by click. For bash in `~/.bashrc`, for zsh
in `~/.zshrc`, for fish in `~/.config/fish/completions/spectral-prep.fish`:

```sh
eval "$(_SPECTRAL_PREP_COMPLETE=bash_source spectral-prep)"
eval "$(_SPECTRAL_PREP_COMPLETE=zsh_source spectral-prep)"
_SPECTRAL_PREP_COMPLETE=fish_source spectral-prep | source
```

For the others put `_SPECTRAL_TRAIN_COMPLETE` and `spectral-train`, or `_SPECTRAL_ENSEMBLE_COMPLETE` and
`spectral-ensemble`. That of bash is tested.
"""
Told = tuple[float, Step]


def converting(done: int, **more: bool) -> Step:
    return Step("converting", done, 1_281_167, "images", **more)  # type: ignore[arg-type]


def training(branch: int, second: int, rate: int) -> Step:
    done, held_out = rate * second, f", held-out accuracy {90 - 2 * branch}.20 %"
    note = f"epoch {1 + done // 50_000}/30{held_out if done >= 50_000 else ''}"
    return Step(f"branch {branch}", done, 1_500_000, "images", note)


CONVERSION: Sequence[Told] = [
    *((float(second), converting(1340 * second)) for second in range(100)),
    (99.5, Step("block 7", 300, 1000, "images", within="converting")),
]
TRAINING: Sequence[Told] = [
    (second, training(branch, second, rate)) for second in range(40) for branch, rate in enumerate((10_500, 9_750))
]
VERIFYING: Sequence[Told] = [
    (float(second), Step("checking files", 37 * second, 5969, "files")) for second in range(60)
]
OPENING: Sequence[Told] = [(0.0, Step("opening the source")), (12.0, Step("opening the source"))]
STEPS: dict[str, Sequence[Told]] = {
    "convert, before the first image": OPENING,
    "convert": CONVERSION,
    "train --shard all": TRAINING,
    "verify": VERIFYING,
}


def bars(steps: Sequence[Told], width: int) -> str:
    """Return the bars as they stand after the last of these steps."""
    now = 0.0
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    display = Display(lambda text: None, console, clock=lambda: now)
    for now, told in steps:  # noqa: B007 the clock reads it
        display(told)
    still = Console(file=io.StringIO(), width=width, color_system=None)
    assert display._bars is not None
    still.print(display._bars._progress.get_renderable())
    display.close()
    return still.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def log(steps: Sequence[Told]) -> str:
    """Return the lines that a file gets of these steps."""
    now, lines = 0.0, []
    display = Display(lambda text: lines.append(text), None, clock=lambda: now)
    for now, told in steps:  # noqa: B007 the clock reads it
        display(told)
    return "\n".join(lines)


def errors() -> Iterator[tuple[str, SpectralError]]:
    """Yield what the commands say about some mistakes, from the code that says it."""
    reasons = ["truncated or damaged image"] * 23 + ["not an image of a known format"] * 10
    bad = [("train", BadRow(n, f"n{1 + n % 3:08}/{n:05}.JPEG", reason)) for n, reason in enumerate(reasons)]
    paths = DatasetPaths(Path("spectral/photos-q16"))
    for name, said in {"A Q that does not divide": ("15", ""), "A task that there is not": ("", "3/3")}.items():
        try:
            parse_q(said[0], 28, 28) if said[0] else Task.parse(said[1])
        except SpectralError as error:
            yield name, error
    yield "A full disk", explain(OSError(28, "No space left on device"), paths.spectral(3).root, WRITING)
    yield "Bad images", refusal(bad, paths, ALONE)


def shown_error(error: SpectralError, width: int) -> str:
    """Return an error as a terminal of this width shows it."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    draw_labelled(labelled(error), console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def tables() -> dict[str, Callable[[int], str]]:
    """Return what prints each table at a width."""
    spec = SpectralSpec(4, 4)
    known = Info(
        "imagenet", "0b66f1c0a3d2e594", True, 372, 372, spec, "int8", "zarr", (224, 224, 3), 1000,
        {"train": 1_281_167, "test": 50_000}, 1, {"train": 0, "test": 0}, tuple(range(16)), 58_300_000_000, 1204,
        (93.1, 2.4, 0.6, 0.3, 2.0, 0.3, 0.1, 0.1, 0.5, 0.1, 0.1, 0.1, 0.2, 0.05, 0.03, 0.02), 52.3,
    )  # fmt: skip
    accuracies: dict[SchemeName, float] = {"average": 0.9721, "geometric": 0.9805, "best": 0.922}
    branches = [(0.922, 0.3), (0.883, 0.4), (0.755, 0.8), (0.772, 0.7)]
    evaluated = Evaluation(
        dataset="digits",
        q=4,
        branches=tuple(BranchResult(shard, value, loss) for shard, (value, loss) in enumerate(branches)),
        ensemble=accuracies,
        baseline=None,
        weights={"average": (0.25,) * 4, "geometric": (0.459, 0.276, 0.165, 0.099), "best": (1.0, 0.0, 0.0, 0.0)},
        settings={"average": {}, "geometric": {"p": 0.6}, "best": {}},
        space="log-probabilities",
        rows=359,
        measured_on="test",
        missing=(),
        calibration={
            scheme: Calibration(0.8, Quality(value, 0.1, 0.03), Quality(value, 0.09, 0.01))
            for scheme, value in accuracies.items()
        },
    )
    return {
        "spectral-prep info": lambda width: fitted(printable(info_text(known)), width),
        "spectral-ensemble evaluate": lambda width: table(evaluated, width),
    }


def page() -> str:
    """Return `docs/terminal.md`."""
    parts = [HEAD, "## Progress on a terminal"]
    for name, steps in STEPS.items():
        parts += [f"### {name}", *(_block(f"{width} columns", bars(steps, width)) for width in WIDTHS)]
    parts += ["## Progress in a log", _block("convert", log(CONVERSION)), _block("train --shard all", log(TRAINING))]
    parts.append("## Errors")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, error in errors():
            parts += [f"### {name}", *(_block(f"{width} columns", shown_error(error, width)) for width in WIDTHS)]
            plain = "\n".join(f"{label}: {text}" for label, text in labelled(error))
            parts.append(_block("in a log", plain))
    parts.append("## Tables\n\nWhat does not fit is stacked, or wrapped below its own column; a file gets it whole.")
    for name, draw in tables().items():
        parts += [f"### {name}", *(_block(f"{width} columns", draw(width)) for width in WIDTHS)]
    return "\n\n".join(part.strip("\n") for part in [*parts, COMPLETION]) + "\n"


def _block(title: str, text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
    return f"{title}:\n\n```text\n{lines}\n```"


if __name__ == "__main__":
    sys.stdout.write(page())
