"""Fetching the two small releases that may be fetched without an account: MNIST and CIFAR-10.

Input: the name of a data set and a folder. Output: the release's files in that folder, each with the sha256 that stands
here, or with content that has: what was unpacked, or packed again, is kept. A file is fetched under a temporary name
and gets its own only once its hash is right.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """The files of a release (name → sha256) and the base URLs to try, in order; a base ends in `/`.

    `content` has the sha256 of what is in a `.gz`, for those whose content is known.
    """

    bases: tuple[str, ...]
    sha256: Mapping[str, str]
    content: Mapping[str, str] = field(default_factory=dict)


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
        {
            "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "cifar10": Release(
        ("https://www.cs.toronto.edu/~kriz/",),
        {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    ),
}


def download(
    dataset: str,
    target: Path,
    mirror: str | None = None,
    releases: Mapping[str, Release] = RELEASES,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Bring a release into a folder, leaving alone the files that are already there with the right hash or content.

    Parameters
    ----------
    dataset
        A name in `releases`: "mnist" or "cifar10".
    target
        The folder, made if need be. A file in it that has neither the hash of the release's nor, packed or not, its
        content is replaced.
    mirror
        A base URL to use instead of the release's own.
    tell
        Gets a line for each base that fails, before the next one is tried.

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
    client = _client()
    bases = release.bases if mirror is None else (mirror.rstrip("/") + "/",)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, target, WRITING) from error
    for name, sha256 in release.sha256.items():
        if not _there(target / name, release.content.get(name)):
            _fetch(client, bases, name, sha256, target, tell)


def suggestion(dataset: str) -> str:
    """Return what to run when the files of a data set are not there.

    >>> suggestion("mnist")
    'the same command with --download, or with --source and the path of the files'
    """
    download = "with --download, or " if dataset in RELEASES else ""
    return f"the same command {download}with --source and the path of the files"


def _there(archive: Path, content: str | None) -> bool:
    """Whether the content of an archive is there: in it, however it is packed, or in its place, unpacked."""
    try:
        with gzip.open(archive, "rb") if archive.exists() else open(archive.with_suffix(""), "rb") as file:
            return content is not None and hashlib.file_digest(file, "sha256").hexdigest() == content
    except (OSError, EOFError, zlib.error):  # not there, or not what it is called: then it is fetched
        return False


def _fetch(
    client: tuple[ModuleType, ModuleType],
    bases: tuple[str, ...],
    name: str,
    sha256: str,
    target: Path,
    tell: Callable[[str], None],
) -> None:
    pooch, requests = client
    failures: list[str] = []
    for number, base in enumerate(bases):
        if number:
            tell(f"{name}: no luck with {failures[-1]}; trying {base}")
        try:
            pooch.retrieve(
                base + name,
                f"sha256:{sha256}",
                name,
                target,
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS),
            )
        except requests.RequestException as error:
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
