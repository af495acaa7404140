"""The options that several commands of `spectral-prep` have, and the values that commands get instead of them.

Input: the words of a command line. Output: a `Request` and the two folders. No module that imports torch is imported
before a command runs: the choices of an option come from `choices` and from tables of names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from spectral_prep.choices import Compression, EngineName, Format, Layout, Shuffle, Storage, Transform
from spectral_prep.console.progress import PLACE
from spectral_prep.errors import InputError
from spectral_prep.images.augmentations import AUGMENTATIONS
from spectral_prep.places.url import Place
from spectral_prep.sources import SOURCES, WITHOUT_FILES, default_name
from spectral_prep.sources.interface import Fields
from spectral_prep.sources.releases import RELEASES

if TYPE_CHECKING:
    from spectral_prep.conversion.request import Request


def either(names: tuple[str, ...]) -> str:
    """Return names as a sentence has them.

    >>> either(("crop", "shift-flip", "shift"))
    'crop, shift-flip or shift'
    """
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def stacked(options: Sequence[Callable[..., Any]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return one decorator for several options, which the help lists in this order."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)

    return decorate


FIELD_OPTIONS = (
    click.option(
        "--image-key", metavar="NAME", help="Of webdataset: which image of a sample, where it has several: left.jpg."
    ),
    click.option("--image-column", metavar="NAME", help="Of parquet: the column of images, where there are several."),
    click.option("--label-column", metavar="NAME", help="Of parquet: the column of labels, where there are several."),
)


def field_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose an image and a label of a row; the command gets them as one `Fields`."""

    @functools.wraps(command)
    def with_fields(**options: Any) -> None:
        names = [field.name for field in fields(Fields)]
        chosen = Fields(**{name: options.pop(name) for name in names})
        command(**options, fields=chosen)

    return stacked(FIELD_OPTIONS)(with_fields)


REQUEST_OPTIONS = (
    click.option(
        "--dataset",
        required=True,
        help=f"{', '.join(SOURCES)}.",
    ),
    click.option(
        "--source",
        type=PLACE,
        help="Where the release lies; for synthetic what is computed, such as rows=20000,test=2000,classes=100,size=64 "
        "(also channels, format=jpeg, seed).  [default: ./data/DATASET]",
    ),
    click.option("--out", type=PLACE, help="The folder to write.  [default: ./spectral/NAME-qQ]"),
    click.option(
        "--q", required=True, help="Spectrals: 16 (4x4), 28 for 28-wide images (1x28), or a pair such as 2x4."
    ),
    click.option(
        "--layout",
        type=click.Choice(get_args(Layout)),
        default="blocks",
        show_default=True,
        help="What becomes the Q axis: each q1xq2 neighbourhood of pixels, or q1xq2 large tiles.",
    ),
    click.option(
        "--transform",
        type=click.Choice(get_args(Transform)),
        default="dct",
        show_default=True,
        help="Along the Q axis.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(get_args(Storage)),
        default="int8",
        show_default=True,
        help="Of a stored coefficient; float16 and float32 keep every pixel exactly.",
    ),
    click.option(
        "--psnr",
        type=float,
        metavar="DB",
        help="int8 with one step for all spectrals, as coarse as images keep this many dB: fewer bytes.  [default: "
        "each spectral as fine as its range allows, some 52 dB]",
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
        type=click.Choice(get_args(Format)),
        default="zarr",
        show_default=True,
        help="Zarr v3 arrays, or WebDataset tars with one sample a row.",
    ),
    click.option(
        "--compression",
        type=click.Choice(get_args(Compression)),
        help="[default: zstd for zarr, none for webdataset]",
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
        type=click.Choice(get_args(Shuffle)),
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
        help=f"Of the views: {either(tuple(AUGMENTATIONS))}.  [default: shift for grey images, crop for resized "
        "ones, else shift-flip]",
    ),
    click.option(
        "--block-rows",
        type=click.IntRange(1),
        help="Rows a part file.  [default: for 64 parts or more, of at most 32 MiB before compression; larger where "
        "that would be more than 1800]",
    ),
    click.option(
        "--test-fraction",
        type=float,
        help="For a source with training images alone: set this share of each class apart as test split, such as 0.1. "
        "Each image is read once to keep duplicates, and files of one name, together.",
    ),
    click.option("--limit", type=click.IntRange(1), help="At most this many images, each class by its share."),
    click.option("--fraction", type=float, help="This share of the images, of each class alike, such as 0.05."),
    click.option(
        "--classes",
        callback=lambda _, __, text: None if text is None else class_list(text),
        metavar="A,B,…|FILE",
        help="These classes alone, or those that a file names, one a line.",
    ),
    click.option("--name", help="What the data set is called.  [default: as --dataset; one's own as its folder]"),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        help="An image file that promises more is a bad image.  [default: 89478485, Pillow's limit]",
    ),
    *FIELD_OPTIONS,
)


@dataclass(frozen=True)
class Wanted:
    """What the options of a conversion ask for: the data set, where it comes from and where it goes."""

    request: Request
    source: Place
    out: Place


def request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that decide what is written, where from and where to; the command gets them as one `Wanted`."""

    @functools.wraps(command)
    def with_wanted(**options: Any) -> None:
        from spectral_prep.conversion.request import Request

        names = {field.name for field in fields(Request)}
        request = Request(**{name: options[name] for name in names})
        source = options["source"] or default_source(request.dataset)
        out = options["out"] or default_out(request, source)
        others = {name: options[name] for name in options.keys() - names - {"source", "out"}}
        command(Wanted(request, source, out), **others)

    return stacked(REQUEST_OPTIONS)(with_wanted)


workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes; no byte depends on it.  [default: the CPUs that it may use, fewer for small sets]",
)
max_memory_option = click.option(
    "--max-memory", help="Of all processes together, such as 4G: fewer workers.  [default: the container's limit]"
)
engine_option = click.option(
    "--engine",
    type=click.Choice(get_args(EngineName)),
    default="processes",
    show_default=True,
    help="Where workers run: on this machine, or on a Ray cluster whose nodes see all folders under the same paths.",
)
ray_address_option = click.option(
    "--ray-address",
    metavar="HOST:PORT",
    help="Of the cluster's head node; auto: the one that this machine is in.  [default: RAY_ADDRESS if set, else a Ray "
    "of this machine alone is started]",
)

space_option = click.option("--no-space-check", is_flag=True, help="Start even where the disk has no room for all.")
download_option = click.option(
    "--download",
    is_flag=True,
    help=f"First fetch the release into --source, hashes checked ({', '.join(RELEASES)}).",
)
mirror_option = click.option("--mirror", help="Download from this base URL instead of the official ones.")


def class_list(text: str) -> tuple[str, ...]:
    """Return the class names of a text, or of a file of that name.

    >>> class_list("cat, dog")
    ('cat', 'dog')
    """
    from spectral_prep.places import exists
    from spectral_prep.places.url import place_of
    from spectral_prep.sources.name_list import decode
    from spectral_prep.sources.opening import small_file

    place = place_of(text)
    if exists(place):
        names = [decode(line) for line in map(bytes.strip, small_file(place).splitlines())]
    else:
        names = [name.strip() for name in text.split(",")]
    if not any(names):
        raise InputError("no class names", where=text, expected="--classes cat,dog, or a file with one name a line")
    return tuple(filter(None, names))


def default_out(request: Request, source: Place) -> Place:
    """Return where a data set goes if nothing else is said; one begun before it was called after its folder goes on."""
    from spectral_prep.places import exists
    from spectral_prep.store.layout import DatasetPaths

    name = request.name or default_name(request.dataset, source) or request.dataset
    out, unnamed = (Path("spectral") / f"{each}-q{request.q}" for each in (name, request.dataset))
    begun = exists(DatasetPaths(unnamed).plan) and not exists(DatasetPaths(out).plan)
    return unnamed if begun and request.name is None else out


def default_source(dataset: str) -> Place:
    """Return where a release lies if nothing else is said; an empty path for what needs no files."""
    return Path() if dataset in WITHOUT_FILES else Path("data") / dataset
