"""The commands of `spectral-prep`: options, and a call of the Python function of that name."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectral_prep.console.group import OrderedGroup
from spectral_prep.console.progress import FOLDER, ConversionProgress, as_json, say
from spectral_prep.sources import SOURCES

if TYPE_CHECKING:
    from spectral_prep.conversion.block import OnError
    from spectral_prep.conversion.request import Request
    from spectral_prep.kernel.stream import Device
    from spectral_prep.sources.interface import Source
    from spectral_prep.store.plan_record import Plan


@click.group("spectral-prep", cls=OrderedGroup, context_settings={"max_content_width": 120})
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
        help="Short side before the crop, pixels.  [default: 256/224 of --size for imagenet and imagenet21k, else "
        "--size]",
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
    from spectral_prep.console.text import estimate_text
    from spectral_prep.conversion.estimate import Limits, plan
    from spectral_prep.conversion.request import Request
    from spectral_prep.system.units import parse_bytes

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
    from spectral_prep.conversion.convert import convert
    from spectral_prep.conversion.request import Request
    from spectral_prep.conversion.tasks import ALONE, Task
    from spectral_prep.sources.download import download as fetch
    from spectral_prep.system.units import parse_bytes

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
        say(f"Stopped: what is finished is kept in {out}. Run next: the same command; it goes on where it stopped.")
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
    from spectral_prep.conversion.finalize import finalize

    finalize(folder)
    _complete(folder)


def _complete(out: Path) -> None:
    from spectral_prep.console.text import info_text
    from spectral_prep.inspection.info import info

    found = info(out)
    click.echo(info_text(found))
    if "test" not in found.rows:
        say("No test rows: training works, evaluating needs some. Put them into test/ or val/ beside train/.")
    click.echo(f"Complete: {out}. Run next: spectral-train --shard all --data {out}")


@prep_group.command("verify")
@click.argument("folder", type=FOLDER)
@click.option(
    "--source", type=FOLDER, help="The release, to compare a sample of rows with.  [default: ./data/DATASET if there]"
)
@click.option("--deep", is_flag=True, help="Also decode every part and compare its values with what was recorded.")
@as_json
def verify_command(folder: Path, source: Path | None, deep: bool, as_json: bool) -> None:
    """Check every file, the alignment of the rows in all spectrals, and a sample of images against the source."""
    from spectral_prep.console.text import verification_text
    from spectral_prep.inspection.verify import verify

    with tempfile.TemporaryDirectory() as staging:
        found = verify(folder, lambda plan: _source_of(plan, source, Path(staging)), deep=deep)
    click.echo(json.dumps(found.to_dict()) if as_json else verification_text(found, folder))
    if found.faults:
        if not as_json:
            say(
                f"Error: {len(found.faults)} faults in {folder}, listed above. Run next: delete the files named, then "
                "the spectral-prep convert command that made this data set; it writes only those again"
            )
        sys.exit(1)


@prep_group.command("info")
@click.argument("folder", type=FOLDER)
@as_json
def info_command(folder: Path, as_json: bool) -> None:
    """Say what a converted data set, or a single spectral folder, holds."""
    from spectral_prep.console.text import info_text
    from spectral_prep.inspection.info import info

    found = info(folder)
    click.echo(json.dumps(found.to_dict()) if as_json else info_text(found))


@prep_group.command("show")
@click.argument("folder", type=FOLDER)
@click.option("--row", type=click.IntRange(0), required=True, help="Place of the row in stored order.")
@click.option("--split", default="train", show_default=True, help="train or test.")
@click.option("--source", type=FOLDER, help="The release, for the original.  [default: ./data/DATASET if there]")
@click.option("--out", type=FOLDER, help="The PNG to write.  [default: ./DATASET-SPLIT-ROW.png]")
def show_command(folder: Path, row: int, split: str, source: Path | None, out: Path | None) -> None:
    """Draw one row: the image, its spectrals, the image put back together and its error, energy and bytes."""
    from spectral_prep.inspection.show import draw, sheet
    from spectral_prep.store.layout import DatasetPaths
    from spectral_prep.store.plan_record import Plan
    from spectral_prep.store.record_file import read_record
    from spectral_prep.system.files import TO_OUT, atomic_write

    plan = read_record(DatasetPaths(folder).plan, Plan)
    with tempfile.TemporaryDirectory() as staging:
        shown = sheet(folder, row, split, _source_of(plan, source, Path(staging)))
    out = out or Path(f"{plan.dataset}-{split}-{row}.png")
    atomic_write(out, draw(shown), TO_OUT)
    click.echo(f"{shown.title}\nDrawn: {out}")


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
