"""What `train.py` trains: the papers' systems, a line of a table of docs/results.md each.

Input: nothing. Output: `TABLES`, the systems of each table by name; `SETS` and `SOURCES`, the data that they need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

Side = Literal["branches", "conventional"]
SIDES: tuple[Side, ...] = get_args(Side)

_WAYS = {"dct": "", "dct2": "--transform dct2", "none": "--transform none", "tiles": "--layout tiles"}
_SIZES = {f"{psnr}db": f"--psnr {psnr}" for psnr in (52, 47, 42)}
_DATASETS = {"cifar10": "cifar10", "tiny": "folder"}

SETS: Mapping[str, str] = {
    "mnist-q16": "--dataset mnist --q 16",
    "mnist-q16-views": "--dataset mnist --q 16 --views 8 --augmentation shift",
    "mnist-q16-dct2": "--dataset mnist --q 16 --transform dct2",
    "mnist-q16-none": "--dataset mnist --q 16 --transform none",
    "mnist-q16-tiles": "--dataset mnist --q 16 --layout tiles",
    "mnist-q28": "--dataset mnist --q 28",
    "cifar10-q32": "--dataset cifar10 --q 32",
    **{
        f"{data}-q{q}-{way}": f"--dataset {dataset} --q {q} {options}".strip()
        for data, dataset in _DATASETS.items()
        for q in (4, 16)
        for way, options in (_WAYS if q == 16 else _WAYS | _SIZES).items()
    },
}
SOURCES: Mapping[str, str] = {"mnist": "mnist", "cifar10": "cifar10", "tiny": "tiny-imagenet"}
"""The folder of `--source` by the first word of a set's name."""


@dataclass(frozen=True)
class System:
    """One line of a table.

    Parameters
    ----------
    data
        Of `SETS`.
    branches, conventional
        Options of `spectral-train --shard all` and of `spectral-train --baseline`; None trains none.
    beside
        The system whose conventional network this one is compared with, instead of one of its own.
    seeds
        0 to this number − 1.
    budget
        Processor minutes of each side: of all branches together, and of the conventional network. Both search their
        learning rates within it, and have as many epochs as fit. None: the options say how many.
    paper
        The recipe of `papers.PUBLISHED` whose figures stand beside it.
    """

    data: str
    branches: str | None = None
    conventional: str | None = None
    beside: str | None = None
    seeds: int = 3
    budget: float | None = None
    paper: str = ""

    def options(self, side: Side) -> str | None:
        """Return the options of a side, None where it has none of its own."""
        return self.branches if side == "branches" else self.conventional

    def trained_as(self, name: str, side: Side) -> str:
        """Return the system whose run has a side of this one, which is called `name`."""
        return self.beside or name if side == "conventional" else name

    def sides(self) -> Iterator[tuple[Side, str]]:
        """Yield the sides that are trained, and their options."""
        for side in SIDES:
            if (options := self.options(side)) is not None:
                yield side, options


_BF16 = "--set precision=bfloat16"
_FAST = "--set channels_last=true"
_POSTER = "--recipe poster-mnist"
_ADAMW = f"{_POSTER} --optimizer adamw --lr 0.004 --set weight_decay=0.1 --set noise=0.1"
_SHORT = f"{_ADAMW} --epochs 10"
_OWN = {"energy": "--width-by energy", "rates": "--find-rate"}
"""What branches may have of their own."""

_FC, _TNN = ("--recipe paper-fc --epochs {}", "--recipe paper-tnn-mnist --epochs {}")
_FC_CIFAR = f"{_FC.format(5)} --set width=32"
_SEARCHED = (
    f"--optimizer adamw --lr 0.002 --set weight_decay=0.05 --set noise=0 --set patience=10 "
    f"--augment flip,shift=1 {_FAST}"
)
"""The rate is the middle of those that can be found: 0.0005 to 0.008. Images are shifted as far as their spectrals."""


def _cifar(name: str, widths: tuple[int, int, int], budget: float) -> dict[str, System]:
    """Return the poster's convolutions on CIFAR-10; channels: of four branches, of two, of the conventional network.

    Beside its conventional network the same with branches that end with a map as large as that has: alone, as wide as
    their energy says, and with two branches instead of four.
    """
    options = f"--recipe poster-cifar10 {_SEARCHED}"
    own, common = f"{options} --set width={widths[0]}", "--common 0"
    plain = System(
        "cifar10-q4-dct2",
        f"{own} {common}",
        f"{options} --set width={widths[2]}",
        budget=budget,
        paper="poster-cifar10",
    )
    full = replace(plain, branches=f"{own} --set full_stages=2 {common}", conventional=None, beside=name)
    energy = replace(full, branches=f"{own} --set full_stages=2 {_OWN['energy']}")
    two = replace(full, branches=f"{options} --shards 2 --set width={widths[1]} --set full_stages=2 {common}")
    return {name: plain, f"{name}-full": full, f"{name}-full-energy": energy, f"{name}-full-two": two}


def _tiny(model: str, widths: tuple[float, float], last_map: int, budget: float, more: str = "") -> System:
    """Return an ImageNet architecture at small size; widths: of the branches, of the conventional network."""
    options = f"--model {model} {_SEARCHED} --set warmup=0.1 --set label_smoothing=0.1 --set clip=1 {more}".strip()
    return System(
        "tiny-q4-dct2",
        f"{options} --set width={widths[0]} --set last_map={last_map}",
        f"{options} --set width={widths[1]} --set last_map=2",
        budget=budget,
        paper=f"paper-{model}-imagenet",
    )


def _both_widths(name: str, equal: System) -> dict[str, System]:
    """Return a system, and beside its conventional network the same with branches as wide as their energy says."""
    energy = replace(equal, branches=f"{equal.branches} {_OWN['energy']}", conventional=None, beside=name)
    return {name: equal, f"{name}-energy": energy}


def _ablations(data: str, options: str) -> dict[str, System]:
    """Return the same small branches on every way to make spectrals, each with its own alone and with the first.

    Besides on those of smaller shards; and on the first way as wide as their energy says, and at rates of their own.
    """
    ways = {
        f"ablation-{data}-q{q}-{way}{name}": System(f"{data}-q{q}-{way}", f"{options} {common}".strip())
        for q in (4, 16)
        for way in _WAYS
        for name, common in (("", ""), ("-common", "--common 0"))
    }
    sizes = {f"ablation-{data}-q4-{size}": System(f"{data}-q4-{size}", options) for size in _SIZES}
    own = {
        f"ablation-{data}-q4-dct-{name}": System(f"{data}-q4-dct", f"{options} {more}") for name, more in _OWN.items()
    }
    return ways | sizes | own


_ABLATION = (
    "--model conv --set depth=6 --set width=8 --optimizer adamw --set weight_decay=0.05 --set noise=0 "
    "--set channels_last=true"
)

TABLES: Mapping[str, Mapping[str, System]] = {
    "mnist": {
        "mnist-fc-q16": System("mnist-q16", _POSTER, f"{_POSTER} {_BF16}", paper="poster-mnist"),
        "mnist-fc-q16-adamw": System("mnist-q16", _ADAMW, beside="mnist-fc-q16", paper="poster-mnist"),
        "mnist-fc-q16-common": System("mnist-q16", f"{_ADAMW} --common 0", beside="mnist-fc-q16", paper="poster-mnist"),
        "mnist-fc-q16-views": System(
            "mnist-q16-views", f"{_ADAMW} --common 0", f"{_POSTER} {_BF16}", paper="poster-mnist"
        ),
        "mnist-fc-q28": System("mnist-q28", _FC.format(8), f"{_FC.format(8)} {_BF16}", paper="paper-fc"),
        "mnist-tnn": System("mnist-q28", None, _TNN.format(8)),
    },
    "mnist-ablations": {
        "mnist-dct": System("mnist-q16", _SHORT),
        "mnist-dct-common": System("mnist-q16", f"{_SHORT} --common 0", seeds=1),
        "mnist-dct2": System("mnist-q16-dct2", _SHORT, seeds=1),
        "mnist-none": System("mnist-q16-none", _SHORT, seeds=1),
        "mnist-tiles": System("mnist-q16-tiles", _SHORT, seeds=1),
        "mnist-none-common": System("mnist-q16-none", f"{_SHORT} --common 0", seeds=1),
        "mnist-s4-contiguous": System("mnist-q16", f"{_SHORT} --shards 4", seeds=1),
        "mnist-s4-balanced": System("mnist-q16", f"{_SHORT} --shards 4 --grouping balanced", seeds=1),
        **{f"mnist-dct-{name}": System("mnist-q16", f"{_SHORT} {more}") for name, more in _OWN.items()},
    },
    "cifar10": {**_cifar("cifar10-conv", (13, 19, 32), 90), **_cifar("cifar10-narrow", (8, 12, 20), 40)},
    "cifar10-fc": {
        "cifar10-fc-q32": System("cifar10-q32", _FC_CIFAR, f"{_FC_CIFAR} {_BF16}", paper="paper-fc"),
        "cifar10-fc-q32-slow": System(
            "cifar10-q32", f"{_FC_CIFAR} --lr 0.001", f"{_FC_CIFAR} --lr 0.001 {_BF16}", paper="paper-fc"
        ),
        "cifar10-tnn": System("cifar10-q32", None, f"{_TNN.format(5)} --set width=32"),
    },
    "cifar10-ablations": _ablations("cifar10", f"{_ABLATION} --lr 0.008 --batch-size 512 --epochs 5"),
    "tiny": {
        **_both_widths("tiny-alexnet", _tiny("alexnet", (0.25, 0.25), 2, 20)),
        **_both_widths("tiny-vgg16", _tiny("vgg16", (0.144, 0.144), 1, 20, _BF16)),
        **_both_widths("tiny-resnet34", _tiny("resnet34", (0.17, 0.17), 1, 20, _BF16)),
        **_both_widths("tiny-cyclemlp", _tiny("cyclemlp", (0.16, 0.16), 1, 20)),
        **_both_widths("tiny-mobilevit", _tiny("mobilevit", (0.15, 0.17), 1, 20)),
    },
    "tiny-ablations": _ablations("tiny", f"{_ABLATION} --lr 0.004 --set label_smoothing=0.1 --epochs 3"),
}


def systems() -> dict[str, System]:
    """Return those of all tables by name."""
    return {name: system for table in TABLES.values() for name, system in table.items()}
