from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from spectral_prep.conversion import agree
from spectral_prep.conversion.agree import Conversion
from spectral_prep.conversion.catalogue import catalogue_file, open_catalogue, rows_file
from spectral_prep.conversion.convert import begin, convert
from spectral_prep.conversion.execution import Execution, Task
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.tasks import block_tasks
from spectral_prep.engines.processes import Processes
from spectral_prep.errors import CorruptFileError, InputError
from spectral_prep.places import at
from spectral_prep.places.url import Place, Url
from spectral_prep.sources import open_source
from spectral_prep.store.block_groups import block_groups
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.zarr_store import ZarrStore
from spectral_prep.system.staging import KEPT
from tests.support.commands import run
from tests.support.releases import tar_bytes, write_files, write_folder

NAMES = [f"{split}/{label}/{number} é\\.png" for split in ("train", "val") for label in "abc" for number in range(7)]
FOLDER = Request("folder", "4", size=8, block_rows=5, views=1)
TARS = replace(FOLDER, dataset="webdataset")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos", NAMES)
    return tmp_path / "photos"


@pytest.fixture
def tars(tmp_path: Path, photos: Path) -> Path:
    for split in ("train", "val"):
        for number in range(2):
            files = sorted((photos / split).rglob("*.png"))[number::2]
            members = {f"{place:03}.png": file.read_bytes() for place, file in enumerate(files)}
            members |= {f"{place:03}.cls": b"%d" % (place % 3) for place in range(len(files))}
            write_files(tmp_path / "tars", {f"{split}-{number}.tar": tar_bytes(dict(sorted(members.items())))})
    return tmp_path / "tars"


def contents(root: Place) -> dict[str, bytes]:
    return {entry.path: at(root / entry.path).read(1 << 20) for entry in at(root).files()}


def refuse(*_: object) -> None:
    raise AssertionError("the source was opened again")


@pytest.mark.parametrize(("request_", "kind"), [(FOLDER, "photos"), (TARS, "tars")], ids=["folder", "tars"])
def test_tasks_begin_from_the_catalogue_and_give_the_same_bytes(
    request_: Request, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    source = request.getfixturevalue(kind)
    alone = contents(convert(request_, source, tmp_path / "alone").root)
    begin(request_, source, tmp_path / "shared")
    monkeypatch.setattr(agree, "open_source", refuse)
    for number in range(3):
        convert(request_, source, tmp_path / "shared", Execution(Task(number, 3), workers=1))
    assert contents(finalize(tmp_path / "shared").root) == alone
    assert not (tmp_path / "shared" / KEPT).exists()


def test_the_first_task_leaves_it_for_the_others(tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(TARS, tars, tmp_path / "out", Execution(Task(0, 2), workers=1))
    monkeypatch.setattr(agree, "open_source", refuse)
    convert(TARS, tars, tmp_path / "out", Execution(Task(1, 2), workers=1))
    assert DatasetPaths(finalize(tmp_path / "out").root).manifest


def test_a_block_of_the_catalogue_is_that_of_the_source(tars: Path, tmp_path: Path) -> None:
    paths = DatasetPaths(begin(TARS, tars, tmp_path / "out").root)
    blocks = open_catalogue(paths, TARS, tars)
    assert blocks is not None
    source = open_source(TARS.dataset, tars, tmp_path / "staging")
    conversion = Conversion(paths, blocks.plan, source, source.index())
    for expected in block_tasks(conversion, block_groups(blocks.plan)):
        found, split = blocks.task(expected.group), expected.group.split
        assert np.array_equal(found.ids, expected.ids)
        assert np.array_equal(found.labels, expected.labels)
        assert found.names == expected.names
        for row_id, name in zip(found.ids.tolist(), found.names, strict=True):
            assert found.images.read(split, row_id, name) == source.read(split, row_id, name)


@pytest.mark.parametrize(
    "changed", [lambda r: replace(r, seed=1), lambda r: replace(r, size=6), lambda r: replace(r, q="1x2")]
)
def test_it_is_of_one_request_and_one_source(
    photos: Path, tmp_path: Path, changed: Callable[[Request], Request]
) -> None:
    paths = begin(FOLDER, photos, tmp_path / "out")
    assert open_catalogue(paths, FOLDER, photos) is not None
    assert open_catalogue(paths, changed(FOLDER), photos) is None
    assert open_catalogue(paths, FOLDER, photos / "train") is None


def test_what_comes_as_arrays_has_none(tmp_path: Path) -> None:
    request = Request("digits", "4")
    paths = begin(request, Path(), tmp_path / "out")
    assert open_catalogue(paths, request, Path()) is None
    for number in range(2):
        convert(request, Path(), tmp_path / "out", Execution(Task(number, 2), workers=1))
    finalize(tmp_path / "out")


def flipped(content: bytes) -> bytes:
    return content[:9] + bytes([content[9] ^ 1]) + content[10:]


@pytest.mark.parametrize("damage", [flipped, lambda content: content[:-3], lambda content: b""])
def test_damaged_rows_are_named_and_what_to_do(photos: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    paths = begin(FOLDER, photos, tmp_path / "out")
    rows = rows_file(paths, "train")
    assert isinstance(rows, Path)
    rows.write_bytes(damage(rows.read_bytes()))
    with pytest.raises(CorruptFileError, match=rf"the catalogue is damaged.*{KEPT}/train\.rows.*delete it"):
        convert(FOLDER, photos, tmp_path / "out", Execution(Task(0, 1), workers=1))


def test_a_damaged_record_of_it_is_none(photos: Path, tmp_path: Path) -> None:
    paths = begin(FOLDER, photos, tmp_path / "out")
    record: Any = catalogue_file(paths)
    record.write_bytes(flipped(record.read_bytes()))
    assert open_catalogue(paths, FOLDER, photos) is None
    convert(FOLDER, photos, tmp_path / "out")


def test_an_archive_that_changed_since_is_noticed(tars: Path, tmp_path: Path) -> None:
    begin(TARS, tars, tmp_path / "out")
    with open(tars / "train-0.tar", "ab") as file:
        file.write(bytes(512))
    with pytest.raises(Exception, match="an archive has changed since it was indexed"):
        convert(TARS, tars, tmp_path / "out", Execution(Task(0, 2), workers=1))


def test_in_a_bucket_it_is_removed_in_the_end(photos: Path, bucket: Url) -> None:
    paths = begin(FOLDER, photos, bucket / "out")
    assert open_catalogue(paths, FOLDER, photos) is not None
    for number in range(2):
        convert(FOLDER, photos, bucket / "out", Execution(Task(number, 2), workers=1))
    finalize(bucket / "out")
    assert not at(bucket / "out" / KEPT).is_folder()
    assert not [path for path in at(bucket / "out").paths() if KEPT in path]


class Elsewhere(Processes):
    """An engine whose workers may be on other machines."""

    @property
    def elsewhere(self) -> bool:
        return True


@pytest.mark.parametrize("begun", [False, True])
def test_scratch_files_that_other_machines_do_not_see_are_refused_to_the_first_task_and_the_next(
    begun: bool, bucket: Url
) -> None:
    request = Request("digits", "4")
    if begun:
        begin(request, Path(), bucket / "out")
    execution = Execution(Task(0, 2), workers=1, engine=Elsewhere())
    with pytest.raises(InputError, match=r"read through scratch files, which lie on this machine alone"):
        convert(request, Path(), bucket / "out", execution)


def test_begin_refuses_what_has_no_room_and_says_what_all_takes(photos: Path, tmp_path: Path) -> None:
    line = f"spectral-prep begin --dataset folder --source {photos} --q 4 --size 8 --out {tmp_path / 'out'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectral_prep.conversion.estimate._free", lambda out: 10)
        assert "--no-space-check" in run(line).err
        assert not (tmp_path / "out/plan.json").exists()
        begun = run(f"{line} --no-space-check --workers 3")
    assert (begun.code, begun.out.split(":")[0]) == (0, "Begun")
    assert "of memory with 3 workers" in begun.err
    assert "one worker does not fit" in run(f"{line.replace('/out', '/less')} --max-memory 1M").err


def test_labels_are_compressed_once_for_all_spectrals(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(FOLDER, photos, tmp_path / "out", Execution(Task(0, 1), workers=1))
    made = Mock(side_effect=ZarrStore.label_files)
    monkeypatch.setattr(ZarrStore, "label_files", lambda *arguments: made(*arguments))
    root = finalize(tmp_path / "out").root
    assert made.call_count == 1
    contents_ = [(root / f"spectral-{k:02d}/train/id/c/0").read_bytes() for k in range(4)]
    assert len(set(contents_)) == 1
