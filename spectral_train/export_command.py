"""`spectral-ensemble export`: its options, and a call of the Python function of that name."""

from __future__ import annotations

import json
from typing import Any

import click

from spectral_prep.console.group import WatchedCommand
from spectral_prep.console.progress import PLACE, as_json, conclude, say
from spectral_prep.places.url import Place
from spectral_train.ensemble.precision import DEFAULT_PRECISION, MUCH, PRECISIONS, Precision
from spectral_train.ensemble_commands import asked, combined, one_scheme


@click.command("export", cls=WatchedCommand)
@click.argument("run", type=PLACE)
@click.option("--out", type=PLACE, required=True, help="The file to write: NAME.pt2 (torch.export) or NAME.onnx.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=DEFAULT_PRECISION,
    show_default=True,
    help="Of weights and computation; half is float16. Input and output stay the same.",
)
@one_scheme
@combined
@as_json
def export_command(run: Place, out: Place, precision: Precision, as_json: bool, **combination: Any) -> None:
    """Write the whole network as one file that takes uint8 images (N, H, W, C) and gives probabilities."""
    from spectral_prep.places import at
    from spectral_prep.system.units import size
    from spectral_train.ensemble.export import export

    metadata = export(run, out, asked(combination, [combination["scheme"]]), precision)
    if (compared := metadata.get("compared")) is not None:
        much = "Warning: " if compared["largest_difference"] > MUCH else ""
        say(
            f"{much}{precision} beside float32, on {compared['rows']} drawn images: probabilities differ by at most "
            f"{compared['largest_difference']:.2g}, the most likely class of {compared['other_class']}"
        )
    if as_json:
        click.echo(json.dumps(metadata))
    else:
        conclude(
            f"{out}: {size(at(out).size() or 0)}; uint8 images (N, {', '.join(map(str, metadata['input_shape']))}) "
            f"to probabilities of {len(metadata['classes'])} classes"
        )
