"""The same conversion by processes and by Ray, in pairs, on this machine; what Ray adds is the ratio.

    python benchmarks/engines.py --source data/imagenet/folder --images 2000 --pairs 3

The source's JPEGs are repeated (as links) to so many images, converted to 16 spectrals at 224 pixels. Each round starts
everything anew: Ray's start is timed by itself, and not in the ratio; starting workers and importing torch is in both.
The order within a pair alternates.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import click

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.engines import engine_of
from spectral_prep.places import sha256_of

ENGINES = ("processes", "ray")
CLASSES = 10


@click.command()
@click.option("--source", type=click.Path(path_type=Path, exists=True), required=True, help="A folder of JPEGs.")
@click.option("--images", default=2000, show_default=True)
@click.option("--block-rows", default=100, show_default=True, help="Small blocks show what a task costs.")
@click.option("--pairs", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(source: Path, images: int, block_rows: int, pairs: int, workers: int) -> None:
    """Measure."""
    request = Request("folder", "16", size=224, resize=256, block_rows=block_rows)
    ratios, manifests = [], set()
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        tree = repeated(source, images, Path(scratch, "images"))
        for pair in range(pairs):
            took: dict[str, float] = {}
            for name in ENGINES if pair % 2 == 0 else reversed(ENGINES):
                engine, out = engine_of("ray" if name == "ray" else "processes"), Path(scratch, f"{name}-{pair}")
                begun = time.perf_counter()
                with engine.started():
                    ready = time.perf_counter()
                    convert(request, tree, out, Execution(workers=workers, engine=engine))
                    took[name] = time.perf_counter() - ready
                manifests.add(sha256_of(out / "manifest.json"))
                load = os.getloadavg()[0]
                click.echo(
                    f"{name:10} started in {ready - begun:5.1f} s, converted in {took[name]:6.1f} s, load {load:.1f}"
                )
            ratios.append(took["ray"] / took["processes"])
            click.echo(f"ratio {ratios[-1]:.3f}")
    click.echo(f"{images} images, {-(-images // block_rows)} blocks, {workers} workers, {pairs} pairs:")
    click.echo(f"Ray takes {statistics.median(ratios):.3f} times as long ({min(ratios):.3f} to {max(ratios):.3f})")
    click.echo(f"manifests: {'all equal' if len(manifests) == 1 else 'DIFFERENT'}")


def repeated(source: Path, count: int, tree: Path) -> Path:
    """Return class folders of links to the JPEGs of a folder, repeated to so many."""
    paths = sorted(path.absolute() for path in source.rglob("*.JPEG"))
    for number, path in zip(range(count), itertools.cycle(paths), strict=False):
        link = tree / f"class-{number % CLASSES}" / f"{number}.JPEG"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return tree


if __name__ == "__main__":
    main()
