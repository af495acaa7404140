"""The commands of `spectral-ensemble`: options, and a call of the Python function of that name.

What may be chosen stands in the tables of the modules, not here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from spectral_prep.console.failure import ERROR, show_labelled
from spectral_prep.console.group import SETTINGS, OrderedGroup
from spectral_prep.console.options import field_options, stacked
from spectral_prep.console.progress import PLACE, answer, as_json, conclude, insist, say
from spectral_prep.console.tables import output_width
from spectral_prep.places.url import Place
from spectral_prep.printable import one_line, printable, quoted, shown
from spectral_prep.sources import SOURCES
from spectral_prep.sources.interface import SPLITS, Fields
from spectral_train.commands import on_device
from spectral_train.ensemble.combination import (
    DEFAULT_SCHEME,
    DEFAULT_SPACE,
    FUSED,
    SCHEME_NAMES,
    SPACES,
    Combination,
    SchemeName,
)
from spectral_train.recipe.augmentation import VIEWS, Views
from spectral_train.training.request import SoupMethod

if TYPE_CHECKING:
    from spectral_train.ensemble.evaluated import Viewed


@click.group("spectral-ensemble", cls=OrderedGroup, context_settings=SETTINGS)
@click.version_option(package_name="spectral-shards")
def ensemble_group() -> None:
    """Combine the trained branches of a run into one network."""


space = click.option(
    "--space",
    type=click.Choice(SPACES),
    default=DEFAULT_SPACE,
    show_default=True,
    help="In which the branches' outputs are summed.",
)
geometric_p = click.option("--p", type=float, help="Of the geometric weights p^rank.  [default: best on held-out rows]")
top_k = click.option("--k", type=click.IntRange(1), help="Of top-k.  [default: best on held-out rows]")
one_scheme = click.option(
    "--scheme",
    type=click.Choice((*SCHEME_NAMES, FUSED)),
    default=DEFAULT_SCHEME,
    show_default=True,
    help="Weights come from held-out rows; fused is what `fuse` fitted.",
)
without = click.option("--without", type=int, multiple=True, help="Leave out this branch. May be repeated.")
views = click.option(
    "--views",
    type=click.Choice(VIEWS),
    help="Average each network over the image and its mirror image, or over these and shifts of one spectral pixel.",
)
allow_missing = click.option("--allow-missing", is_flag=True, help="Do with the branches that are there.")
calibrate = click.option("--calibrate", is_flag=True, help="Apply the temperature that fits held-out rows best.")
combined = stacked((space, geometric_p, top_k, calibrate, without, allow_missing))
"""How one network is made of the branches, beside its scheme."""


def asked(options: Mapping[str, Any], schemes: Collection[SchemeName]) -> Combination:
    """Return what the options of a command ask for; refuse p or k where none of the schemes (none: all) has one."""
    for option, scheme in (("p", "geometric"), ("k", "top-k")):
        if options[option] is not None and schemes and scheme not in schemes:
            raise click.UsageError(f"--{option} is for --scheme {scheme}")
    return Combination(**options)


@ensemble_group.command("runs")
@click.argument("folders", metavar="[DIR]...", type=PLACE, nargs=-1)
@click.option("--clean", is_flag=True, help="Remove checkpoints of finished networks and what killed processes left.")
@click.option("--unfinished", is_flag=True, help="With --clean: also networks that are begun and not finished.")
@click.option("--yes", is_flag=True, help="With --clean: do not ask.")
@as_json
def runs_command(folders: tuple[Place, ...], clean: bool, unfinished: bool, yes: bool, as_json: bool) -> None:
    """List the runs in DIR (default ./runs), compare two or more runs, or clean up in them."""
    from spectral_train.folders import DEFAULT_RUNS
    from spectral_train.report.runs import compare, overviews
    from spectral_train.report.runs_text import comparison_text, overviews_text

    if (unfinished or yes) and not clean:
        raise click.UsageError("--unfinished and --yes are for --clean")
    if clean:
        _clean(folders or (DEFAULT_RUNS,), unfinished, yes, as_json)
    elif len(folders) > 1:
        comparison = compare(folders)
        click.echo(
            json.dumps(asdict(comparison)) if as_json else printable(comparison_text(comparison, output_width()))
        )
    else:
        found = overviews(folders[0] if folders else DEFAULT_RUNS)
        for each in found:
            if each.fault is not None:
                insist(f"Warning: {one_line(each.run)}: {each.fault}")
        click.echo(
            json.dumps([each.to_dict() for each in found])
            if as_json
            else printable(overviews_text(found, output_width()))
        )


def _clean(folders: tuple[Place, ...], unfinished: bool, yes: bool, as_json: bool) -> None:
    from spectral_prep.places.url import place_of
    from spectral_prep.system.units import size
    from spectral_train.report.runs import overviews
    from spectral_train.run.cleaning import leftovers, remove

    runs = [place_of(each.run) for folder in folders for each in overviews(folder)]
    found = [each for run in runs for each in leftovers(run, unfinished)]
    for each in found:
        say(f"{one_line(each.place)}: {size(each.size)}, {each.why}")
    total = size(sum(each.size for each in found))
    wanted = yes or not found or click.confirm(f"Remove {_files(len(found))}, {total}?", err=True)
    gone = remove(found) if wanted else []
    kept = [each for each in found if wanted and each not in gone]
    for network in dict.fromkeys(each.network.root for each in kept):
        say(f"Kept, a process trains there or it may not be written: {one_line(network)}")
    if as_json:
        click.echo(json.dumps([{"path": str(each.place), "size": each.size, "why": each.why} for each in gone]))
    else:
        answer(
            f"{_files(len(gone))} removed, {size(sum(each.size for each in gone))}." if found else "Nothing to remove."
        )


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


@ensemble_group.command("collect")
@click.argument("run", type=PLACE)
@click.argument("folders", metavar="DIR...", type=PLACE, nargs=-1, required=True)
@as_json
def collect_command(run: Place, folders: tuple[Place, ...], as_json: bool) -> None:
    """Copy branches that were trained elsewhere into RUN, checked: each DIR is the folder of a branch, or a run."""
    from spectral_train.run.paths import RunPaths
    from spectral_train.training.collect import collect

    found = collect(run, folders, say)
    if as_json:
        networks = [{"name": each.name, "source": str(each.source), "copied": each.new} for each in found]
        click.echo(json.dumps({"run": str(run), "networks": networks, "branches": list(RunPaths(run).finished())}))
    else:
        count = len(RunPaths(run).finished())
        conclude(
            f"{run} holds {count} branches. Run next, when all are there: spectral-ensemble evaluate {quoted(run)}"
        )


predictions_option = click.option(
    "--predictions",
    type=PLACE,
    help="Also write a row an image to this .csv or .parquet: id, true and predicted class, all probabilities.",
)


@ensemble_group.command("evaluate")
@click.argument("run", type=PLACE)
@click.option(
    "--scheme",
    "schemes",
    type=click.Choice((*SCHEME_NAMES, FUSED)),
    multiple=True,
    help="May be repeated.  [default: all; with --source geometric]",
)
@space
@geometric_p
@top_k
@without
@allow_missing
@click.option("--ablate", is_flag=True, help="Also with the 1 to S best branches, and with each single branch lost.")
@click.option("--source", type=PLACE, help="Labelled images that the run never saw, instead of its own test rows.")
@click.option("--dataset", help=f"What the source is: {', '.join(SOURCES)}.  [default: what its files are called like]")
@click.option("--split", type=click.Choice(SPLITS), help="Of the source.  [default: test if it has one]")
@field_options
@predictions_option
@views
@click.option("--data", type=PLACE, help="The data set of the run, for --views of its own test rows.")
@as_json
def evaluate_command(
    run: Place,
    schemes: tuple[SchemeName, ...],
    ablate: bool,
    source: Place | None,
    dataset: str | None,
    split: str | None,
    fields: Fields,
    predictions: Place | None,
    data: Place | None,
    as_json: bool,
    **combination: Any,
) -> None:
    """Accuracy of each branch, of the ensemble by every weighting scheme, and of the baseline if it was trained.

    With --source, of one scheme on other labelled images, with confusion and calibration. Classes are matched by name.
    """
    if source is None and (dataset or split or predictions or fields != Fields()):
        raise click.UsageError(
            "--dataset, --split, --predictions, --image-key, --image-column and --label-column are for --source"
        )
    if data is not None and (source is not None or not combination["views"]):
        raise click.UsageError("--data is for --views without --source")
    if source is not None:
        if ablate or len(schemes) > 1:
            raise click.UsageError("--source takes one --scheme, and no --ablate")
        scheme = schemes[0] if schemes else DEFAULT_SCHEME
        chosen = asked({"scheme": scheme, **combination}, [scheme])
        _evaluate_source(run, chosen, (source, dataset, split, fields), predictions, as_json)
        return
    from spectral_train.ensemble.evaluate import evaluate, table

    chosen = asked(combination, schemes)
    viewed = _viewed(run, chosen, data) if chosen.views else None
    evaluation = evaluate(run, schemes, chosen, ablate=ablate, viewed=viewed, log=_warn)
    _show_figures(evaluation.to_dict(), table(evaluation, output_width()), chosen, as_json)


def _warn(line: str) -> None:
    insist(f"Warning: {line}")


def _show_figures(figures: dict[str, Any], text: str, combination: Combination, as_json: bool) -> None:
    """Print the figures of an evaluation, and of which views they are."""
    if as_json:
        click.echo(json.dumps({**figures, "views": combination.views}))
        return
    views_line = [f"Views: {combination.views}"] if combination.views else []
    click.echo(printable("\n\n".join([*views_line, text])))


def _viewed(run: Place, combination: Combination, data: Place | None) -> Viewed:
    """Return what the networks of a run say of views of its rows."""
    from spectral_train.ensemble.evaluated import Viewed
    from spectral_train.run.branches import read_baseline, read_branches
    from spectral_train.run.paths import RunPaths
    from spectral_train.training.view_outputs import Viewer

    paths = RunPaths(run)
    records = read_branches(paths, combination.without, combination.allow_missing, data)
    viewer, baseline = Viewer(paths, data, cast(Views, combination.views)), read_baseline(paths, records[0])
    return Viewed(viewer.of_branches(records), None if baseline is None else viewer.of_baseline(baseline))


def _evaluate_source(
    run: Place,
    combination: Combination,
    labelled: tuple[Place, str | None, str | None, Fields],
    predictions: Place | None,
    as_json: bool,
) -> None:
    from spectral_train.ensemble.source import Labelled, evaluate_source
    from spectral_train.ensemble.source_text import left_out, source_text

    found = evaluate_source(run, Labelled(*labelled), combination, predictions)
    for sentence in left_out(found):
        insist(f"Warning: {sentence}")
    _show_figures(found.to_dict(), source_text(found, output_width()), combination, as_json)


@ensemble_group.command("predict")
@click.argument("run", type=PLACE)
@click.argument("images", type=PLACE, nargs=-1, required=True)
@one_scheme
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to name.")
@combined
@views
@predictions_option
@as_json
def predict_command(
    run: Place, images: tuple[Place, ...], top: int, predictions: Place | None, as_json: bool, **combination: Any
) -> None:
    """Run the whole network on image files, folders of them, or patterns ('photos/**/*.jpg'); it needs only RUN."""
    from spectral_train.ensemble.network import open_network
    from spectral_train.ensemble.predict import image_files, most_likely
    from spectral_train.ensemble.predict import predictions as predicted
    from spectral_train.ensemble.prediction_file import prediction_file

    network, bad = open_network(run, asked(combination, [combination["scheme"]])), 0
    classes = network.plans[0].classes
    with prediction_file(predictions, classes) as write:
        for path, row in predicted(network, image_files(images)):
            write(row)
            if row.reason is not None:
                bad += 1
                show_labelled([(ERROR, f"{one_line(path)}: {row.reason}")])
                continue
            named: dict[str, float] = {}  # of classes of one name the sum
            for name, share in most_likely(path, row, classes, top).classes:
                named[name] = round(named.get(name, 0.0) + share, 6)
            if as_json:
                click.echo(json.dumps({"path": str(path), "classes": named}))
            else:
                likely = ", ".join(f"{shown(name)} {100 * share:.1f} %" for name, share in named.items())
                answer(f"{one_line(path)}: {likely}")
    if bad:
        sys.exit(1)


@ensemble_group.command("report")
@click.argument("runs", type=PLACE, nargs=-1, required=True)
@click.option("--out", type=PLACE, help="The folder to write.  [default: RUN/report, or ./report for several runs]")
@space
@allow_missing
def report_command(runs: tuple[Place, ...], out: Place | None, **combination: Any) -> None:
    """Write tables, figures and one self-contained HTML page about one or more runs, beside the papers' figures."""
    from spectral_train.report.report import report

    for path in report(runs, out, Combination(**combination), _warn).files:
        conclude(str(path))


@ensemble_group.command("soup")
@click.argument("runs", type=PLACE, nargs=-1, required=True)
@click.option("--out", type=PLACE, required=True, help="The run to write.")
@click.option("--data", type=PLACE, help="The data set of the runs.  [default: by its id in ./spectral]")
@click.option(
    "--method",
    type=click.Choice(get_args(SoupMethod)),
    default="greedy",
    show_default=True,
    help="greedy: only runs that do not harm a branch on held-out rows; uniform: all.",
)
@on_device
def soup_command(runs: tuple[Place, ...], out: Place, data: Place | None, method: SoupMethod, device: str) -> None:
    """Average the weights of several runs of the same networks, branch by branch, into one run of the same size."""
    from spectral_train.training.soup import soup

    soup(runs, out, data, method, device, say)
    conclude(f"The run is {out}. Run next: spectral-ensemble evaluate {quoted(out)}")
