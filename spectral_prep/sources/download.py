"""Fetching the small releases that may be fetched without an account: MNIST, CIFAR-10 and CIFAR-100.

Input: the name of a data set and a folder. Output: the release's files in that folder, each with the sha256 that stands
here, or with content that is known: what was unpacked, or packed again, is kept. A file is fetched under a temporary
name and gets its own only once its hash is right.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at
from spectral_prep.sources.cifar import standing
from spectral_prep.sources.opening import listed
from spectral_prep.sources.releases import RELEASES, Release
from spectral_prep.system.files import Advice, explain

TIMEOUT_SECONDS = 30.0
WRITING = Advice(
    full="free space, then the same command: files that are there are not fetched again",
    refused="the same command with --source in such a folder",
)
"""For the user whose release cannot be written."""


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
        A name in `releases`: "mnist", "cifar10" or "cifar100".
    target
        The folder, made if need be. A file in it that has neither the hash of the release's nor, packed or not, its
        content is replaced. An unpacked release of another content is none that is replaced: it is refused.
    mirror
        A base URL to use instead of the release's own.
    tell
        Gets a line for each base that fails, before the next one is tried.

    Raises
    ------
    InputError
        If the data set cannot be downloaded, pooch is not installed, the folder may not be written, or an unpacked
        release in it would be read in place of what is downloaded and is not known to be right.
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
    if release.members and _whole(dataset, target, release.members):
        return
    for name, sha256 in release.sha256.items():
        if not _there(target / name, release.content.get(name)):
            _fetch(client, bases, name, sha256, target, tell)


def _there(archive: Path, content: str | None) -> bool:
    """Whether the content of an archive is there: in it, however it is packed, or in its place, unpacked."""
    try:
        with gzip.open(archive, "rb") if archive.exists() else open(archive.with_suffix(""), "rb") as file:
            return content is not None and hashlib.file_digest(file, "sha256").hexdigest() == content
    except (OSError, EOFError, zlib.error):  # not there, or not what it is called: then it is fetched
        return False


def _whole(dataset: str, target: Path, members: Mapping[str, str]) -> bool:
    """Whether a release in one archive is there with the right content, in any of its forms, packed or not.

    Raises
    ------
    InputError
        If it is unpacked and is not: it would be read in place of what is downloaded.
    """
    try:
        found = standing(dataset, target)
    except (CorruptSourceError, EOFError, zlib.error):  # a damaged archive: then it is fetched
        return False
    if found is None:
        return False
    place, digests = found
    wrong = [name for name, digest in digests.items() if members.get(name) != digest]
    if wrong and at(place).is_folder():
        raise InputError(
            "an unpacked release that is not known to be whole would be read in place of what is downloaded",
            where=place,
            expected="the files of the official release, by their md5",
            got=f"other or no {listed(wrong)}",
            run="the same command without --download, to read it as it is; or with it elsewhere",
        )
    return not wrong


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
    """Return the reason of a failure in a line, without the connection objects that urllib3 names before it."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = re.sub(r"^\S*Connection.*?[)>]: ", "", " ".join(str(reason or error).split()))
    return text if len(text) <= 200 else text[:200] + "…"
