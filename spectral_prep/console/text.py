"""What the commands say, as text; printing it is the command line's.

Input: what a public function returned. Output: a string of one or several lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectral_prep.conversion.bad_images import Bad, grouped_text
from spectral_prep.conversion.estimate import Estimate
from spectral_prep.conversion.execution import ALONE, Task
from spectral_prep.inspection.info import Info
from spectral_prep.places.cache import Cache
from spectral_prep.places.url import Place
from spectral_prep.printable import one_line, quoted
from spectral_prep.store.cache import Copy
from spectral_prep.store.plan_record import Plan
from spectral_prep.system.units import duration, size

if TYPE_CHECKING:
    from spectral_prep.inspection.verify import Verification


def conversion_text(plan: Plan) -> str:
    """Say what will be converted into what."""
    height, width, channels = plan.geometry.height, plan.geometry.width, plan.geometry.channels
    return (
        f"{plan.title}: {plan.rows:,} images of {height}x{width}x{channels} "
        f"into {plan.spec.q} spectrals, {plan.encoding.dtype}, {len(plan.blocks)} blocks, plan {plan.plan_id}"
    )


def warning_text(plan: Plan) -> str | None:
    """Say what is better known before a conversion than after it, if there is anything."""
    if "test" in plan.splits:
        return None
    if plan.splits["train"].images == 1:
        return (
            "Warning: no test split, and of one image none can be set apart for testing: give two or more, and no "
            "--limit below that"
        )
    return (
        "Warning: no test split, so networks can only be evaluated on held-out training rows. To set a tenth of the "
        "images apart for testing: the same command with --test-fraction 0.1 (and another --out once this has begun)"
    )


def outlook_text(found: Estimate) -> str:
    """Say what a conversion that begins will take: memory, room and time."""
    staged = f" beside {size(found.staged_bytes)} of scratch files, which go at the end" if found.staged_bytes else ""
    return (
        f"at most {size(found.peak_memory)} of memory with {workers_text(found.workers)}; "
        f"{size(found.remaining_bytes)} to write{staged}, {_free(found)}; "
        f"about {duration(found.seconds_a_task)}"
    )


def estimate_text(found: Estimate, out: Place) -> str:
    """Say what a conversion would take, a line a fact."""
    return "\n".join(_estimate_lines(found, out))


def _estimate_lines(found: Estimate, out: Place) -> Iterator[str]:
    plan, q = found.plan, found.plan.spec.q
    rows = ", ".join(f"{part.rows:,} {name}" for name, part in plan.splits.items())
    done = f"; {found.remaining_rows:,} still to be converted" if found.remaining_rows < plan.rows else ""
    yield f"plan       {plan.plan_id} of {plan.title}"
    yield f"rows       {rows}; {len(plan.classes)} classes{done}"
    yield f"images     {plan.geometry.height}x{plan.geometry.width}x{plan.geometry.channels}"
    yield (
        f"spectrals  {q} = {plan.spec.q1}x{plan.spec.q2}, {plan.spec.layout}, {plan.spec.transform}, "
        f"each {plan.spectral_shape}"
    )
    yield (
        f"stored     {_estimated(found.bytes, found.standard_error)} as {plan.encoding.dtype}, "
        f"{_estimated(found.bytes / q, found.standard_error / q)} a spectral (from {found.sample.rows} rows)"
    )
    yield f"error      {error_text(found.sample.psnr)}"
    most = max(block.stop - block.start for block in plan.blocks)
    blocks = f"{len(plan.blocks)} blocks of at most {most:,} rows"
    yield f"files      {found.files:,}, {found.files_a_spectral:,} a spectral; {blocks}"
    yield f"memory     at most {size(found.peak_memory)} with {workers_text(found.workers)}"
    enough = "enough" if found.enough_room else "not enough"
    scratch = f", {size(found.scratch_bytes)} of it for scratch files" if found.scratch_bytes else ""
    yield f"room       {size(found.needed_bytes)} needed{scratch}, {_free(found)} at {out}: {enough}"
    yield (
        f"time       about {duration(found.seconds)} with {workers_text(found.workers)} "
        f"({1 / found.sample.seconds_a_row:,.0f} images/s each)"
    )
    if found.tasks > 1:
        idle = f"; the others of {found.tasks} have nothing to do" if found.busy_tasks < found.tasks else ""
        yield f"tasks      about {duration(found.seconds_a_task)} on each of {found.busy_tasks} such machines{idle}"


def _estimated(count: float, error: float) -> str:
    return f"{size(count)} ± {size(error)}" if error else size(count)  # no error where every row was looked at


def error_text(psnr: float | None) -> str:
    """Say how far stored images are from their source.

    >>> error_text(47.04)
    'about 47.0 dB, put back together'
    """
    return "none: every pixel is kept" if psnr is None else f"about {psnr:.1f} dB, put back together"


def workers_text(count: int) -> str:
    """Return a number of workers in words."""
    return f"{count} worker{'s' if count > 1 else ''}"


def skipped_text(bad: Bad, out: Place, task: Task) -> str:
    """Say which images were bad and keep their slots."""
    where = out / ("manifest.json" if task == ALONE else "blocks")
    return (
        f"{len(bad):,} bad image{'s' if len(bad) > 1 else ''}, kept as rows with label -1:\n{grouped_text(bad)}\n"
        f"  All of them, by row id: {where}"
    )


def info_text(info: Info) -> str:
    """Say what a data set is, a line a fact."""
    return "\n".join(_info_lines(info))


def _info_lines(info: Info) -> Iterator[str]:
    rows = ", ".join(
        f"{count:,} {name}" + (f" ({info.bad_rows[name]} bad)" if info.bad_rows[name] else "")
        for name, count in info.rows.items()
    )
    state = "complete" if info.complete else f"unfinished, {info.blocks_done} of {info.blocks} blocks"
    height, width, channels = info.image_shape
    spec, folders = info.spec, len(info.spectrals)
    yield f"data set   {info.dataset} ({info.dataset_id}), {state}"
    views = f", {info.views} views of each training image" if info.views > 1 else ""
    yield f"rows       {rows}; {info.classes} classes{views}"
    yield f"images     {height}x{width}x{channels}"
    yield f"spectrals  {spec.q} = {spec.q1}x{spec.q2}, {spec.layout}, {spec.transform}, each {info.spectral_shape}"
    each = f"{folders} folders, {size(info.bytes / folders)} each"
    yield f"stored     {size(info.bytes)} as {info.dtype}, {info.format}, in {each}"
    if info.complete or info.psnr is not None:
        yield f"error      {error_text(info.psnr)}"
    yield f"saturated  {info.saturated:,} values"
    if info.energy:
        total = sum(info.energy) or 1.0
        yield "energy %   " + " ".join(f"{100 * value / total:.2f}" for value in info.energy)


def _free(found: Estimate) -> str:
    return "as much as wanted" if found.free_bytes is None else f"{size(found.free_bytes)} free"


def what_next(out: Place, q: int) -> str:
    """Return the commands from a data set of Q spectrals to a result: on this machine, or on one a spectral."""
    data, name = quoted(out), re.sub(r"[^A-Za-z0-9._-]+", "-", out.name or "data").lstrip("-.") or "data"
    train = f"spectral-train --shard $k --data {name}/spectral-$k --run {name}-run"
    run, each = f"runs/{name}", f"for k in $(seq -f %02g 0 {q - 1}); do"
    if isinstance(out, Path):
        lines = [
            f"mkdir -p {run}",
            f"{each} (",
            f"  rsync -a {data}/spectral-$k node-$k:{name}/ &&",
            f"  ssh -n node-$k {train} &&",
            f"  rsync -a node-$k:{name}-run/branch-$k {run}/",
            ") & done; wait",
        ]
    else:
        run = quoted(f"{out}-run")
        lines = [f"{each} ssh -n node-$k spectral-train --shard $k --data {data} --run {run} & done; wait"]
    told = "\n".join(f"  {line}" for line in [*lines, f"spectral-ensemble evaluate {run}"])
    return (
        f"spectral-train --shard all --data {data}\n"
        f"or on {q} machines, node-00 to node-{q - 1:02d} standing for their names, one spectral each:\n{told}"
    )


def cache_text(found: Sequence[Copy], cache: Cache, *, removed: bool) -> str:
    """Say which copies a cache holds, or which were removed, a line a copy and one for all."""
    lines = [f"{size(copy.size):>10}  {copy.path.name}{'  in use' if copy.in_use else ''}" for copy in found]
    total = size(sum(copy.size for copy in found))
    return "\n".join([*lines, f"{total} {'removed from' if removed else 'in'} {cache.folder}"])


def verification_text(found: Verification, folder: Place) -> str:
    """Say what was checked and every fault that was found, a line each."""
    return "\n".join(_verification_lines(found, folder))


def _verification_lines(found: Verification, folder: Place) -> Iterator[str]:
    yield from map(one_line, found.faults)
    rows = ", ".join(f"{count:,} {name}" for name, count in found.rows.items())
    yield f"{found.files:,} files, {size(found.bytes)}, {found.spectrals} spectrals, rows: {rows or 'not checked'}"
    if found.decoded:
        yield "every part decoded: its values are those that were recorded"
    if found.pixels is not None:
        psnr = "every pixel equal" if found.pixels.psnr is None else f"PSNR {found.pixels.psnr:.1f} dB"
        yield (
            f"{found.pixels.rows} images put back together and compared with the source: {psnr}, "
            f"largest difference {found.pixels.largest_difference} grey levels"
        )
    elif not found.faults and found.spectrals > 1:
        command = f"spectral-prep verify --source SOURCE {quoted(folder)}"
        yield f"No image was compared with its source. To do that: {command}"
    if not found.faults:
        yield f"Verified: {folder}"
