"""A conversion of a part of its source: planned, resumed, shared among tasks, verified."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.conversion import agree, workers
from spectral_prep.conversion.agree import agreed
from spectral_prep.conversion.chosen import as_planned
from spectral_prep.conversion.convert import begin, convert
from spectral_prep.conversion.execution import Execution, Task
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError, PlanMismatchError
from spectral_prep.inspection.info import info
from spectral_prep.inspection.show import sheet
from spectral_prep.inspection.verify import verify
from spectral_prep.sources import open_source, related
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_record
from tests.support.releases import write_folder
from tests.support.trees import tree

ALONE = Execution(workers=1)
PHOTOS = Request("folder", "4", size=8, block_rows=6, test_fraction=0.2, limit=40, classes=("dog", "cat"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos", [f"{name}/{i}.png" for name in ("ant", "cat", "dog") for i in range(25)])
    return tmp_path / "photos"


def refuse(*_: object) -> None:
    raise AssertionError("done again")


def test_tasks_that_begin_from_the_catalogue_write_the_bytes_of_one_machine(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tree(convert(PHOTOS, photos, tmp_path / "alone", ALONE).root)
    assert info(tmp_path / "alone").rows == {"train": 32, "test": 8}
    begin(PHOTOS, photos, tmp_path / "shared")
    monkeypatch.setattr(agree, "open_source", refuse)
    for number in range(2):
        convert(PHOTOS, photos, tmp_path / "shared", Execution(Task(number, 2), workers=1))
    assert tree(finalize(tmp_path / "shared").root) == alone


def test_what_was_selected_before_is_gone_on_with_and_no_image_read_for_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = convert(PHOTOS, photos, tmp_path / "out", ALONE)
    expected = tree(whole.root)
    for path in (whole.block(1), whole.manifest):
        path.unlink()
    monkeypatch.setattr(agree, "select", refuse)
    assert tree(convert(PHOTOS, photos, tmp_path / "out", ALONE).root) == expected


@pytest.mark.parametrize(
    ("execution", "threads"),
    [(Execution(workers=3), 3), (Execution(), 6), (Execution(max_memory=80 << 20), 2)],
    ids=["workers", "all", "memory"],
)
def test_as_many_threads_look_for_duplicates_as_are_allowed(
    photos: Path, tmp_path: Path, execution: Execution, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "usable_cpus", lambda: 6)
    monkeypatch.setattr(workers, "memory_limit", lambda: None)
    monkeypatch.setattr(workers, "resident_memory", lambda: 0)
    asked: list[int] = []

    def pool(count: int, name: str) -> ThreadPoolExecutor:
        asked.append(count)
        return ThreadPoolExecutor(count, name)

    monkeypatch.setattr(related, "ThreadPoolExecutor", pool)
    source = open_source("folder", photos, tmp_path / "staging")
    agreed(DatasetPaths(tmp_path / "out"), source, source.index(), PHOTOS, execution=execution)
    assert asked == [threads]


def test_its_images_are_compared_with_those_of_the_source(photos: Path, tmp_path: Path) -> None:
    out = convert(PHOTOS, photos, tmp_path / "out", ALONE)
    source = open_source("folder", photos, tmp_path / "staging")
    found = verify(out.root, lambda plan: as_planned(out, plan, source), deep=True)
    assert verify(out.root, lambda _: source, deep=True) == found, "the plan says which rows of the whole source"
    assert not found.faults
    assert found.pixels is not None
    assert found.pixels.rows == 40
    for given in (source, as_planned(out, read_record(out.plan, Plan), source)):
        error = sheet(out.root, 3, source=given).largest_error
        assert error is not None
        assert error < 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test_fraction": 0.3}, r"test_fraction: 0\.2 there, 0\.3 here"),
        ({"test_fraction": None}, r"test_fraction: 0\.2 there, nothing here"),
        ({"limit": None, "fraction": 0.5}, r"limit: 40 there, nothing here; fraction: nothing there, 0\.5 here"),
        ({"classes": ("cat",)}, r"classes: \['cat', 'dog'\] there, \['cat'\] here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
    ],
)
def test_another_selection_in_one_folder_is_refused_in_a_line(
    photos: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    begin(PHOTOS, photos, tmp_path / "out")
    with pytest.raises(PlanMismatchError, match=rf"other rows of the source.*Got: {said}\. Run next") as caught:
        convert(replace(PHOTOS, **change), photos, tmp_path / "out", ALONE)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


def test_a_plan_without_a_selection_or_a_name_is_what_it_was(tmp_path: Path) -> None:
    paths = convert(Request("digits", "4", dtype="float32"), Path(), tmp_path / "out", ALONE)
    assert read_record(paths.plan, Plan).plan_id == "ab842bbc6752ed5d"
    content = paths.plan.read_bytes()
    assert hashlib.sha256(content).hexdigest() == "84620c2547b786968046e8067bedf6b40cdb427ec9964e5e88b84e267cc76cb0"
    assert not {"selection", "name"} & json.loads(content).keys()


def test_a_set_is_called_after_its_folder_or_as_one_says(photos: Path, tmp_path: Path) -> None:
    request = Request("folder", "4", size=8)
    mine = convert(replace(request, name="mine"), photos, tmp_path / "mine", ALONE)
    its = convert(request, photos, tmp_path / "its", ALONE)
    for out, name in ((mine, "mine"), (its, "photos")):
        assert info(out.root).dataset == name
        assert out.card.read_text().startswith(f"# {name}, 4 spectrals")
        assert not verify(out.root, lambda plan: open_source(plan.dataset, photos, tmp_path / "staging")).faults
    with pytest.raises(PlanMismatchError, match="name: mine there, yours here"):
        convert(replace(request, name="yours"), photos, tmp_path / "mine", ALONE)
    with pytest.raises(InputError, match=r"unusable --name.*Got: \.\./x"):
        replace(request, name="../x")


def test_a_plan_from_before_sets_had_names_is_gone_on_with(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request("folder", "4", size=8)
    with monkeypatch.context() as before:
        before.setattr(agree, "default_name", lambda *_: None)
        begin(request, photos, tmp_path / "out")
    paths = convert(request, photos, tmp_path / "out", ALONE)
    assert read_record(paths.plan, Plan).name is None
    assert info(paths.root).dataset == "folder"


def test_another_source_in_one_folder_is_refused_in_words(photos: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", [f"{name}/{i}.png" for name in ("cat", "emu") for i in range(9)])
    request = Request("folder", "4", size=8)
    begin(request, photos, tmp_path / "out")
    with pytest.raises(PlanMismatchError, match="this is another source") as caught:
        convert(request, tmp_path / "pets", tmp_path / "out", ALONE)
    assert (
        "Got: name: photos in this folder, pets in the source; rows.train: 75 in this folder, 18 in the source; "
        "2 classes only in this folder: ant, dog; 1 classes only in the source: emu. Run next"
    ) in str(caught.value)


def test_a_source_that_differs_in_its_images_alone_is_told_apart(photos: Path, tmp_path: Path) -> None:
    request = Request("folder", "4", size=8)
    convert(request, photos, tmp_path / "out", ALONE)
    (photos / "cat/3.png").rename(photos / "cat/three.png")
    with pytest.raises(PlanMismatchError, match="are alike, but not the images"):
        convert(request, photos, tmp_path / "out", ALONE)
