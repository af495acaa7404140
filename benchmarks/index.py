"""Indexing a tar of class tars: time and peak memory against the number of images, on a synthetic sparse archive.

    python benchmarks/index.py                       # 1000 classes of 1300 images: ImageNet-1K's size, 144 GB of holes
    python benchmarks/index.py --classes 100 --images 100

Writes ILSVRC2012_img_train.tar below --scratch, where only the headers take room (about 4 KiB an image, 5.3 GB in all),
opens it as `spectral-prep convert --dataset imagenet` does, in a process of its own, and reads a few images.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import click

IMAGE_BYTES = 110_000
END = bytes(2 * tarfile.BLOCKSIZE)
PROGRAM = """
import sys, time
from pathlib import Path
from spectral_prep.sources import open_source

started = time.perf_counter()
source = open_source("imagenet", Path(sys.argv[1]), Path(sys.argv[2]))
rows = source.index()["train"]
indexed, cpu = time.perf_counter() - started, time.process_time()
for row in range(0, len(rows.names), max(1, len(rows.names) // 1000)):
    assert len(source.read("train", row, rows.names[row])) == int(sys.argv[3])
read = time.perf_counter() - started - indexed
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{len(rows.names)} images: indexed in {indexed:.1f} s (CPU: {cpu:.1f} s);"
      f" peak {peak / 1024:.0f} MiB; 1000 images read in {read:.2f} s")
"""


@click.command()
@click.option("--classes", default=1000, show_default=True)
@click.option("--images", default=1300, show_default=True, help="Of each class.")
@click.option("--scratch", type=click.Path(path_type=Path), default=".", show_default=True)
def main(classes: int, images: int, scratch: Path) -> None:
    """Measure an index."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        started = time.perf_counter()
        with open(Path(folder) / "ILSVRC2012_img_train.tar", "wb") as file:
            write(file, classes, images)
        click.echo(f"archive written in {time.perf_counter() - started:.0f} s")
        arguments = [folder, f"{folder}/staging", str(IMAGE_BYTES)]
        subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=True)


def write(file: BinaryIO, classes: int, images: int) -> None:
    """Write a tar of class tars whose images are holes."""
    data = -(-IMAGE_BYTES // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    for number in range(classes):
        wnid = f"n{1440764 + 977 * number:08}"
        file.write(header(f"{wnid}.tar", images * (tarfile.BLOCKSIZE + data) + len(END)))
        for image in range(images):
            file.write(header(f"{wnid}_{image * 7}.JPEG", IMAGE_BYTES))
            file.seek(data, 1)
        file.write(END)
    file.write(END)


def header(name: str, size: int) -> bytes:
    """Return the header of a member."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


if __name__ == "__main__":
    main()
