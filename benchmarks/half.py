"""What half precision, and int8 weights, change of an exported network: probabilities, accuracy, size, time.

    python benchmarks/half.py runs/digits --dataset digits
    python benchmarks/half.py runs/mnist-q16-fc --source data/mnist --rows 2000

Input: a run, and labelled images as `spectral-ensemble evaluate --source` takes them, of which the first test rows are
used, or training rows where there are none. Output: a table in Markdown, a line a form: exported for torch and for
ONNX Runtime, in float32 and in half, and with int8 weights as `onnxruntime.quantization.quantize_dynamic` makes them,
which `export` does not offer. Differences are to float32 in torch. Times are of the processor, on one thread, without
decoding the images.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click
import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
import torch
from onnxruntime.quantization import quantize_dynamic  # type: ignore[import-untyped]

from spectral_prep.sources import open_source
from spectral_prep.sources.layout import looks_like
from spectral_train.ensemble.export import export
from spectral_train.ensemble.images import as_converted
from spectral_train.ensemble.network import open_network
from spectral_train.ensemble.precision import Precision

AT_ONCE = 100

Probabilities = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Form:
    """One form of the network: its probabilities of all rows, milliseconds an image, and the bytes of its file."""

    name: str
    probabilities: Probabilities
    milliseconds: float
    size: int


def line(form: Form, exact: Form, labels: npt.NDArray[np.integer]) -> str:
    """Return the line of a form in the table, beside that of the exact one."""
    guesses, own = form.probabilities.argmax(1), form is exact
    cells = [
        form.name,
        f"{100 * (guesses == labels).mean():.2f} %",
        "" if own else f"{np.abs(form.probabilities - exact.probabilities).max():.2g}",
        "" if own else str(int((guesses != exact.probabilities.argmax(1)).sum())),
        f"{form.milliseconds:.2g}",
        f"{form.size / 1e6:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def table(forms: Sequence[Form], labels: npt.NDArray[np.integer]) -> str:
    """Return the table; the first form is the exact one."""
    head = "| | accuracy | largest difference | other class | ms an image | MB |"
    return "\n".join([head, "|---|---|---|---|---|---|", *(line(form, forms[0], labels) for form in forms)])


def measured(name: str, file: Path, run: Callable[[Images], Probabilities], images_NHWC: Images) -> Form:
    """Return what a form says of all images, a few at a time, after a first batch that is not timed."""
    run(images_NHWC[:AT_ONCE])
    begun = time.process_time()
    said = [run(images_NHWC[first : first + AT_ONCE]) for first in range(0, len(images_NHWC), AT_ONCE)]
    spent = time.process_time() - begun
    return Form(name, np.concatenate(said), 1000 * spent / len(images_NHWC), file.stat().st_size)


def in_torch(file: Path) -> Callable[[Images], Probabilities]:
    """Return an exported program as a function."""
    network = torch.export.load(file).module()

    def run(images_NHWC: Images) -> Probabilities:
        with torch.inference_mode():
            said: Probabilities = network(torch.from_numpy(images_NHWC)).numpy()
        return said

    return run


def in_onnx_runtime(file: Path) -> Callable[[Images], Probabilities]:
    """Return a model as a function, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda images_NHWC: session.run(None, {"images": images_NHWC})[0]


def labelled_rows(
    run: Path, dataset: str, source: Path, rows: int, scratch: Path
) -> tuple[Images, npt.NDArray[np.int32]]:
    """Return the first images, (rows, H, W, C), of the test rows if there are any, and their labels.

    The source has the classes of the run.
    """
    plan = open_network(run).plans[0]
    opened = open_source(dataset, source, scratch, to_train=False)
    if opened.classes != plan.classes:
        raise click.ClickException("the source has other classes than the run")
    splits = opened.index()
    split = "test" if "test" in splits else "train"
    names, labels = splits[split].names[:rows], splits[split].labels[:rows]
    images = [as_converted(opened.read(split, number, name), plan) for number, name in enumerate(names)]
    return np.stack(images), labels


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--source", type=click.Path(path_type=Path), default=Path())
@click.option("--dataset", help="What the source is.  [default: what its files are called like]")
@click.option("--rows", default=2000, show_default=True)
def main(run: Path, source: Path, dataset: str | None, rows: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        images_NHWC, labels = labelled_rows(run, dataset or looks_like(source), source, rows, here / "staging")
        forms = []
        for suffix, load, where in ((".pt2", in_torch, "torch"), (".onnx", in_onnx_runtime, "ONNX Runtime")):
            for precision in get_args(Precision):
                file = here / f"{precision}{suffix}"
                export(run, file, precision=precision)
                forms.append(measured(f"{precision}, {where}", file, load(file), images_NHWC))
        quantize_dynamic(here / "float32.onnx", here / "int8.onnx")
        file = here / "int8.onnx"
        forms.append(measured("int8 weights, ONNX Runtime", file, in_onnx_runtime(file), images_NHWC))
        print(table(forms, labels))


if __name__ == "__main__":
    main()
