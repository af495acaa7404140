"""Fetching the two small releases that may be fetched without an account: MNIST and CIFAR-10.

Input: the name of a data set and a folder. Output: the release's own files in that folder, each with the sha256
that stands here. A file is fetched under a temporary name and gets its own only once its hash is right.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.system.files import Advice, explain

TIMEOUT_SECONDS = 30.0
WRITING = Advice(
    full="free space, then the same command: files that are there are not fetched again",
    refused="the same command with --source in such a folder",
)
"""For the user whose release cannot be written."""


@dataclass(frozen=True)
class Release:
    """The files of a release (name → sha256) and the base URLs to try, in order; a base ends in `/`."""

    bases: tuple[str, ...]
    sha256: Mapping[str, str]


# The hashes are those of tensorflow-datasets (url_checksums/mnist.txt and cifar10.txt). yann.lecun.com no longer serves
# the MNIST files; these two mirrors do.
RELEASES: Mapping[str, Release] = {
    "mnist": Release(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "cifar10": Release(
        ("https://www.cs.toronto.edu/~kriz/",),
        {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    ),
}


def download(dataset: str, target: Path, mirror: str | None = None, releases: Mapping[str, Release] = RELEASES) -> None:
    """Bring a release into a folder, leaving alone the files that are already there with the right hash.

    Parameters
    ----------
    dataset
        A name in `releases`: "mnist" or "cifar10".
    target
        The folder, made if need be. A file in it that has another hash than the release's is replaced.
    mirror
        A base URL to use instead of the release's own.

    Raises
    ------
    InputError
        If the data set cannot be downloaded, pooch is not installed or the folder may not be written.
    CorruptSourceError
        If no base URL gives a file with the right hash.
    StorageError
        If the disk is full or fails.
    """
    if dataset not in releases:
        raise InputError("cannot download this data set", expected=f"one of {', '.join(releases)}", got=dataset)
    release = releases[dataset]
    pooch, requests = _client()
    bases = release.bases if mirror is None else (mirror.rstrip("/") + "/",)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, target, WRITING) from error
    for name, sha256 in release.sha256.items():
        _fetch(pooch, requests.RequestException, bases, name, sha256, target)


def suggestion(dataset: str) -> str:
    """Return what to run when the files of a data set are not there.

    >>> suggestion("mnist")
    'the same command with --download, or with --source and the path of the files'
    """
    download = "with --download, or " if dataset in RELEASES else ""
    return f"the same command {download}with --source and the path of the files"


def _fetch(
    pooch: ModuleType, no_answer: type[Exception], bases: tuple[str, ...], name: str, sha256: str, target: Path
) -> None:
    failures: list[str] = []
    for base in bases:
        try:
            pooch.retrieve(
                base + name,
                f"sha256:{sha256}",
                name,
                target,
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS),
            )
        except no_answer as error:
            failures.append(f"{base}: {_brief(error)}")
        except ValueError as error:  # how pooch says that the hash is another
            failures.append(f"{base}: wrong sha256 ({_brief(error)})")
        except OSError as error:
            raise explain(error, target / name, WRITING) from error
        else:
            return
    raise CorruptSourceError(
        f"could not download {name}",
        where=target,
        expected=f"sha256 {sha256}",
        got="; ".join(failures),
        run=f"put the file into {target} by other means, then the same command without --download",
    )


def _client() -> tuple[ModuleType, ModuleType]:
    try:
        pooch = importlib.import_module("pooch")
        requests = importlib.import_module("requests")
    except ImportError as error:
        raise InputError(
            "downloading needs a package that is not installed",
            got=error,
            run="pip install 'spectral-shards[download]'",
        ) from error
    pooch.get_logger().setLevel("ERROR")  # it announces each file; only the command line prints here
    return pooch, requests


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + "…"
