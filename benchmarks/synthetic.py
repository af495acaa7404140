"""What images that are computed cost: to make, to decode beside photographs, and to index by the million.

Input: optionally a folder of JPEGs (`--source`). Output: tables; times are processor time of one process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from spectral_prep.images.decode import decode, image_size
from spectral_prep.sources import open_source
from spectral_prep.sources.interface import Source

PHOTOGRAPH = "size=375x500,classes=1000,rows=1000"
IMAGENET_21K = "rows=14200000,classes=21841,size=224"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="A folder of JPEGs to compare with.")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    index()
    making(options.images)
    photographs = sorted(options.source.rglob("*.JPEG"))[: options.images] if options.source else []
    decoding([path.read_bytes() for path in photographs], options.images, options.rounds)


def described(text: str) -> Source:
    """Return the source of a description."""
    return open_source("synthetic", Path(text), Path())


def index() -> None:
    """Print what the index of ImageNet-21K's size takes."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    source = described(IMAGENET_21K)
    rows = source.index()["train"]
    seconds = time.process_time() - began
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    print(f"{len(rows.names):,} rows, {len(source.classes):,} classes, {source.fingerprint[:8]}: ", end="")
    print(f"{seconds:.2f} s, {memory} MiB\n")


def making(images: int) -> None:
    """Print what an image takes, the median."""
    print("| an image of 224 × 224 | ms |\n|---|---|")
    for format in ("pixels", "jpeg"):
        source = described(f"size=224,classes=1000,format={format}")
        times = [seconds(partial(source.read, "train", row, "")) for row in range(images)]
        print(f"| {format} | {1000 * statistics.median(times):.2f} |")


def decoding(photographs: list[bytes], images: int, rounds: int) -> None:
    """Print what decoding takes, computed images and photographs in turn."""
    source = described(f"{PHOTOGRAPH},format=jpeg")
    computed = [bytes(source.read("train", row, "")) for row in range(images)]
    kinds = {"computed, 375 × 500": computed} | ({"photographs": photographs} if photographs else {})
    pixels = {kind: sum(height * width for height, width in map(image_size, files)) for kind, files in kinds.items()}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, files in kinds.items():
            times[kind].append(seconds(partial(decoded, files)))
    print("\n| JPEGs | bytes a pixel | ns a pixel to decode, median |\n|---|---|---|")
    for kind, files in kinds.items():
        size, nanoseconds = sum(map(len, files)) / pixels[kind], 1e9 * statistics.median(times[kind]) / pixels[kind]
        print(f"| {kind} | {size:.2f} | {nanoseconds:.1f} |")


def decoded(files: list[bytes]) -> None:
    """Decode files."""
    for file in files:
        decode(file, 3)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time that something takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
