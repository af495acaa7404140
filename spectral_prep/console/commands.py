"""The commands of `spectral-prep`: options, turned into values, and a call of the Python function of that name."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from spectral_prep.choices import Device, EngineName, OnError
from spectral_prep.console.failure import ERROR, show_labelled
from spectral_prep.console.group import SETTINGS, OrderedGroup
from spectral_prep.console.options import (
    Wanted,
    default_source,
    download_option,
    engine_option,
    field_options,
    max_memory_option,
    mirror_option,
    ray_address_option,
    request_options,
    space_option,
    workers_option,
)
from spectral_prep.console.progress import PLACE, ConversionProgress, Notices, as_json, conclude, insist, say, speak
from spectral_prep.console.tables import facts
from spectral_prep.errors import InputError
from spectral_prep.places.url import Place
from spectral_prep.printable import printable, quoted
from spectral_prep.sources.download import download as fetch
from spectral_prep.system.watch import counted

if TYPE_CHECKING:
    from spectral_prep.sources.interface import Fields, Source
    from spectral_prep.store.plan_record import Plan


@click.group("spectral-prep", cls=OrderedGroup, context_settings=SETTINGS)
@click.version_option(package_name="spectral-shards")
def prep_group() -> None:
    """Convert an image data set once into Q row-aligned spectral shards, and prove what was written."""
    speak()


@prep_group.command("plan")
@request_options
@click.option("--tasks", type=click.IntRange(1), default=1, show_default=True, help="Machines to share the work.")
@workers_option
@max_memory_option
@as_json
def plan_command(wanted: Wanted, tasks: int, workers: int | None, max_memory: str | None, as_json: bool) -> None:
    """Say what convert would write and take: bytes, files, memory, room and time; nothing is written."""
    from spectral_prep.console.text import estimate_text, warning_text
    from spectral_prep.conversion.estimate import estimate
    from spectral_prep.conversion.execution import Execution, Task
    from spectral_prep.system.units import parse_bytes

    execution = Execution(Task(0, tasks), workers, parse_bytes(max_memory) if max_memory else None)
    found = estimate(wanted.request, wanted.source, wanted.out, execution)
    if warning := warning_text(found.plan):
        insist(warning)
    click.echo(json.dumps(found.to_dict()) if as_json else facts(estimate_text(found, wanted.out)))


@prep_group.command("begin")
@request_options
@workers_option
@max_memory_option
@space_option
@download_option
@mirror_option
def begin_command(
    wanted: Wanted,
    workers: int | None,
    max_memory: str | None,
    no_space_check: bool,
    download: bool,
    mirror: str | None,
) -> None:
    """Do the first step of an array of tasks once: open the source, calibrate, write the plan and what each block is.

    The tasks then start in seconds; without it the first of them does this, and those that start with it as well. It
    has the options of convert that concern all tasks, and says what memory and room they take.
    """
    from spectral_prep.console.text import conversion_text, outlook_text, warning_text
    from spectral_prep.conversion.convert import Progress, begin
    from spectral_prep.conversion.execution import Execution
    from spectral_prep.system.units import parse_bytes

    def tell(told: Progress) -> None:
        say(conversion_text(told.plan))
        if warning := warning_text(told.plan):
            insist(warning)
        if told.estimate is not None:
            say(outlook_text(told.estimate))

    execution = Execution(
        workers=workers,
        max_memory=parse_bytes(max_memory) if max_memory else None,
        space_check=not no_space_check,
    )
    _fetch(wanted, download=download, mirror=mirror)
    begin(wanted.request, wanted.source, wanted.out, execution, tell)
    conclude(f"Begun: {wanted.out}. Run next: the spectral-prep convert commands with --task I/N")


@prep_group.command("convert")
@request_options
@click.option(
    "--task",
    metavar="I/N",
    help="Convert every N-th block (with views: group of them) only, from I on; finalize completes.  [default: all]",
)
@engine_option
@ray_address_option
@workers_option
@max_memory_option
@space_option
@click.option(
    "--on-error",
    type=click.Choice(get_args(OnError)),
    default="fail",
    show_default=True,
    help="Bad images: list them all and do not complete, or keep their slots with label -1.",
)
@click.option(
    "--device",
    type=click.Choice(get_args(Device)),
    default="auto",
    show_default=True,
    help="Where the transform is computed; auto: a GPU where there is one.",
)
@download_option
@mirror_option
@as_json
def convert_command(
    wanted: Wanted,
    task: str | None,
    engine: EngineName,
    ray_address: str | None,
    workers: int | None,
    max_memory: str | None,
    no_space_check: bool,
    on_error: OnError,
    device: Device,
    download: bool,
    mirror: str | None,
    as_json: bool,
) -> None:
    """Convert a data set; the same command again goes on where it stopped."""
    from spectral_prep.console.text import skipped_text
    from spectral_prep.conversion.convert import convert
    from spectral_prep.conversion.execution import ALONE, Execution, Task
    from spectral_prep.engines import engine_of
    from spectral_prep.inspection.info import info
    from spectral_prep.system.units import parse_bytes

    execution = Execution(
        task=Task.parse(task) if task else ALONE,
        workers=workers,
        max_memory=parse_bytes(max_memory) if max_memory else None,
        on_error=on_error,
        device=device,
        space_check=not no_space_check,
        engine=engine_of(engine, ray_address),
    )
    _fetch(wanted, download=download, mirror=mirror)
    progress, started = ConversionProgress(), time.monotonic()
    try:
        with contextlib.redirect_stdout(Notices()):
            convert(wanted.request, wanted.source, wanted.out, execution, progress)
    except KeyboardInterrupt:
        insist(
            f"Stopped: what is finished is kept in {wanted.out}. "
            "Run next: the same command; it goes on where it stopped."
        )
        raise
    if progress.bad:
        insist(skipped_text(progress.bad, wanted.out, execution.task))
    if as_json:
        seconds = round(time.monotonic() - started, 3)
        click.echo(json.dumps({"folder": str(wanted.out), **info(wanted.out).to_dict(), "seconds": seconds}))
    elif task:
        conclude(
            f"Task {execution.task} is done. Run next, when all tasks are: spectral-prep finalize {quoted(wanted.out)}"
        )
    else:
        _complete(wanted.out)


def _fetch(wanted: Wanted, *, download: bool, mirror: str | None) -> None:
    """Download the release, if that is wanted."""
    if download or mirror:
        if not isinstance(wanted.source, Path):
            raise InputError("a release is downloaded to a path", where=wanted.source, expected="--source FOLDER")
        fetch(wanted.request.dataset, wanted.source, mirror, tell=say)


@prep_group.command("finalize")
@click.argument("folder", type=PLACE)
def finalize_command(folder: Place) -> None:
    """Complete what the tasks of several machines converted; what is missing is named, with the task that makes it."""
    from spectral_prep.conversion.finalize import finalize

    finalize(folder)
    _complete(folder)


def _complete(out: Place) -> None:
    from spectral_prep.console.text import info_text, what_next
    from spectral_prep.inspection.info import info
    from spectral_prep.sources import where_test_rows_go

    found = info(out)
    conclude(facts(info_text(found)))
    if "test" not in found.rows and found.rows["train"] > 1:
        say(
            "No test rows: spectral-ensemble evaluate will measure on held-out training rows. For a test split: the "
            "same command with --test-fraction 0.1 and another --out, or with test images "
            f"{where_test_rows_go(found.dataset)}"
        )
    conclude(f"Complete: {out}. Run next: {what_next(out, found.spec.q)}")


@prep_group.command("verify")
@click.argument("folder", type=PLACE)
@click.option(
    "--source", type=PLACE, help="The release, to compare a sample of rows with.  [default: ./data/DATASET if there]"
)
@field_options
@click.option("--deep", is_flag=True, help="Also decode every part and compare its values with what was recorded.")
@as_json
def verify_command(folder: Place, source: Place | None, fields: Fields, deep: bool, as_json: bool) -> None:
    """Check every file, the alignment of the rows in all spectrals, and a sample of images against the source."""
    from spectral_prep.console.text import verification_text
    from spectral_prep.inspection.verify import verify

    with tempfile.TemporaryDirectory() as staging:
        found = verify(folder, lambda plan: _source_of(folder, plan, source, Path(staging), fields), deep=deep)
    click.echo(json.dumps(found.to_dict()) if as_json else printable(verification_text(found, folder)))
    if found.faults:
        if not as_json:
            run = "delete the files named, then the spectral-prep convert command that made this data set"
            what = f"{len(found.faults):,} fault{'s' if len(found.faults) > 1 else ''} in {folder}, listed above"
            show_labelled([(ERROR, what), ("Run next", f"{run}; it writes only those again")])
        sys.exit(1)


@prep_group.command("info")
@click.argument("folder", type=PLACE)
@as_json
def info_command(folder: Place, as_json: bool) -> None:
    """Say what a converted data set, or a single spectral folder, holds."""
    from spectral_prep.console.text import info_text
    from spectral_prep.inspection.info import info

    found = info(folder)
    click.echo(json.dumps(found.to_dict()) if as_json else facts(info_text(found)))


@prep_group.command("cache")
@click.option(
    "--cache",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder of the copies.  [default: $SPECTRAL_CACHE or ~/.cache/spectral-shards]",
)
@click.option("--clean", is_flag=True, help="Remove the copies that no training uses.")
@as_json
def cache_command(folder: Path | None, clean: bool, as_json: bool) -> None:
    """List the copies of shards that trainings fetched from a bucket, or remove those that are not in use."""
    from spectral_prep.console.text import cache_text
    from spectral_prep.places.cache import Cache
    from spectral_prep.store.cache import clean as remove
    from spectral_prep.store.cache import copies

    cache = Cache(folder)
    found = remove(cache) if clean else copies(cache)
    click.echo(
        json.dumps([{**asdict(copy), "path": str(copy.path)} for copy in found])
        if as_json
        else printable(cache_text(found, cache, removed=clean))
    )


@prep_group.command("show")
@click.argument("folder", type=PLACE)
@click.option("--row", type=click.IntRange(0), default=0, show_default=True, help="Its place in stored order.")
@click.option(
    "--rows", type=click.IntRange(1, 64), default=1, show_default=True, help="So many from there on, a line each."
)
@click.option("--split", default="train", show_default=True, help="train or test.")
@click.option("--source", type=PLACE, help="The release, for the original.  [default: ./data/DATASET if there]")
@field_options
@click.option("--out", type=PLACE, help="The PNG to write.  [default: ./DATASET-SPLIT-ROW.png]")
def show_command(
    folder: Place, row: int, rows: int, split: str, source: Place | None, fields: Fields, out: Place | None
) -> None:
    """Draw one row: the image, its spectrals, the image put back together and its error, energy and bytes."""
    from spectral_prep.inspection.show import draw, draw_grid, sheet
    from spectral_prep.places import atomic_write, require_writable
    from spectral_prep.store.layout import DatasetPaths
    from spectral_prep.store.plan_record import Plan
    from spectral_prep.store.record_file import read_record
    from spectral_prep.system.files import TO_OUT

    plan = read_record(DatasetPaths(folder).plan, Plan)
    last = f"-{row + rows - 1}" if rows > 1 else ""
    out = out or Path(f"{plan.title}-{split}-{row}{last}.png")
    require_writable(out, TO_OUT)
    with tempfile.TemporaryDirectory() as staging:
        opened = _source_of(folder, plan, source, Path(staging), fields)
        sheets = [sheet(folder, row + place, split, opened) for place in counted(range(rows), "reading rows", "rows")]
    atomic_write(out, draw_grid(sheets) if rows > 1 else draw(sheets[0]), TO_OUT)
    conclude("\n".join([*(each.title for each in sheets), f"Drawn: {out}"]))


def _source_of(folder: Place, plan: Plan, given: Place | None, staging: Path, fields: Fields) -> Source | None:
    """Return the source that was named, or the one in its usual place if it is there and what was converted."""
    from spectral_prep.conversion.chosen import as_planned
    from spectral_prep.places import is_there
    from spectral_prep.sources import open_source
    from spectral_prep.store.layout import DatasetPaths

    where = given or default_source(plan.dataset)
    if given is None and not is_there(where):
        return None
    found = open_source(plan.dataset, where, staging, fields)
    if given is None and found.fingerprint != plan.fingerprint:
        return None
    return as_planned(DatasetPaths(folder), plan, found)
