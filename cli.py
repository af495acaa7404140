"""The three commands: each parses, calls the Python function of the same name and prints; nothing else prints.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 data or a disk is at fault, 2 the command
has to change, 130 Ctrl-C. torch is imported only by the command that runs, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args

import click
from tqdm import tqdm

from spectral_prep.errors import SpectralError
from spectral_prep.sources import SOURCES
from spectral_train.models import AUTO, MODELS, TIMM
from spectral_train.recipes import OPTIONS, RECIPES, Optimizer, named, parse_settings

if TYPE_CHECKING:
    from spectral_prep.block import OnError
    from spectral_prep.convert import Progress
    from spectral_prep.kernel.stream import Device
    from spectral_prep.plan import Plan
    from spectral_prep.request import Request
    from spectral_prep.sources.base import Source
    from spectral_train.record import BranchRecord

LOG_SECONDS = 5
FOLDER = click.Path(path_type=Path)

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, for machines.")


def prep(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the console script `spectral-prep`."""
    _run(prep_group, arguments)


@click.group("spectral-prep", context_settings={"max_content_width": 120})
@click.version_option(package_name="spectral-shards")
def prep_group() -> None:
    """Convert an image data set once into Q row-aligned spectral shards, and prove what was written."""


REQUEST_OPTIONS = (
    click.option(
        "--dataset",
        required=True,
        help=f"{', '.join(SOURCES)}.",
    ),
    click.option("--source", type=FOLDER, help="Where the release lies.  [default: ./data/DATASET]"),
    click.option("--out", type=FOLDER, help="The folder to write.  [default: ./spectral/DATASET-qQ]"),
    click.option(
        "--q", required=True, help="Spectrals: 16 (4x4), 28 for 28-wide images (1x28), or a pair such as 2x4."
    ),
    click.option(
        "--layout",
        type=click.Choice(["blocks", "tiles"]),
        default="blocks",
        show_default=True,
        help="What becomes the Q axis: each q1xq2 neighbourhood of pixels, or q1xq2 large tiles.",
    ),
    click.option(
        "--transform",
        type=click.Choice(["dct", "dct2", "none"]),
        default="dct",
        show_default=True,
        help="Along the Q axis.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["int8", "float16", "float32"]),
        default="int8",
        show_default=True,
        help="Of a stored coefficient; float16 and float32 keep every pixel exactly.",
    ),
    click.option(
        "--size",
        type=click.IntRange(1),
        help="Square crop, pixels.  [default: 224 for imagenet and imagenet21k, else the images' own]",
    ),
    click.option(
        "--resize",
        type=click.IntRange(1),
        help="Short side before the crop, pixels.  [default: 256/224 of --size for imagenet, else --size]",
    ),
    click.option(
        "--format",
        type=click.Choice(["zarr", "webdataset"]),
        default="zarr",
        show_default=True,
        help="Zarr v3 arrays, or WebDataset tars with one sample a row.",
    ),
    click.option(
        "--compression", type=click.Choice(["zstd", "none"]), help="[default: zstd for zarr, none for webdataset]"
    ),
    click.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        help="Of the order of training rows and of the calibration sample.",
    ),
    click.option(
        "--shuffle",
        type=click.Choice(["global", "none"]),
        default="global",
        show_default=True,
        help="Store training rows in a seeded permutation of their canonical order, or in that order.",
    ),
    click.option(
        "--views",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Augmented versions of each training image to store beside it; an epoch trains on one version of each.",
    ),
    click.option(
        "--augmentation",
        help="Of the views: crop, light-crop, shift-flip or shift.  [default: shift for grey images, crop for resized "
        "ones, else shift-flip]",
    ),
    click.option(
        "--block-rows",
        type=click.IntRange(1),
        help="Rows a part file.  [default: for parts of 32 MiB before compression]",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        help="An image file that promises more is a bad image.  [default: 89478485, Pillow's limit]",
    ),
)


def _request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that decide what is written, and where from and where to."""
    for option in reversed(REQUEST_OPTIONS):
        command = option(command)
    return command


workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes; no byte depends on it.  [default: the CPUs that it may use, fewer for small sets]",
)
max_memory_option = click.option(
    "--max-memory", help="Of all processes together, such as 4G: fewer workers.  [default: the container's limit]"
)


@prep_group.command("plan")
@_request_options
@click.option("--tasks", type=click.IntRange(1), default=1, show_default=True, help="Machines to share the work.")
@workers_option
@max_memory_option
@as_json
def plan_command(
    source: Path | None,
    out: Path | None,
    tasks: int,
    workers: int | None,
    max_memory: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say what convert would write and take: bytes, files, memory, room and time; nothing is written."""
    from spectral_prep.describe import estimate_text
    from spectral_prep.estimate import Limits, plan
    from spectral_prep.memory import parse_bytes
    from spectral_prep.request import Request

    request = Request(**options)
    out = out or _default_out(request)
    limits = Limits(tasks, workers, parse_bytes(max_memory) if max_memory else None)
    found = plan(request, source or _default_source(request.dataset), out, limits)
    click.echo(json.dumps(found.to_dict()) if as_json else estimate_text(found, out))


@prep_group.command("convert")
@_request_options
@click.option(
    "--task", metavar="I/N", help="Convert every N-th block only, from block I on; finalize completes.  [default: all]"
)
@workers_option
@max_memory_option
@click.option("--no-space-check", is_flag=True, help="Start even where the disk has no room for all.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="Bad images: list them all and do not complete, or keep their slots with label -1.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the transform is computed; auto: a GPU where there is one.",
)
@click.option(
    "--download", is_flag=True, help="First fetch the release into --source, hashes checked (mnist, cifar10)."
)
@click.option("--mirror", help="Download from this base URL instead of the official ones.")
def convert_command(
    source: Path | None,
    out: Path | None,
    task: str | None,
    workers: int | None,
    max_memory: str | None,
    no_space_check: bool,
    on_error: OnError,
    device: Device,
    download: bool,
    mirror: str | None,
    **options: Any,
) -> None:
    """Convert a data set; the same command again goes on where it stopped."""
    from spectral_prep.convert import convert
    from spectral_prep.download import download as fetch
    from spectral_prep.memory import parse_bytes
    from spectral_prep.request import Request
    from spectral_prep.tasks import ALONE, Task

    request = Request(**options)
    source = source or _default_source(request.dataset)
    out = out or _default_out(request)
    part = Task.parse(task) if task else ALONE
    if download or mirror:
        fetch(request.dataset, source, mirror)
    progress = ConversionProgress()
    try:
        convert(
            request,
            source,
            out,
            task=part,
            workers=workers,
            max_memory=parse_bytes(max_memory) if max_memory else None,
            on_error=on_error,
            device=device,
            space_check=not no_space_check,
            progress=progress,
        )
    except KeyboardInterrupt:
        progress.close()
        _say(f"Stopped: what is finished is kept in {out}. Run next: the same command; it goes on where it stopped.")
        raise
    finally:
        progress.close()
    if task:
        click.echo(f"Task {part} is done. Run next, when all tasks are: spectral-prep finalize {out}")
    else:
        _complete(out)


@prep_group.command("finalize")
@click.argument("folder", type=FOLDER)
def finalize_command(folder: Path) -> None:
    """Complete what the tasks of several machines converted; what is missing is named, with the task that makes it."""
    from spectral_prep.finalize import finalize

    finalize(folder)
    _complete(folder)


def _complete(out: Path) -> None:
    from spectral_prep.describe import info_text
    from spectral_prep.info import info

    found = info(out)
    click.echo(info_text(found))
    if "test" not in found.rows:
        _say("No test rows: training works, evaluating needs some. Put them into test/ or val/ beside train/.")
    click.echo(f"Complete: {out}. Run next: spectral-train --shard all --data {out}")


@prep_group.command("info")
@click.argument("folder", type=FOLDER)
@as_json
def info_command(folder: Path, as_json: bool) -> None:
    """Say what a converted data set, or a single spectral folder, holds."""
    from spectral_prep.describe import info_text
    from spectral_prep.info import info

    found = info(folder)
    click.echo(json.dumps(found.to_dict()) if as_json else info_text(found))


@prep_group.command("verify")
@click.argument("folder", type=FOLDER)
@click.option(
    "--source", type=FOLDER, help="The release, to compare a sample of rows with.  [default: ./data/DATASET if there]"
)
@click.option("--deep", is_flag=True, help="Also decode every part and compare its values with what was recorded.")
@as_json
def verify_command(folder: Path, source: Path | None, deep: bool, as_json: bool) -> None:
    """Check every file, the alignment of the rows in all spectrals, and a sample of images against the source."""
    from spectral_prep.describe import verification_text
    from spectral_prep.verify import verify

    with tempfile.TemporaryDirectory() as staging:
        found = verify(folder, lambda plan: _source_of(plan, source, Path(staging)), deep=deep)
    click.echo(json.dumps(found.to_dict()) if as_json else verification_text(found, folder))
    if found.faults:
        if not as_json:
            _say(
                f"Error: {len(found.faults)} faults in {folder}, listed above. Run next: delete the files named, then "
                "the spectral-prep convert command that made this data set; it writes only those again"
            )
        sys.exit(1)


@prep_group.command("show")
@click.argument("folder", type=FOLDER)
@click.option("--row", type=click.IntRange(0), required=True, help="Place of the row in stored order.")
@click.option("--split", default="train", show_default=True, help="train or test.")
@click.option("--source", type=FOLDER, help="The release, for the original.  [default: ./data/DATASET if there]")
@click.option("--out", type=FOLDER, help="The PNG to write.  [default: ./DATASET-SPLIT-ROW.png]")
def show_command(folder: Path, row: int, split: str, source: Path | None, out: Path | None) -> None:
    """Draw one row: the image, its spectrals, the image put back together and its error, energy and bytes."""
    from spectral_prep.manifest import read_record
    from spectral_prep.plan import Plan
    from spectral_prep.show import draw, sheet
    from spectral_prep.store.files import atomic_write
    from spectral_prep.store.layout import DatasetPaths

    plan = Plan.from_dict(read_record(DatasetPaths(folder).plan, "plan"))
    with tempfile.TemporaryDirectory() as staging:
        shown = sheet(folder, row, split, _source_of(plan, source, Path(staging)))
    out = out or Path(f"{plan.dataset}-{split}-{row}.png")
    atomic_write(out, draw(shown))
    click.echo(f"{shown.title}\nDrawn: {out}")


def train(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the console script `spectral-train`.

    torch's threads sleep while they wait, unless the user says otherwise: threads that spin make training many times
    slower beside another busy process.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _run(train_command, arguments)


@click.command("spectral-train", context_settings={"max_content_width": 120})
@click.version_option(package_name="spectral-shards")
@click.option("--shard", help="Which branch to train: 0 to S-1, or all, one after the other.")
@click.option("--baseline", is_flag=True, help="Train the conventional network on the whole images instead.")
@click.option(
    "--data",
    type=FOLDER,
    help="The data set, or the one spectral folder that this node has.  [default: the only one in ./spectral]",
)
@click.option("--run", type=FOLDER, help="Where the branches go.  [default: ./runs/DATASET-qQ-MODEL]")
@click.option("--recipe", default="default", show_default=True, help=f"{', '.join(RECIPES)}.")
@click.option("--model", help=f"Instead of the recipe's: {', '.join((AUTO, *MODELS))}, or {TIMM}NAME for any of timm.")
@click.option("--optimizer", type=click.Choice(get_args(Optimizer)), help="Instead of the recipe's.")
@click.option("--lr", type=float, help="Learning rate, instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option(
    "--augment",
    help="Of flip, vflip, shift=1, mixup=0.2, cutmix=1.0, separated by commas. What would not be exact is refused.",
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
    type=click.Choice(["contiguous", "interleaved", "balanced"]),
    default="contiguous",
    show_default=True,
    help="Which Q/S spectrals make a shard; balanced: equal energy.",
)
@click.option(
    "--common",
    type=int,
    multiple=True,
    help="A spectral that every branch loads beside its own; 0 is DC. May be repeated.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--memory",
    help="For the rows of all that train at the same time, such as 2G; what does not fit is streamed.  "
    "[default: half of what is available]",
)
@click.option(
    "--joint",
    is_flag=False,
    flag_value="auto",
    type=click.Choice(["auto", "always"]),
    help="Train the branches of --shard all as one stacked model a device; with auto, on a CPU only if it is faster.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes for --shard all.  [default: the usable CPUs]")
@click.option("--compile", "compiled", is_flag=True, help="Run the network through torch.compile; same checkpoints.")
def train_command(
    shard: str | None,
    baseline: bool,
    recipe: str,
    settings: tuple[str, ...],
    memory: str | None,
    joint: Literal["auto", "always"] | None,
    **options: Any,
) -> None:
    """Train one branch on its shard alone; no communication, and the same command again goes on where it stopped."""
    from spectral_train.baseline import train_baseline
    from spectral_train.branch import train_branches
    from spectral_train.placement import parse_memory
    from spectral_train.together import train_jointly

    chosen = named(recipe, **{name: options.pop(name) for name in OPTIONS}, **parse_settings(settings))
    if baseline == (shard is not None):
        raise click.UsageError("give --shard NUMBER, --shard all or --baseline")
    if joint and (shard != "all" or options["compiled"]):
        raise click.UsageError("--joint is for --shard all, without --compile")
    if baseline and memory:
        raise click.UsageError("--memory is for shards: the conventional network has all images in memory")
    try:
        if baseline:
            del options["workers"]
            records: tuple[BranchRecord, ...] = (train_baseline(options.pop("data"), chosen, report=_say, **options),)
        else:
            options["memory"] = parse_memory(memory) if memory else None
            if joint:
                del options["compiled"]
                records = train_jointly(options.pop("data"), chosen, joint=joint, report=_say, **options)
            else:
                records = train_branches(options.pop("data"), _shard_number(shard), chosen, report=_say, **options)
    except KeyboardInterrupt:
        _say("Stopped: finished epochs are kept. Run next: the same command; it goes on where it stopped.")
        raise
    for record in records:
        click.echo(
            f"{record.plan.name}: {record.parameters:,} parameters, held-out accuracy "
            f"{100 * record.held_out_accuracy:.2f} %, {record.seconds:.0f} s"
        )


def ensemble(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the console script `spectral-ensemble`."""
    _run(ensemble_group, arguments)


@click.group("spectral-ensemble", context_settings={"max_content_width": 120})
@click.version_option(package_name="spectral-shards")
def ensemble_group() -> None:
    """Combine the trained branches of a run into one network."""


space = click.option(
    "--space",
    type=click.Choice(["probabilities", "log-probabilities"]),
    default="log-probabilities",
    show_default=True,
    help="In which the branches' outputs are summed.",
)
geometric_p = click.option("--p", type=float, help="Of the geometric weights p^rank.  [default: best on held-out rows]")
top_k = click.option("--k", type=click.IntRange(1), help="Of top-k.  [default: best on held-out rows]")
SCHEME_NAMES = "average, loss, geometric, best, top-k, learned or stacked"
one_scheme = click.option(
    "--scheme", default="geometric", show_default=True, help=f"{SCHEME_NAMES}; weights come from held-out rows."
)
without = click.option("--without", type=int, multiple=True, help="Leave out this branch. May be repeated.")
allow_missing = click.option("--allow-missing", is_flag=True, help="Do with the branches that are there.")
calibrate = click.option("--calibrate", is_flag=True, help="Apply the temperature that fits held-out rows best.")


@ensemble_group.command("evaluate")
@click.argument("run", type=FOLDER)
@click.option("--scheme", "schemes", multiple=True, help=f"{SCHEME_NAMES}; may be repeated.  [default: all]")
@space
@geometric_p
@top_k
@without
@allow_missing
@click.option("--ablate", is_flag=True, help="Also with the 1 to S best branches, and with each single branch lost.")
@as_json
def evaluate_command(run: Path, as_json: bool, **options: Any) -> None:
    """Accuracy of each branch, of the ensemble by every weighting scheme, and of the baseline if it was trained."""
    from spectral_train.evaluate import evaluate, table

    evaluation = evaluate(run, **options)
    click.echo(json.dumps(evaluation.to_dict()) if as_json else table(evaluation))


@ensemble_group.command("predict")
@click.argument("run", type=FOLDER)
@click.argument("images", type=FOLDER, nargs=-1, required=True)
@one_scheme
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to name.")
@space
@geometric_p
@top_k
@calibrate
@without
@allow_missing
@as_json
def predict_command(run: Path, images: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Run the whole network on image files; it needs nothing but RUN."""
    from spectral_train.predict import predict

    predictions = predict(run, images, **options)
    for prediction in predictions:
        if prediction.reason is not None:
            _say(f"Error: {prediction.path}: {prediction.reason}")
            continue
        named = {name: round(probability, 6) for name, probability in prediction.classes}
        if as_json:
            click.echo(json.dumps({"path": str(prediction.path), "classes": named}))
        else:
            click.echo(
                f"{prediction.path}: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in named.items())
            )
    if any(prediction.reason is not None for prediction in predictions):
        sys.exit(1)


@ensemble_group.command("soup")
@click.argument("runs", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="The run to write.")
@click.option("--data", type=FOLDER, help="The data set of the runs.  [default: the only one in ./spectral]")
@click.option(
    "--method",
    type=click.Choice(["greedy", "uniform"]),
    default="greedy",
    show_default=True,
    help="greedy: only runs that do not harm a branch on held-out rows; uniform: all.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def soup_command(runs: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Average the weights of several runs of the same networks, branch by branch, into one run of the same size."""
    from spectral_train.soup import soup

    soup(runs, out, report=_say, **options)
    click.echo(f"The run is {out}. Run next: spectral-ensemble evaluate {out}")


@ensemble_group.command("report")
@click.argument("runs", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, help="The folder to write.  [default: RUN/report, or ./report for several runs]")
@space
@allow_missing
def report_command(runs: tuple[Path, ...], **options: Any) -> None:
    """Write tables, figures and one self-contained HTML page about one or more runs, beside the papers' figures."""
    from spectral_train.report import report

    for path in report(runs, **options).files:
        click.echo(path)


@ensemble_group.command("export")
@click.argument("run", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="The file to write: NAME.pt2 (torch.export) or NAME.onnx.")
@one_scheme
@space
@geometric_p
@top_k
@calibrate
@without
@allow_missing
@as_json
def export_command(run: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Write the whole network as one file that takes uint8 images (N, H, W, C) and gives probabilities."""
    from spectral_prep.describe import size
    from spectral_train.export import export

    metadata = export(run, out, **options)
    if as_json:
        click.echo(json.dumps(metadata))
    else:
        click.echo(
            f"{out}: {size(out.stat().st_size)}; uint8 images (N, {', '.join(map(str, metadata['input_shape']))}) "
            f"to probabilities of {len(metadata['classes'])} classes"
        )


def _shard_number(text: str | None) -> int | None:
    """Return the number of a shard, None for all."""
    if text is None or text == "all":
        return None
    if not text.isdecimal():
        raise click.UsageError(f"--shard takes a number or all, not {text!r}")
    return int(text)


class ConversionProgress:
    """A bar a split on a terminal, a line every few seconds elsewhere; on stderr either way."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._bars: dict[str, tqdm[Any]] = {}
        self._started = self._logged = time.monotonic()
        self._at_start = 0

    def __call__(self, progress: Progress) -> None:
        """Show how far a conversion is."""
        if progress.block is None:
            self._begin(progress)
            return
        for bad in progress.block.bad:
            tqdm.write(f"bad image: {progress.block.split}: {bad.name}: {bad.reason}", file=sys.stderr)
        if self._terminal:
            for name, bar in self._bars.items():
                bar.update(progress.done[name] - bar.n)
        elif time.monotonic() - self._logged >= LOG_SECONDS or progress.finished:
            self._logged = time.monotonic()
            self._log(progress)

    def close(self) -> None:
        """Leave the terminal in order."""
        for bar in self._bars.values():
            bar.close()
        self._bars = {}

    def _begin(self, progress: Progress) -> None:
        from spectral_prep.describe import conversion_text, outlook_text

        plan, self._at_start, self._started = progress.plan, sum(progress.done.values()), time.monotonic()
        _say(conversion_text(plan) + (", resuming" if self._at_start else ""))
        if progress.estimate is not None:
            _say(outlook_text(progress.estimate))
        if self._terminal:
            self._bars = {
                name: tqdm(total=part.rows, initial=progress.done[name], desc=name, unit="img", unit_scale=True)
                for name, part in plan.splits.items()
            }

    def _log(self, progress: Progress) -> None:
        from spectral_prep.describe import progress_text

        _say(progress_text(progress, self._at_start, time.monotonic() - self._started))


def _run(command: click.Command, arguments: Sequence[str] | None) -> NoReturn:
    """Run a command; every expected failure becomes one paragraph on stderr and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except SpectralError as error:
        _say(f"Error: {error}")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except OSError as error:
        _say(f"Error: {error.strerror}. Where: {error.filename}")
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(0)


def _default_out(request: Request) -> Path:
    return Path("spectral") / f"{request.dataset}-q{request.q}"


def _default_source(dataset: str) -> Path:
    return Path("data") / dataset


def _source_of(plan: Plan, given: Path | None, staging: Path) -> Source | None:
    """Return the source that was named, or the one in its usual place if it is there and what was converted."""
    from spectral_prep.sources import open_source

    where = given or _default_source(plan.dataset)
    if given is None and plan.dataset != "digits" and not where.exists():
        return None
    found = open_source(plan.dataset, where, staging)
    return found if given is not None or found.fingerprint == plan.fingerprint else None


def _say(text: str) -> None:
    click.echo(text, err=True)
