"""ImageNet-21K: which release it is, what its archives hold, and compressed archives read in their order."""

from __future__ import annotations

import gzip
import os
import pickle
import random
from pathlib import Path

import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution, Task
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.sources import gzip_tar, imagenet21k, open_source
from spectral_prep.sources.interface import Source
from tests.support.releases import class_tars, imagenet_files, tar_bytes, write_files
from tests.support.trees import tree

FILES, _ = imagenet_files(train=4)
SHUFFLED = dict(random.Random(0).sample(sorted(FILES.items()), len(FILES)))
WINTER = tar_bytes({f"winter21_whole/{name}": content for name, content in class_tars(SHUFFLED).items()})


def opened(path: Path) -> Source:
    return open_source("imagenet21k", path, path.parent / f"{path.name}-staging")


def contents(source: Source) -> dict[str, bytes]:
    names = source.index()["train"].names
    return {name: bytes(source.read("train", row, name)) for row, name in enumerate(names)}


def zipped_release(folder: Path, content: bytes = WINTER) -> Path:
    write_files(folder, {"winter21_whole.tar.gz": gzip.compress(content, mtime=0)})
    return folder / "winter21_whole.tar.gz"


LAYOUTS = {
    "fall11_whole.tar": {"fall11_whole.tar": tar_bytes(class_tars(SHUFFLED))},
    "of class folders": {"fall11_whole.tar": tar_bytes({f"fall11_whole/{name}": FILES[name] for name in SHUFFLED})},
    "class tars": {f"fall11_whole/{name}": content for name, content in class_tars(SHUFFLED).items()},
    "class folders": {f"fall11_whole/{name}": content for name, content in FILES.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_a_release_gives_the_same_rows(tmp_path: Path, layout: str) -> None:
    expected = opened(write_files(tmp_path / "fall11_plain", {f"train/{name}": FILES[name] for name in FILES}))
    source = opened(write_files(tmp_path / "data", LAYOUTS[layout]))
    assert contents(source) == FILES
    assert source.fingerprint == expected.fingerprint
    assert source.release == expected.release == "fall11"
    assert source.random_access


def test_a_compressed_release_keeps_its_order_and_is_never_unpacked(tmp_path: Path) -> None:
    source = pickle.loads(pickle.dumps(opened(zipped_release(tmp_path).parent)))  # noqa: S301
    assert not source.random_access
    assert source.release == "winter21"
    stored = [name for label in class_tars(SHUFFLED) for name in SHUFFLED if name.startswith(label[:-4])]
    assert list(source.index()["train"].names) == stored
    assert contents(source) == FILES


@pytest.fixture
def close_seek_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_tar, "CLOSEST_SEEK_POINTS", 1 << 16)


@pytest.mark.usefixtures("close_seek_points")
def test_any_row_of_a_large_compressed_archive_can_be_the_first(tmp_path: Path) -> None:
    noise = random.Random(1)
    files = {f"n{label:08}/{number}.JPEG": noise.randbytes(9000) for label in range(4) for number in range(60)}
    source = opened(zipped_release(tmp_path, tar_bytes(class_tars(files))))
    points = next((tmp_path / "winter21_whole.tar.gz-staging").glob("*.seekpoints"))
    assert 20 * 32768 < points.stat().st_size < 1 << 21
    names = source.index()["train"].names
    for row in [200, 201, 202, 3, 239, 0]:
        assert source.read("train", row, names[row]) == files[names[row]]


def test_a_compressed_release_is_converted_in_its_order_by_any_number_of_workers(tmp_path: Path) -> None:
    path = zipped_release(tmp_path / "data")
    with pytest.raises(InputError, match="--shuffle none"):
        convert(Request("imagenet21k", "4", size=16), path, tmp_path / "refused")
    request = Request("imagenet21k", "4", size=16, block_rows=4, shuffle="none")
    outs = [convert(request, path, tmp_path / f"out{workers}", Execution(workers=workers)).root for workers in (1, 2)]
    assert tree(outs[0]) == tree(outs[1])


def test_the_passes_over_a_compressed_release_are_made_once_for_all_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = zipped_release(tmp_path / "data"), tmp_path / "out"
    request = Request("imagenet21k", "4", size=16, block_rows=4, shuffle="none")
    whole = tree(convert(request, path, tmp_path / "whole").root)
    convert(request, path, out, Execution(Task(0, 2)))
    (points,) = out.glob(".staging-*/*.seekpoints")
    made = points.stat().st_ino
    monkeypatch.setattr(gzip_tar, "zipped_members", lambda *_: pytest.fail("read again"))
    convert(request, path, out, Execution(Task(1, 2)))
    assert points.stat().st_ino == made
    os.utime(path, (0, 0))  # as if it were another
    with pytest.raises(pytest.fail.Exception, match="read again"):
        convert(request, path, out)
    assert tree(finalize(out).root) == whole


@pytest.mark.parametrize(("keep", "message"), [(2000, "truncated"), (-5, "truncated gzip")])
def test_a_truncated_compressed_release(tmp_path: Path, keep: int, message: str) -> None:
    path = zipped_release(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptSourceError, match=rf"{message}.*winter21_whole\.tar\.gz"):
        opened(path)


def test_a_flipped_byte_in_a_compressed_release(tmp_path: Path) -> None:
    path = zipped_release(tmp_path)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in its checksum: nothing else would tell
    path.write_bytes(content)
    with pytest.raises(CorruptSourceError, match="damaged gzip"):
        opened(path)


def test_a_compressed_release_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = zipped_release(tmp_path)
    source = opened(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="changed since it was indexed"):
        source.read("train", 0, source.index()["train"].names[0])


def test_the_release_is_known_by_the_number_of_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet21k, "CLASSES", {"winter21": 2, "fall11": 4})
    source = opened(write_files(tmp_path / "any name", {**class_tars(FILES), "n09999999.tar": tar_bytes({})}))
    assert source.release == "fall11"
    assert source.classes[-1] == "n09999999"  # without an image: labels are those of the whole release
    assert opened(write_files(tmp_path / "part", class_tars(FILES))).release is None


def test_images_held_out_in_val_are_the_test_rows(tmp_path: Path) -> None:
    names = list(FILES)
    write_files(tmp_path / "train", {name: FILES[name] for name in names[2:]})
    write_files(tmp_path / "val", {name: FILES[name] for name in names[:2]})
    index = opened(tmp_path).index()
    assert sorted(index["test"].names) == sorted(names[:2])
    assert len(index["train"].names) == len(names) - 2


def test_nothing_of_the_release(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"winter21_whole\.tar\.gz.*Got: notes\.txt"):
        opened(tmp_path)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "indexed_gzip", None)
    with pytest.raises(InputError, match=r"spectral-shards\[gzip\]"):
        opened(zipped_release(tmp_path))
