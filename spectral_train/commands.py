"""`spectral-train`: options, turned into a `TrainingRequest` once, and a call of the Python function that does it.

What may be chosen stands in the tables of the modules, not here.
"""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from spectral_prep.choices import EngineName
from spectral_prep.console.group import SETTINGS, WatchedCommand
from spectral_prep.console.options import engine_option, ray_address_option
from spectral_prep.console.progress import PLACE, Notices, answer, as_json, insist, say
from spectral_prep.errors import InputError
from spectral_prep.places.cache import Cache
from spectral_prep.places.url import Place, place_of
from spectral_prep.printable import printable
from spectral_train.data.grouping import DEFAULT_CHOICE, GROUPINGS, ShardChoice
from spectral_train.device import DEVICES, LOG_NAMES, ONE_GPU, Resources
from spectral_train.models import AUTO, MODELS, TIMM, nearest
from spectral_train.recipe.augmentation import WORDS
from spectral_train.recipe.listing import LISTINGS, listing_text
from spectral_train.recipe.options import PRETRAINED, parse_settings
from spectral_train.recipe.recipe import Recipe, override
from spectral_train.recipe.recipes import RECIPES, named
from spectral_train.recipe.settings import Optimizer
from spectral_train.run.said import ON, On
from spectral_train.training.gpus import GPUS, Gpu
from spectral_train.training.request import Joint, TrainingRequest, WidthBy, shard_number

if TYPE_CHECKING:
    from spectral_train.run.record import NetworkRecord


class _DeviceType(click.Choice):  # type: ignore[type-arg]  # older releases have none
    """A name of `DEVICES`, or `cuda:1` for one of several GPUs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name."""
        return value if isinstance(value, str) and ONE_GPU.fullmatch(value) else super().convert(value, param, ctx)


on_device = click.option(
    "--device", type=_DeviceType(DEVICES), default="auto", show_default=True, help="Or cuda:1 for one of several GPUs."
)


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
@click.option(
    "--log",
    "logs",
    type=click.Choice(LOG_NAMES),
    multiple=True,
    help="Send the metrics of each epoch there too; where that is, its own environment variables say. May be repeated.",
)
@click.option("--list-recipes", "listing", flag_value="recipes", help="List the recipes and end.")
@click.option("--list-models", "listing", flag_value="models", help="List the models with their options and end.")
@click.option("--list-settings", "listing", flag_value="settings", help="List what --set takes and end.")
@as_json
@click.option(
    "--width-by",
    default="uniform",
    show_default=True,
    help="Branches of unequal width, together as large: energy, or a .json or .csv FILE of multipliers, one a shard.",
)
@click.option("--dry-run", is_flag=True, help="Print memory, parameters and operations, train nothing, and end.")
@click.option("--gpu", type=click.Choice(tuple(GPUS)), help="With --dry-run: also hours on this GPU, an estimate.")
@click.option("--gpu-tflops", type=click.FloatRange(0, min_open=True), help="The same by the peak rate of any GPU.")
@click.option(
    "--find-rate",
    is_flag=True,
    help="First train shortly at up to four rates, 0.25 to 4 times the recipe's; the best on held-out rows is taken.",
)
@click.option(
    "--fuse-inputs",
    "said",
    is_flag=False,
    flag_value="logits",
    type=click.Choice(ON),
    help="Then write what the network says of all rows, for spectral-ensemble fuse.",
)
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
    width_by: str,
    dry_run: bool,
    gpu: str | None,
    gpu_tflops: float | None,
    find_rate: bool,
    said: On | None,
    compiled: bool,
    logs: tuple[str, ...],
    listing: str | None,
    as_json: bool,
    **fields: Any,
) -> None:
    """Train one branch on its shard alone; no communication, and the same command again goes on where it stopped."""
    if listing:
        rows = LISTINGS[listing]()
        click.echo(json.dumps(rows) if as_json else printable(listing_text(rows)))
        return
    import torch

    from spectral_prep.engines import engine_of
    from spectral_prep.system.units import parse_bytes
    from spectral_train.training.baseline import train_baseline
    from spectral_train.training.branch import train_branches
    from spectral_train.training.devices import train_on_devices
    from spectral_train.training.logs import require_logs
    from spectral_train.training.result import result
    from spectral_train.training.words import require_words, write_all_words

    given = parse_settings(settings)
    if twice := [name for name in given if fields.get(name) is not None]:
        raise click.UsageError(f"--{twice[0].replace('_', '-')} and --set {twice[0]}=… are the same: give one of them")
    chosen = _recipe(recipe, {**fields, **given})
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
    if find_rate and joint:
        raise click.UsageError("--find-rate goes without --joint")
    if width_by != "uniform" and (joint or baseline):
        raise click.UsageError("--width-by is for branches, without --joint: a stack has one width")
    if said and (baseline or engine == "ray"):
        raise click.UsageError("--fuse-inputs is for --shard, without --engine ray")
    if gpu and gpu_tflops:
        raise click.UsageError("--gpu has its own peak rate: give --gpu or --gpu-tflops")
    if gpu_tflops and not math.isfinite(gpu_tflops):
        raise click.UsageError("--gpu-tflops is a number of 10¹² operations a second")
    if (gpu or gpu_tflops) and not dry_run:
        raise click.UsageError("--gpu or --gpu-tflops is for --dry-run")
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
        logs=logs,
    )
    require_logs(logs)
    request = TrainingRequest(
        data, chosen, run, ShardChoice(shards, grouping, common), resources, find_rate, _width_by(width_by)
    )
    if said:
        require_words(request, number, said)
    if dry_run:
        _dry_run(request, shard, _gpu(gpu, gpu_tflops), as_json)
        return
    try:
        if baseline:
            records: tuple[NetworkRecord, ...] = (train_baseline(request, say),)
        elif joint:
            records = train_on_devices(request, joint, say)
        else:
            with contextlib.redirect_stdout(Notices()):
                records = train_branches(request, number, say)
        if said:
            write_all_words(request, number, said, say)
    except KeyboardInterrupt:
        insist("Stopped: finished epochs are kept. Run next: the same command; it goes on where it stopped.")
        raise
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(
            "the GPU has too little memory for this training; finished epochs are kept",
            got=str(error).partition(". ")[0],
            run="it with a smaller --batch-size and another --run, without --joint, or on a GPU that nothing else uses",
        ) from error
    if as_json:
        click.echo(json.dumps(result(request, records)))
        return
    for record in records:
        rate = f"learning rate {record.plan.recipe.lr:g}, " if find_rate else ""
        answer(
            f"{record.plan.name}: {record.parameters:,} parameters, {rate}held-out accuracy "
            f"{100 * record.held_out_accuracy:.2f} %, {record.seconds:.0f} s"
        )


def _recipe(name: str, given: dict[str, Any]) -> Recipe:
    """Return a recipe with what was given; pretrained weights are looked for here, on the machine of the command."""
    weights = given.pop(PRETRAINED, None)
    recipe = named(name, **given)
    if weights is None:
        return recipe
    from spectral_train.models.pretrained import with_pretrained

    return override(recipe, model=with_pretrained(recipe.model, weights))


def _gpu(name: str | None, tflops: float | None) -> Gpu | None:
    return GPUS[name] if name else Gpu("a GPU", tflops, tflops) if tflops else None


def _dry_run(request: TrainingRequest, shard: str | None, gpu: Gpu | None, as_json: bool) -> None:
    from spectral_train.training.dry_run import dry_run, text, to_dict

    estimates = dry_run(request, shard_number(shard), baseline=shard is None, gpu=gpu)
    if as_json:
        click.echo(json.dumps(to_dict(estimates, gpu)))
    else:
        answer(text(estimates, gpu))


def _width_by(text: str) -> WidthBy:
    """Return how wide branches are; raise `InputError` for what is neither a word nor a file of multipliers."""
    if text == "uniform":
        return "uniform"
    if text == "energy":
        return "energy"
    from spectral_prep.places import is_there
    from spectral_train.training.widths import read_multipliers

    place = place_of(text)
    if place.suffix not in (".json", ".csv") and not is_there(place):
        raise InputError(
            "neither a way to choose widths nor a file",
            where="--width-by",
            expected="uniform, energy, or a .json or .csv file of multipliers",
            got=text,
            run=f"the same command with --width-by {nearest(text, ('energy', 'uniform'))[0]}",
        )
    return read_multipliers(place)
