from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from spectral_prep.choices import Format
from spectral_prep.errors import CorruptFileError, InputError
from spectral_prep.places import at, atomic_write
from spectral_prep.places.cache import Cache
from spectral_prep.places.url import Url
from spectral_prep.store import cache as cached
from spectral_prep.store.cache import clean, copies, fetched
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord


@pytest.fixture
def folders(bucket_folder: Url, _digits_once: Callable[[Format], Path], monkeypatch: pytest.MonkeyPatch) -> list[Url]:
    """The four spectral folders of digits in a bucket; locks of copies are let go of between tests."""
    monkeypatch.setattr(cached, "_HELD", {})
    digits = _digits_once("zarr")
    for path in digits.glob("spectral-*/**/*"):
        if path.is_file():
            atomic_write(bucket_folder / path.relative_to(digits).as_posix(), path.read_bytes())
    return [bucket_folder / f"spectral-0{k}" for k in range(4)]


def record_of(root: Url) -> SpectralRecord:
    return read_record(root / "spectral.json", SpectralRecord)


def fetch(root: Url, cache: Cache) -> Path:
    return fetched(root, record_of(root), cache)


def let_go() -> None:
    """End the use of all copies, as the end of the process does."""
    for descriptor in cached._HELD.values():
        os.close(descriptor)
    cached._HELD.clear()


def contents(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in at(folder).paths() if path != cached.FETCH_LOCK}


def test_a_copy_has_every_file_of_the_folder(folders: list[Url], tmp_path: Path) -> None:
    folder = fetch(folders[1], Cache(tmp_path))
    assert contents(folder) == {
        entry.path: at(folders[1] / entry.path).read(1 << 20) for entry in at(folders[1]).files()
    }
    assert [copy.path for copy in copies(Cache(tmp_path))] == [folder]


def test_what_is_there_is_not_fetched_again(
    folders: list[Url], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, record = fetch(folders[0], Cache(tmp_path)), record_of(folders[0])
    for entry in list(at(folders[0]).files()):
        at(folders[0] / entry.path).remove()
    assert fetched(folders[0], record, Cache(tmp_path)) == first


def test_a_fetch_that_was_stopped_goes_on(folders: list[Url], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_one, asked = cached._fetch, []

    def stopping(root: Url, folder: Path, entry: object) -> None:
        asked.append(entry)
        if len(asked) == 3:
            raise KeyboardInterrupt
        fetch_one(root, folder, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(cached, "_fetch", stopping)
    monkeypatch.setattr(cached, "FETCHED_AT_ONCE", 1)
    with pytest.raises(KeyboardInterrupt):
        fetch(folders[0], Cache(tmp_path))
    there = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert "spectral.json" not in there  # written last: it means whole
    asked.clear()

    def counting(root: Url, folder: Path, entry: object) -> None:
        asked.append(entry)
        fetch_one(root, folder, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(cached, "_fetch", counting)
    assert contents(fetch(folders[0], Cache(tmp_path)))
    assert len(asked) < len(record_of(folders[0]).files)


def test_what_the_disk_has_damaged_is_fetched_again(folders: list[Url], tmp_path: Path) -> None:
    folder = fetch(folders[0], Cache(tmp_path))
    whole = contents(folder)
    part = folder / "train/x/c/0/0/0/0"
    content = bytearray(part.read_bytes())
    content[7] ^= 1
    part.write_bytes(content)
    assert contents(fetch(folders[0], Cache(tmp_path))) == whole


@pytest.mark.parametrize("change", ["changed", "longer", "missing"])
def test_an_object_that_is_not_as_listed_is_refused_and_never_gets_its_name(
    folders: list[Url], tmp_path: Path, change: str
) -> None:
    part = folders[0] / "train/x/c/0/0/0/0"
    content = at(part).read(1 << 20)
    if change == "missing":
        at(part).remove()
    else:
        atomic_write(part, content[:-1] + b"?" if change == "changed" else content + content)
    with pytest.raises(CorruptFileError, match=r"not what its record vouches for.*s3://.*train/x/c/0/0/0/0"):
        fetch(folders[0], Cache(tmp_path))
    assert not list(tmp_path.rglob("train/x/c/0/0/0/0"))
    assert not list(tmp_path.rglob("spectral.json"))


def test_the_copy_that_was_used_longest_ago_goes_first_and_none_in_use(folders: list[Url], tmp_path: Path) -> None:
    size = sum(entry.size for entry in at(folders[0]).files())
    cache = Cache(tmp_path, most_bytes=int(2.5 * size))
    first, second = fetch(folders[0], cache), fetch(folders[1], cache)
    let_go()
    os.utime(first, (1, 1))
    third = fetch(folders[2], cache)
    assert {copy.path for copy in copies(cache)} == {second, third}
    assert sum(copy.size for copy in copies(cache)) <= cache.most_bytes  # type: ignore[operator]
    with open(second / "spectral.json", "rb"):
        descriptor = os.open(second, os.O_RDONLY)  # another process trains on it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with pytest.raises(InputError, match=r"the cache has no room for this shard.*--cache-size"):
            fetch(folders[3], cache)
    finally:
        os.close(descriptor)
    assert {second, third} <= {copy.path for copy in copies(cache)}


def test_a_cache_too_small_for_one_shard_says_so(folders: list[Url], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no room.*--no-cache"):
        fetch(folders[0], Cache(tmp_path, most_bytes=1000))


def test_cleaning_takes_only_what_was_fetched(folders: list[Url], tmp_path: Path) -> None:
    folder = fetch(folders[0], Cache(tmp_path))
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    assert clean(Cache(tmp_path)) == []  # this process uses it
    let_go()
    assert [copy.path for copy in clean(Cache(tmp_path))] == [folder]
    assert set(at(tmp_path).paths()) == {f"{folder.name}/notes.txt", "other/file"}


def test_two_processes_fetch_a_folder_once(folders: list[Url], tmp_path: Path, python: str) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.prep.store.test_cache import Cache, cached, fetch\n"
        "from spectral_prep.places.url import place_of\n"
        "one, count = cached._fetch, []\n"
        "cached._fetch = lambda *each: (count.append(1), one(*each))\n"
        "fetch(place_of(sys.argv[1]), Cache(Path(sys.argv[2])))\n"
        "print(len(count))\n"
    )
    arguments = [python, "-c", program, str(folders[0]), str(tmp_path)]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(process.communicate(timeout=120)[0]) for process in both]
    assert sum(counts) == len(record_of(folders[0]).files)


def test_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPECTRAL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache().folder == tmp_path / "spectral-shards"
    monkeypatch.setenv("SPECTRAL_CACHE", str(tmp_path / "elsewhere"))
    assert Cache().folder == tmp_path / "elsewhere"
    assert Cache(tmp_path / "said").folder == tmp_path / "said"
    assert copies(Cache(tmp_path / "none")) == []


def test_a_record_in_the_cache_is_the_one_in_the_bucket(folders: list[Url], tmp_path: Path) -> None:
    folder = fetch(folders[2], Cache(tmp_path))
    assert (folder / "spectral.json").read_bytes() == at(folders[2] / "spectral.json").read(1 << 20)
    assert DatasetPaths(tmp_path).spectrals() == ()  # named after its data set, not as a part of one
