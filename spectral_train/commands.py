"""`spectral-train` and the commands of `spectral-ensemble`: options, and a call of the Python function of that name.

A command turns its options into the values of the house once (`TrainingRequest`, `Combination`). What may be chosen
stands in the tables of the modules, not here.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from spectral_prep.choices import EngineName
from spectral_prep.console.failure import ERROR, show_labelled
from spectral_prep.console.group import SETTINGS, OrderedGroup, WatchedCommand
from spectral_prep.console.options import engine_option, ray_address_option
from spectral_prep.console.progress import PLACE, Notices, answer, as_json, insist, say
from spectral_prep.console.tables import output_width
from spectral_prep.errors import InputError
from spectral_prep.places.cache import Cache
from spectral_prep.places.url import Place
from spectral_prep.printable import one_line, printable, shown
from spectral_train.data.grouping import DEFAULT_CHOICE, GROUPINGS, ShardChoice
from spectral_train.device import DEVICES, Resources
from spectral_train.ensemble.combination import (
    DEFAULT_SCHEME,
    DEFAULT_SPACE,
    SCHEME_NAMES,
    SPACES,
    Combination,
    SchemeName,
)
from spectral_train.models import AUTO, MODELS, TIMM
from spectral_train.recipe.augmentation import WORDS
from spectral_train.recipe.options import parse_settings
from spectral_train.recipe.recipe import Optimizer
from spectral_train.recipe.recipes import RECIPES, named
from spectral_train.training.request import Joint, SoupMethod, TrainingRequest, shard_number

if TYPE_CHECKING:
    from spectral_train.run.record import NetworkRecord

on_device = click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)


@click.command("spectral-train", cls=WatchedCommand, context_settings=SETTINGS)
@click.version_option(package_name="spectral-shards")
@click.option("--shard", help="Which branch to train: 0 to S-1, or all of them.")
@click.option("--baseline", is_flag=True, help="Train the conventional network on the whole images instead.")
@click.option(
    "--data",
    type=PLACE,
    help="The data set, or the one spectral folder that this node has.  [default: the only one in ./spectral]",
)
@click.option("--run", type=PLACE, help="Where the branches go.  [default: ./runs/DATASET-qQ-MODEL]")
@click.option("--recipe", default="default", show_default=True, help=f"{', '.join(RECIPES)}.")
@click.option("--model", help=f"Instead of the recipe's: {', '.join((AUTO, *MODELS))}, or {TIMM}NAME for any of timm.")
@click.option("--optimizer", type=click.Choice(get_args(Optimizer)), help="Instead of the recipe's.")
@click.option("--lr", type=float, help="Learning rate, instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option(
    "--augment",
    help=f"Of {WORDS}, separated by commas. What would not be exact is refused.",
)
@click.option("--seed", type=int, help="Of weights, order and noise.  [default: 0]")
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Anything else of the recipe, or an option of the model: schedule=one-cycle, ema=0.999, precision=bfloat16, "
    "width=0.25. May be repeated; a wrong NAME lists them all.",
)
@click.option("--shards", type=click.IntRange(1), help="S, the number of branches; divides Q.  [default: Q]")
@click.option(
    "--grouping",
    type=click.Choice(tuple(GROUPINGS)),
    default=DEFAULT_CHOICE.grouping,
    show_default=True,
    help="Which Q/S spectrals make a shard; balanced: equal energy.",
)
@click.option(
    "--common",
    type=int,
    multiple=True,
    help="A spectral that every branch loads beside its own; 0 is DC. May be repeated.",
)
@on_device
@click.option(
    "--memory",
    help="For the rows of all that train at the same time (with --engine ray: of each branch), such as 2G; what does "
    "not fit is streamed.  [default: half of what is available; ray: as much as they take]",
)
@click.option(
    "--joint",
    is_flag=False,
    flag_value="auto",
    type=click.Choice(get_args(Joint)),
    help="Train the branches of --shard all as one stacked model a device; with auto, on a CPU only if it is faster.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder for copies of shards that lie in a bucket.  [default: $SPECTRAL_CACHE or ~/.cache/spectral-shards]",
)
@click.option("--cache-size", help="Of all copies, such as 50G: those used longest ago go.  [default: the disk]")
@click.option("--no-cache", is_flag=True, help="Read a shard in a bucket where it is, epoch after epoch.")
@engine_option
@ray_address_option
@click.option(
    "--gpus-per-branch",
    type=click.FloatRange(0),
    help="With --engine ray: GPUs for each branch, or the share of one.  [default: 1 if the cluster has any]",
)
@click.option("--workers", type=click.IntRange(1), help="Processes for --shard all.  [default: the usable CPUs]")
@click.option("--compile", "compiled", is_flag=True, help="Run the network through torch.compile; same checkpoints.")
def train_command(
    shard: str | None,
    baseline: bool,
    data: Place | None,
    run: Place | None,
    recipe: str,
    settings: tuple[str, ...],
    shards: int | None,
    grouping: str,
    common: tuple[int, ...],
    device: str,
    memory: str | None,
    joint: Joint | None,
    cache: Path | None,
    cache_size: str | None,
    no_cache: bool,
    engine: EngineName,
    ray_address: str | None,
    gpus_per_branch: float | None,
    workers: int | None,
    compiled: bool,
    **fields: Any,
) -> None:
    """Train one branch on its shard alone; no communication, and the same command again goes on where it stopped."""
    import torch

    from spectral_prep.engines import engine_of
    from spectral_prep.system.units import parse_bytes
    from spectral_train.training.baseline import train_baseline
    from spectral_train.training.branch import train_branches
    from spectral_train.training.devices import train_on_devices

    chosen = named(recipe, **{**fields, **parse_settings(settings)})
    if baseline == (shard is not None):
        raise click.UsageError("give --shard NUMBER, --shard all or --baseline")
    if joint and (shard != "all" or compiled):
        raise click.UsageError("--joint is for --shard all, without --compile")
    if baseline and memory:
        raise click.UsageError("--memory is for shards: the conventional network has all images in memory")
    if engine == "ray" and (shard != "all" or joint):
        raise click.UsageError("--engine ray is for --shard all, without --joint")
    if gpus_per_branch is not None and engine != "ray":
        raise click.UsageError("--gpus-per-branch is for --engine ray")
    number = shard_number(shard)
    if no_cache and (cache or cache_size):
        raise click.UsageError("--no-cache goes without --cache and --cache-size")
    resources = Resources(
        device,
        workers,
        parse_bytes(memory) if memory else None,
        compiled,
        cache=None if no_cache else Cache(cache, parse_bytes(cache_size) if cache_size else None),
        engine=engine_of(engine, ray_address),
        gpus=gpus_per_branch,
    )
    request = TrainingRequest(data, chosen, run, ShardChoice(shards, grouping, common), resources)
    try:
        if baseline:
            records: tuple[NetworkRecord, ...] = (train_baseline(request, say),)
        elif joint:
            records = train_on_devices(request, joint, say)
        else:
            with contextlib.redirect_stdout(Notices()):
                records = train_branches(request, number, say)
    except KeyboardInterrupt:
        insist("Stopped: finished epochs are kept. Run next: the same command; it goes on where it stopped.")
        raise
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(
            "the GPU has too little memory for this training; finished epochs are kept",
            got=str(error).partition(". ")[0],
            run="it with a smaller --batch-size and another --run, without --joint, or on a GPU that nothing else uses",
        ) from error
    for record in records:
        answer(
            f"{record.plan.name}: {record.parameters:,} parameters, held-out accuracy "
            f"{100 * record.held_out_accuracy:.2f} %, {record.seconds:.0f} s"
        )


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
    type=click.Choice(SCHEME_NAMES),
    default=DEFAULT_SCHEME,
    show_default=True,
    help="Weights come from held-out rows.",
)
without = click.option("--without", type=int, multiple=True, help="Leave out this branch. May be repeated.")
allow_missing = click.option("--allow-missing", is_flag=True, help="Do with the branches that are there.")
calibrate = click.option("--calibrate", is_flag=True, help="Apply the temperature that fits held-out rows best.")


@ensemble_group.command("evaluate")
@click.argument("run", type=PLACE)
@click.option(
    "--scheme",
    "schemes",
    type=click.Choice(SCHEME_NAMES),
    multiple=True,
    help="May be repeated.  [default: all]",
)
@space
@geometric_p
@top_k
@without
@allow_missing
@click.option("--ablate", is_flag=True, help="Also with the 1 to S best branches, and with each single branch lost.")
@as_json
def evaluate_command(
    run: Place, schemes: tuple[SchemeName, ...], ablate: bool, as_json: bool, **combination: Any
) -> None:
    """Accuracy of each branch, of the ensemble by every weighting scheme, and of the baseline if it was trained."""
    from spectral_train.ensemble.evaluate import evaluate, table

    evaluation = evaluate(run, schemes, Combination(**combination), ablate=ablate)
    click.echo(json.dumps(evaluation.to_dict()) if as_json else printable(table(evaluation, output_width())))


@ensemble_group.command("predict")
@click.argument("run", type=PLACE)
@click.argument("images", type=PLACE, nargs=-1, required=True)
@one_scheme
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to name.")
@space
@geometric_p
@top_k
@calibrate
@without
@allow_missing
@as_json
def predict_command(run: Place, images: tuple[Place, ...], top: int, as_json: bool, **combination: Any) -> None:
    """Run the whole network on image files; it needs nothing but RUN."""
    from spectral_train.ensemble.predict import predict

    predictions = predict(run, images, Combination(**combination), top)
    for prediction in predictions:
        if prediction.reason is not None:
            show_labelled([(ERROR, f"{one_line(prediction.path)}: {prediction.reason}")])
            continue
        named = {name: round(probability, 6) for name, probability in prediction.classes}
        if as_json:
            click.echo(json.dumps({"path": str(prediction.path), "classes": named}))
        else:
            likely = ", ".join(f"{shown(name)} {100 * share:.1f} %" for name, share in named.items())
            answer(f"{one_line(prediction.path)}: {likely}")
    if any(prediction.reason is not None for prediction in predictions):
        sys.exit(1)


@ensemble_group.command("report")
@click.argument("runs", type=PLACE, nargs=-1, required=True)
@click.option("--out", type=PLACE, help="The folder to write.  [default: RUN/report, or ./report for several runs]")
@space
@allow_missing
def report_command(runs: tuple[Place, ...], out: Place | None, **combination: Any) -> None:
    """Write tables, figures and one self-contained HTML page about one or more runs, beside the papers' figures."""
    from spectral_train.report.report import report

    for path in report(runs, out, Combination(**combination)).files:
        answer(str(path))


@ensemble_group.command("soup")
@click.argument("runs", type=PLACE, nargs=-1, required=True)
@click.option("--out", type=PLACE, required=True, help="The run to write.")
@click.option("--data", type=PLACE, help="The data set of the runs.  [default: the only one in ./spectral]")
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
    answer(f"The run is {out}. Run next: spectral-ensemble evaluate {out}")


@ensemble_group.command("export")
@click.argument("run", type=PLACE)
@click.option("--out", type=PLACE, required=True, help="The file to write: NAME.pt2 (torch.export) or NAME.onnx.")
@one_scheme
@space
@geometric_p
@top_k
@calibrate
@without
@allow_missing
@as_json
def export_command(run: Place, out: Place, as_json: bool, **combination: Any) -> None:
    """Write the whole network as one file that takes uint8 images (N, H, W, C) and gives probabilities."""
    from spectral_prep.places import at
    from spectral_prep.system.units import size
    from spectral_train.ensemble.export import export

    metadata = export(run, out, Combination(**combination))
    if as_json:
        click.echo(json.dumps(metadata))
    else:
        answer(
            f"{out}: {size(at(out).size() or 0)}; uint8 images (N, {', '.join(map(str, metadata['input_shape']))}) "
            f"to probabilities of {len(metadata['classes'])} classes"
        )
