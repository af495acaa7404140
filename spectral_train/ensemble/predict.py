"""The ensemble network on image files that nobody labelled.

Input: the folder of a run and image files, or folders and patterns of them. Output: the most likely classes of each. It
needs nothing but the run.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at, is_there
from spectral_prep.places.url import Place
from spectral_prep.sources.interface import RawImage
from spectral_prep.sources.opening import EXTENSIONS, LARGEST_IMAGE, is_image
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, Combination
from spectral_train.ensemble.images import through
from spectral_train.ensemble.network import EnsembleNetwork, open_network
from spectral_train.ensemble.prediction_file import PredictedRow

PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Prediction:
    """The most likely classes of one image, best first, each with its probability; a bad image has a reason instead."""

    path: Place
    classes: tuple[tuple[str, float], ...]
    reason: str | None = None


def predict(
    run: Place, images: Sequence[Place], combination: Combination = DEFAULT_COMBINATION, top: int = 5
) -> tuple[Prediction, ...]:
    """Return the prediction for each image file, in the order given; one bad image does not keep the others from it.

    Parameters
    ----------
    run
        The folder with `branch-00/` ….
    images
        Files of any size that Pillow reads; they are resized and cropped as at conversion.
    combination
        Of which branches, and how their outputs are combined.
    top
        How many classes to name, at most all.

    Raises
    ------
    InputError
        If there is no such file, or as `ensemble.network.open_network` does.
    """
    network = open_network(run, combination)
    classes = network.plans[0].classes
    return tuple(most_likely(path, row, classes, top) for path, row in predictions(network, images))


def predictions(network: EnsembleNetwork, images: Sequence[Place]) -> Iterator[tuple[Place, PredictedRow]]:
    """Yield what the network says of each image file, in the order given; raises as `predict` does."""
    done = 0
    for batch in through(map(_raw, images), network):
        rows: Iterator[Tensor] = iter(network.combiner(batch.outputs) if batch.outputs else ())
        for place, path in enumerate(images[done : done + batch.images]):
            reason = batch.bad.get(place)
            yield path, PredictedRow(str(path), None, None if reason else next(rows).tolist(), reason)
        done += batch.images


def most_likely(path: Place, row: PredictedRow, classes: Sequence[str], top: int) -> Prediction:
    """Return the best classes of a row; raise `InputError` if none are asked for."""
    if top < 1:
        raise InputError("unusable --top", expected="1 or more", got=top)
    ranked = sorted(zip(row.probabilities or (), classes, strict=False), key=lambda each: -each[0])
    return Prediction(path, tuple((name, value) for value, name in ranked[:top]), row.reason)


def image_files(named: Sequence[Place]) -> tuple[Place, ...]:
    """Return the image files that are meant: files as they are, of folders all below them, of patterns what fits.

    Raises
    ------
    InputError
        If a folder holds no image, or nothing fits a pattern.
    """
    return tuple(path for each in named for path in _meant(each))


def _meant(named: Place) -> list[Place]:
    if at(named).is_folder():
        return _below(named)
    if isinstance(named, Path) and PATTERN & set(str(named)) and not is_there(named):
        found = [Path(path) for path in sorted(glob.glob(str(named), recursive=True))]
        if not found:
            raise InputError("no file fits this pattern", where=named)
        return [path for each in found for path in (_below(each) if each.is_dir() else [each])]
    return [named]


def _below(folder: Place) -> list[Place]:
    names = sorted(path for path in at(folder).paths() if is_image(path))
    if not names:
        raise InputError("no image in the folder", where=folder, expected=f"a file ({', '.join(EXTENSIONS)})")
    return [folder / name for name in names]


def _raw(path: Place) -> RawImage | CorruptSourceError:
    """Return the bytes of an image file; raise `InputError` if it cannot be read, is none or larger than any image."""
    try:
        return at(path).read(LARGEST_IMAGE)
    except OSError as error:
        raise InputError("cannot read the image", where=path, got=error.strerror) from error
    except ValueError as error:
        raise InputError("cannot read the image", where=path, got=error) from error
