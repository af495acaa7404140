"""A block's files and sums are the same however many images are transformed, and however many blocks made, at once."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from spectral_prep.choices import Storage
from spectral_prep.conversion import block
from spectral_prep.conversion.convert import begin, convert
from spectral_prep.conversion.execution import Execution, Task
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.memory import GPU_BATCHES
from spectral_prep.conversion.request import Request
from spectral_prep.errors import CorruptSourceError
from spectral_prep.images import decode
from spectral_prep.kernel.stream import IN_FLIGHT, split_stream
from spectral_prep.store import block_groups, plan_record
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import Manifest
from tests.support.releases import write_folder
from tests.support.trees import tree


@pytest.mark.parametrize(("dtype", "views"), [("int8", 0), ("float32", 1)])
def test_a_gpu_is_given_more_images_at_once_and_makes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Storage, views: int
) -> None:
    """A processor stands for the GPU, three batches behind what it is given; its batches are counted."""
    monkeypatch.setattr(plan_record, "BATCH_VALUES", 64 * 25)
    request = Request("digits", "4", dtype=dtype, block_rows=600, views=views)
    whole = tree(convert(request, Path(), tmp_path / "cpu").root)
    sizes: list[int] = []

    def on_cpu(batches: Iterator[Tensor], spec: Any, encoding: Any, device: str, turn: int) -> Iterator[Tensor]:
        under_way: deque[Tensor] = deque()
        for stored_QNChw in stream(batches, spec, encoding, "cpu"):
            sizes.append(stored_QNChw.shape[1])
            under_way.append(stored_QNChw)
            if len(under_way) == IN_FLIGHT:
                yield under_way.popleft()
        yield from under_way

    stream = split_stream
    monkeypatch.setattr(block, "chosen_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr(block, "split_stream", on_cpu)
    assert tree(convert(request, Path(), tmp_path / "gpu").root) == whole
    assert max(sizes) == 25 * GPU_BATCHES


IMAGES = 12
PHOTOS = Request("folder", "4", size=8, resize=10, dtype="float16", views=3, block_rows=5)
BAD = ("a/3.jpg", "b/8.jpg")
SKIP = Execution(workers=1, on_error="skip", device="cpu", space_check=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of images of one size, larger than is wanted, and a test image."""
    root = tmp_path_factory.mktemp("photos")
    names = [f"train/{'ab'[number // 6]}/{number}.jpg" for number in range(IMAGES)]
    write_folder(root, [*names, "val/a/0.jpg"], (14, 17))
    return root


@pytest.fixture
def damaged(photos: Path, tmp_path: Path) -> Path:
    """The same, but for two that are none: one truncated, one of other bytes."""
    shutil.copytree(photos, tmp_path / "damaged")
    truncated, other = (tmp_path / "damaged/train" / name for name in BAD)
    truncated.write_bytes(truncated.read_bytes()[:-200])
    other.write_bytes(b"\xff\xd8\xff and nothing else")
    return tmp_path / "damaged"


def one_at_a_time(patch: pytest.MonkeyPatch) -> None:
    """Have each block made by itself, as if there were no views."""
    patch.setattr(block_groups, "MOST_OPEN_FILES", 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"block_rows": 5},
        {"block_rows": 7, "format": "webdataset", "dtype": "int8", "augmentation": "shift"},
        {"block_rows": 17, "shuffle": "none", "dtype": "float32"},  # more rows than images
    ],
    ids=str,
)
def test_blocks_made_together_have_the_bytes_of_blocks_made_alone(
    changed: dict[str, Any], damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_record, "BATCH_VALUES", 3 * 8 * 8 * 3)  # batches of three images
    request = replace(PHOTOS, **changed)
    paths = convert(request, damaged, tmp_path / "together", SKIP)
    together = tree(paths.root)
    one_at_a_time(monkeypatch)
    assert tree(convert(request, damaged, tmp_path / "alone", SKIP).root) == together
    bad = read_record(paths.manifest, Manifest).bad_rows
    assert sorted(row.name for row in bad) == sorted(4 * BAD)


def test_bad_images_are_refused_in_the_same_words_and_other_blocks_are_kept(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, kept = [], []
    for out in (tmp_path / "together", tmp_path / "alone"):
        with pytest.raises(CorruptSourceError, match="8 images cannot be converted") as caught:
            convert(PHOTOS, damaged, out, replace(SKIP, on_error="fail"))
        refused.append(str(caught.value).replace(out.name, "out"))
        kept.append(tree(out))
        one_at_a_time(monkeypatch)
    assert refused[0] == refused[1]
    assert kept[0] == kept[1]
    assert any(name.startswith("blocks/") for name in kept[0])


def decoding(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Count the image files that are decoded."""
    counted = Mock(side_effect=decode.decode)
    monkeypatch.setattr(decode, "decode", counted)
    return counted


@pytest.mark.parametrize(("block_rows", "most"), [(4, IMAGES), (5, 2 * IMAGES)])
def test_an_image_is_decoded_once_where_blocks_hold_the_same_images_and_twice_at_most(
    block_rows: int, most: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By tasks that begin from the catalogue: nothing is decoded to see how long it will take."""
    request = replace(PHOTOS, block_rows=block_rows)
    begin(request, photos, tmp_path / "shared")
    counted = decoding(monkeypatch)
    for number in range(2):
        convert(request, photos, tmp_path / "shared", replace(SKIP, task=Task(number, 2)))
    assert IMAGES < counted.call_count <= most + 1  # and the test image
    one_at_a_time(monkeypatch)
    assert tree(finalize(tmp_path / "shared").root) == tree(convert(request, photos, tmp_path / "alone", SKIP).root)


def test_what_is_there_of_a_group_is_not_made_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks 0, 3, 5 and 8 begin at images 0, 3, 1 and 4: a group. One that ended early has the first and the last."""
    out = tmp_path / "out"
    whole = tree(convert(PHOTOS, photos, out, SKIP).root)
    for number in (3, 5):
        DatasetPaths(out).block(number).unlink()
    begun = {path: path.stat().st_mtime_ns for path in out.glob("*/train/x/c/[08]/*/*/*")}
    counted = decoding(monkeypatch)
    told: list[int] = []
    execution = replace(SKIP, task=Task(0, 3))
    convert(PHOTOS, photos, out, execution, lambda found: told.append(sum(found.done.values())))
    assert counted.call_count == 7
    assert len(told) == 3  # at the start, and after each block
    assert tree(finalize(out).root) == whole
    assert len(begun) == 4 * 2
    assert {path: path.stat().st_mtime_ns for path in begun} == begun
