"""What a folder is that was given for a run or for a data set, and what to run where it is another thing.

Input: a place. Output: its `Kind`, which the names in it tell, or an error that says what it is and what to do next.
Of all that is there only the record of a spectral folder is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from spectral_prep.errors import InputError, SpectralError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.store.layout import DatasetPaths, SpectralPaths
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord
from spectral_train.models import nearest

DEFAULT_DATA = Path("spectral")
DEFAULT_RUNS = Path("runs")
NETWORK = re.compile(r"branch-\d+|baseline")
"""The name of the folder of a network."""

CONVERT = "spectral-prep convert --dataset digits --q 4"
"""For who has no data set yet: these images come with a package that is here."""

Kind = Literal[
    "nothing",
    "a file",
    "an empty folder",
    "a run",
    "the folder of one network",
    "a converted data set",
    "a spectral folder",
    "a conversion that is not finished",
    "a folder of runs",
    "a folder of data sets",
    "another folder",
]

OF_ONE_NETWORK = {"branch.json", "checkpoint.safetensors", "training.lock", "fused.json"}
TO_THE_END = "the same spectral-train again; it goes on where it stopped, or says what stops it"
MOST_LOOKED_INTO = 64
MOST_NAMED = 8
NAMED_BY_Q = re.compile(r"(.+)-q(\d+(?:x\d+)?)")
"""What `spectral-prep convert` calls a data set unless it is told."""


def kind_of(place: Place) -> Kind:
    """Return what a place is; of a folder that is several things, what may least be written to as a run."""
    if not at(place).is_folder():
        return "a file" if exists(place) else "nothing"
    names, folders = at(place).names(), at(place).folders()
    if (closed := _closed_to_runs(place, names, folders)) is not None:
        return closed
    if any(map(NETWORK.fullmatch, folders)):
        return "a run"
    if runs_in(place):
        return "a folder of runs"
    if data_sets_in(place):
        return "a folder of data sets"
    return "another folder" if names or folders else "an empty folder"


def _closed_to_runs(place: Place, names: Sequence[str], folders: Sequence[str]) -> Kind | None:
    """Return what a folder with these files and folders is, if no run may be written into it."""
    if SpectralPaths(place).record.name in names:
        return "a spectral folder"
    if OF_ONE_NETWORK & set(names):
        return "the folder of one network"
    if any(_is_spectral(place / name) for name in folders):
        return "a converted data set"
    return "a conversion that is not finished" if DatasetPaths(place).plan.name in names else None


def runs_in(folder: Place) -> list[Place]:
    """Return the runs in a folder, by name."""
    return [each for each in _folders_in(folder) if any(NETWORK.fullmatch(inner.name) for inner in _folders_in(each))]


def data_sets_in(folder: Place, most: int | None = MOST_LOOKED_INTO) -> list[Place]:
    """Return the data sets in a folder, whole or not, by name; not more than so many folders are looked into."""
    return [each for each in _folders_in(folder, most) if any(map(_is_spectral, _folders_in(each)))]


def data_set_to_name(dataset_id: str) -> Place | None:
    """Return the data set of this id that `--data` has to name; None if it is the usual one, or is not found here."""
    usual = data_sets_in(DEFAULT_DATA)
    found = _first_of(dataset_id, usual)
    return None if [found] == usual else found


def data_set_found(dataset_id: str) -> Place | None:
    """Return the data set of this id in the usual folder or in this one; None where it is in neither."""
    return _first_of(dataset_id, data_sets_in(DEFAULT_DATA))


def _first_of(dataset_id: str, usual: Sequence[Place]) -> Place | None:
    return next((each for each in [*usual, *data_sets_in(Path())] if _is_of(each, dataset_id)), None)


def parent_of(place: Place) -> Place:
    """Return the folder that a place is in, as the user would type it.

    >>> parent_of(Path("runs/mine/branch-00")), parent_of(Path(".")), parent_of(Path(".."))
    (PosixPath('runs/mine'), PosixPath('..'), PosixPath('../..'))
    """
    return place / ".." if place.name in ("", "..") else place.parent


def require_run_folder(place: Place, option: str) -> None:
    """Refuse to write a run into what is another thing of ours; raise `InputError`, which names the option if any.

    Every training begins with this: a folder of runs is not looked into.
    """
    if not at(place).is_folder():
        return
    folders = at(place).folders()
    kind = _closed_to_runs(place, at(place).names(), folders)
    if kind is None:
        return
    other = DEFAULT_RUNS / (place.name.strip(".") or "mine")
    run = f"the same command with another folder, such as {option}{quoted(other)}"
    if kind == "the folder of one network" and kind_of(parent_of(place)) == "a run":
        run = f"the same command with {option}{quoted(parent_of(place))}"
    if begun := [name for name in folders if NETWORK.fullmatch(name)]:
        run += f", after moving there what an earlier release wrote here: {', '.join(begun)}"
    raise InputError("a run cannot be written here", where=place, expected="a run, or a new folder", got=kind, run=run)


def not_a_run(place: Place, what: str, *, to_be_trained: bool = True) -> InputError:
    """Return the error for a place that holds no finished network of a run.

    Parameters
    ----------
    what
        What is missing, such as "no trained branch here".
    to_be_trained
        Whether this is where the run would go that is trained next.
    """
    kind = kind_of(place)
    got, run = _said_of_run(place, kind, _training(place if to_be_trained else None))
    return InputError(what, where=place, expected="a run, with branch-00/ … in it", got=got, run=run)


def not_a_data_set(place: Place) -> InputError:
    """Return the error for a place that is neither a data set nor a spectral folder."""
    kind = kind_of(place)
    return InputError(
        "no such data folder" if kind in ("nothing", "a file") else "no spectral folder here",
        where=place,
        expected="a converted data set: spectral-00/ … with a spectral.json in each, or one of these",
        got=some(at(place).children()) if kind == "another folder" else kind,
        run=_instead_of_data(place, kind),
    )


def what_to_train_on() -> str:
    """Return what to run where there is no data set in the usual folder."""
    here = _data_elsewhere()
    return f"the same command with --data {quoted(here)}" if here is not None else CONVERT


def without_folders(data: Place, needed: Sequence[str], missing: Sequence[str], whole: Sequence[int]) -> InputError:
    """Return the error where some of the spectral folders that are needed are not in a data set.

    Where one spectral folder was given, they belong beside it. `whole` are shards that could be trained nevertheless.
    """
    alone = exists(SpectralPaths(data).record)
    home = parent_of(data) if alone else data
    absent = [name for name in missing if not at(home / name).is_folder()]
    copy = f"copy {some(absent)} from the converted data set into {quoted(home)}, then " if absent else ""
    run = f"{copy}the same command" + (f" with --data {quoted(home)}" if alone else "")
    return InputError(
        f"missing {len(missing)} of the {len(needed)} spectral folders that are needed",
        where=data,
        expected=some(needed),
        got=f"no {some(missing)}",
        run=f"the same command with --shard {whole[0]}, which is here; or {run}" if whole else run,
    )


def some(names: Iterable[str]) -> str:
    """Name the first of these.

    >>> some(["a", "b"]), some("abcdefghij")
    ('a, b', 'a, b, c, d, e, f, g, h and 2 more')
    """
    found = list(names)
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more


def _training(run: Place | None) -> str:
    """Return the command that trains a run, on a data set that is here."""
    target = "" if run is None else f" --run {quoted(run)}"
    usual = data_sets_in(DEFAULT_DATA)
    if len(usual) == 1:
        return f"spectral-train --shard all{target}"
    data = usual[0] if usual else _data_elsewhere()
    return f"{CONVERT}, then spectral-train --shard all{target}" if data is None else _training_on(data) + target


def _training_on(data: Place) -> str:
    if not exists(SpectralPaths(data).record):
        return f"spectral-train --shard all --data {quoted(data)}"
    k = read_record(SpectralPaths(data).record, SpectralRecord).k
    return f"spectral-train --shard {k} --data {quoted(data)}"


def _data_elsewhere() -> Place | None:
    """Return a data set or a spectral folder in the current folder."""
    return next(iter([*data_sets_in(Path()), *filter(_is_spectral, _folders_in(Path()))]), None)


def _said_of_run(place: Place, kind: Kind, train: str) -> tuple[str, str]:
    """Return what a place is and what to run, where a run was wanted."""
    anywhere = "spectral-ensemble runs" if runs_in(DEFAULT_RUNS) else _training(None)
    match kind:
        case "nothing":
            beside = runs_in(parent_of(place))
            got = f"nothing; runs beside it: {some(each.name for each in beside)}" if beside else kind
            return got, f"spectral-ensemble runs {quoted(parent_of(place))}" if beside else train
        case "an empty folder":
            return kind, train
        case "a run":
            begun = [name for name in at(place).folders() if re.fullmatch(r"branch-\d+", name)]
            if not begun:
                return "the baseline alone", "the command that trained it, with --shard all in the place of --baseline"
            return f"begun and not finished: {', '.join(begun)}", TO_THE_END
        case "the folder of one network":
            return kind, _of_network(place)
        case "a converted data set" | "a spectral folder":
            return kind, _training_on(place)
        case "a conversion that is not finished":
            return kind, _conversion(place)
        case "a folder of runs":
            return f"{kind}: {some(each.name for each in runs_in(place))}", f"spectral-ensemble runs {quoted(place)}"
        case "a folder of data sets":
            found = data_sets_in(place)
            return f"{kind}: {some(each.name for each in found)}", _training_on(found[0])
        case _:
            return (kind if kind == "a file" else some(at(place).children())), anywhere


def _of_network(place: Place) -> str:
    if kind_of(parent_of(place)) == "a run":
        return f"the same command with {quoted(parent_of(place))}"
    if exists(place / "branch.json"):
        return f"spectral-ensemble collect {quoted(DEFAULT_RUNS / 'collected')} {quoted(place)}"
    return TO_THE_END


def _instead_of_data(place: Place, kind: Kind) -> str:
    if kind == "a conversion that is not finished":
        return _conversion(place)
    if any(each.name.startswith("spectral-") for each in _folders_in(place)):
        return "copy the folders again, whole, from the converted data set"
    around = [place, DEFAULT_DATA, parent_of(place), Path()]
    others = {str(each): each for folder in around for each in data_sets_in(folder)}
    called_so = [each for each in others.values() if each.name == place.name]
    likeliest = called_so or [others[text] for text in nearest(str(place), others)]
    if data_sets_in(place) or called_so or kind in ("a run", "the folder of one network", "a folder of runs"):
        made = None
    elif kind in ("nothing", "an empty folder"):
        made = _convert(place)
    else:
        made = _source(place)
    if made is None and likeliest:
        return f"the same command with --data {quoted(likeliest[0])}"
    return made or f"the same command with a folder that spectral-prep convert wrote; one to try is made by {CONVERT}"


def _convert(out: Place) -> str | None:
    """Return the command that converts what a folder is called after, None where it is called after nothing known."""
    from spectral_prep.sources import PUBLISHED  # sources take a tenth of a second: this is for advice alone
    from spectral_prep.sources.releases import RELEASES

    named = NAMED_BY_Q.fullmatch(out.name)
    if named is None:
        return None
    name, line = named[1], f"--q {named[2]} --out {quoted(out)}"
    if name in PUBLISHED:
        download = name in RELEASES and not Path("data", name).is_dir()
        return f"spectral-prep convert --dataset {name} {line}" + (" --download" if download else "")
    source = next((_source(each) for each in (Path(name), Path("data", name)) if each.is_dir()), None)
    return None if source is None else source.replace("--q 4", line)


def _source(place: Place) -> str | None:
    """Return the command that converts the images at a place, None where it does not look like any, as far as seen."""
    from spectral_prep.sources.layout import looks_like

    try:
        dataset = looks_like(place)
        if dataset == "folder" and not _has_images(place):
            return None
        if dataset == "folder" and any(map(_is_image, at(place).names())):  # of one class: the classes are beside it
            place = parent_of(place)
    except (OSError, SpectralError):
        return None
    size = " --size 224 --resize 256" if dataset in ("folder", "imagenet", "parquet", "webdataset") else ""
    return f"spectral-prep convert --dataset {dataset} --source {quoted(place)} --q 4{size}"


def _has_images(place: Place) -> bool:
    """Whether there are images in a folder, in those in it, or in those in these, as far as the first of each say."""
    folders = [place] if at(place).is_folder() else []
    for _ in range(3):
        if any(_is_image(name) for each in folders for name in at(each).names()):
            return True
        folders = [inner for each in folders for inner in _folders_in(each)[:MOST_NAMED]]
    return False


def _is_image(name: str) -> bool:
    from spectral_prep.sources.opening import EXTENSIONS

    return name.lower().endswith(EXTENSIONS)


def _conversion(place: Place) -> str:
    return f"the same spectral-prep convert again; spectral-prep info {quoted(place)} says how far it is"


def _folders_in(folder: Place, most: int | None = MOST_LOOKED_INTO) -> list[Place]:
    """Return the folders in a folder; none of one that may not be read, or is none: this is looked at for advice."""
    try:
        names = at(folder).folders()
    except (OSError, SpectralError):
        return []
    return [folder / name for name in names if not name.startswith(".")][:most]


def _is_of(data: Place, dataset_id: str) -> bool:
    """Whether a data set has this id; one whose record is damaged is another."""
    try:
        return read_record(DatasetPaths(data).spectrals()[0].record, SpectralRecord).dataset_id == dataset_id
    except SpectralError:
        return False


def _is_spectral(folder: Place) -> bool:
    return folder.name.startswith("spectral-") and exists(SpectralPaths(folder).record)
