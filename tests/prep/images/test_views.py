"""Views are what their recipe says, the same for every run, and every shard holds the same view in the same row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError
from spectral_prep.images.augmentations import AUGMENTATIONS, ViewKind
from spectral_prep.images.load import Geometry, load
from spectral_prep.images.views import choose_augmentation, load_view
from spectral_prep.inspection.show import sheet
from spectral_prep.inspection.verify import verify
from spectral_prep.sources import open_source
from spectral_prep.store.record_file import decoded, plain, read_record
from spectral_prep.store.records import SpectralRecord
from spectral_train.data.order import positions_of
from spectral_train.data.shard import open_shard, read_labels
from spectral_train.recipe.recipe import Recipe
from spectral_train.training.network import partition_rows
from tests.support.releases import encoded, random_images, write_files
from tests.support.trees import tree

SIZE = Geometry(16, 16, 3)


def places(image: np.ndarray, view: np.ndarray) -> set[tuple[int, int, bool]]:
    """Return every (shift down, shift right, mirrored) that makes the view from the image, zeros coming in."""
    found = set()
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    for down in range(9):
        for right in range(9):
            cut = padded[8 - down :, 8 - right :][:16, :16]
            found |= {
                (down - 4, right - 4, flip) for flip in (False, True) if np.array_equal(cut[:, :: 1 - 2 * flip], view)
            }
    return found


def test_shift_and_flip_move_the_image_by_every_amount_and_mirror_half_of_the_views() -> None:
    image = random_images(16, 16, 3)
    seen = [places(image, load_view(image, SIZE, AUGMENTATIONS["shift-flip"], (0, 3, view))) for view in range(1, 400)]
    assert all(len(each) == 1 for each in seen)
    moves = [move for each in seen for move in each]
    assert {down for down, _, _ in moves} == {right for _, right, _ in moves} == set(range(-4, 5))
    assert 0.4 < np.mean([flip for _, _, flip in moves]) < 0.6


def test_shift_alone_never_mirrors() -> None:
    image = random_images(16, 16, 3)
    seen = [places(image, load_view(image, SIZE, AUGMENTATIONS["shift"], (0, 3, view))) for view in range(1, 60)]
    assert {(abs(down) <= 2, abs(right) <= 2, flip) for each in seen for down, right, flip in each} == {
        (True, True, False)
    }


def test_crops_take_the_wanted_share_of_the_area_at_the_wanted_ratio() -> None:
    rows, columns = np.mgrid[0:200, 0:300]
    image = np.stack([rows, columns * 255 // 300, 0 * rows], 2).astype(np.uint8)  # a pixel tells where it was
    shares, ratios = [], []
    for view in range(1, 300):
        cut = load_view(image, Geometry(64, 64, 3, 64), AUGMENTATIONS["crop"], (0, 0, view)).astype(float)
        down = abs(cut[-1, 32, 0] - cut[0, 32, 0]) * 64 / 63
        across = abs(cut[32, -1, 1] - cut[32, 0, 1]) * 64 / 63 * 300 / 255
        shares.append(down * across / image[..., 0].size)
        ratios.append(across / down)
    assert 0.06 < min(shares) < 0.12
    assert 0.8 < max(shares) < 1.03
    assert min(ratios) == pytest.approx(3 / 4, rel=0.08)
    assert max(ratios) == pytest.approx(4 / 3, rel=0.08)


@pytest.mark.parametrize("shape", [(1, 400), (400, 1), (1, 1)])
def test_an_image_too_narrow_for_any_crop_is_still_cropped(shape: tuple[int, int]) -> None:
    image = random_images(*shape, 3)
    assert load_view(image, Geometry(8, 8, 3, 8), AUGMENTATIONS["crop"], (0, 0, 1)).shape == (8, 8, 3)


def test_a_view_depends_on_seed_row_and_number_alone() -> None:
    raw = encoded(random_images(40, 60, 3), "PNG")
    geometry, crop = Geometry(16, 16, 3, 20), AUGMENTATIONS["crop"]
    one = load_view(raw, geometry, crop, (1, 2, 3))
    assert np.array_equal(one, load_view(raw, geometry, crop, (1, 2, 3)))
    assert all(
        not np.array_equal(one, load_view(raw, geometry, crop, key)) for key in ((0, 2, 3), (1, 0, 3), (1, 2, 4))
    )
    assert np.array_equal(load_view(raw, geometry, crop, (1, 2, 0)), load(raw, geometry))


@pytest.mark.parametrize(
    ("geometry", "name"),
    [(Geometry(28, 28, 1), "shift"), (Geometry(32, 32, 3), "shift-flip"), (Geometry(224, 224, 3, 256), "crop")],
)
def test_without_a_name_the_images_decide(geometry: Geometry, name: str) -> None:
    assert choose_augmentation(None, geometry) is AUGMENTATIONS[name]


@pytest.mark.parametrize(("name", "says"), [("blur", "crop, light-crop"), ("shift-flip", "too little")])
def test_what_cannot_be_done_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        choose_augmentation(name, Geometry(8, 8, 3))
    with pytest.raises(InputError, match="--views 4"):
        Request("digits", "4", augmentation="shift")


def test_an_augmentation_survives_its_record() -> None:
    for each in AUGMENTATIONS.values():
        assert decoded(ViewKind, plain(each), Path(), "it") == each


@pytest.fixture(scope="module")
def with_views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("views") / "digits"
    convert(Request("digits", "4", dtype="float16", views=2, block_rows=700), Path(), out)
    return out


def test_views_are_further_rows_with_the_same_ids_and_labels(with_views: Path) -> None:
    labels = read_labels(open_shard(with_views, 1).folders, "train")
    assert (len(labels.y), labels.views) == (3 * 1438, 3)
    assert all(np.array_equal(third, labels.ids[:1438]) for third in np.split(labels.ids, 3))
    assert all(torch.equal(third, labels.y[:1438]) for third in labels.y.chunk(3))
    assert len(read_labels(open_shard(with_views, 1).folders, "test").y) == 359


def test_every_row_is_its_view_of_its_image(with_views: Path, tmp_path: Path) -> None:
    source = open_source("digits", Path(), tmp_path)
    for row in (5, 1438 + 5, 2 * 1438 + 5):
        shown = sheet(with_views, row, source=source)
        image = source.read("train", shown.row_id, shown.name)
        view = load_view(image, Geometry(8, 8, 1), AUGMENTATIONS["shift"], (0, shown.row_id, row // 1438))
        assert np.array_equal(shown.merged, view)
    found = verify(with_views, lambda _: source)
    assert found.pixels is not None
    assert (found.faults, found.pixels.exact_rows) == ((), found.pixels.rows)


def test_the_first_view_is_the_data_set_without_views(with_views: Path, tmp_path: Path) -> None:
    convert(Request("digits", "4", dtype="float16"), Path(), tmp_path / "plain")
    assert np.array_equal(sheet(with_views, 7).spectrum, sheet(tmp_path / "plain", 7).spectrum)


def test_views_are_the_same_bytes_from_any_number_of_workers(with_views: Path, tmp_path: Path) -> None:
    request = Request("digits", "4", dtype="float16", views=2, block_rows=700)
    convert(request, Path(), tmp_path / "d", Execution(workers=2))
    assert tree(tmp_path / "d") == tree(with_views)


def test_an_epoch_trains_on_one_view_of_each_image_and_held_out_rows_are_plain(with_views: Path) -> None:
    labels = read_labels(open_shard(with_views, 0).folders, "train")
    partition = partition_rows(labels, Recipe())
    assert (partition.held_out < 1438).all()
    seen = [positions_of(partition.training, number) for number in range(3)]
    assert [set(positions // 1438) for positions in seen] == [{0}, {1}, {2}]
    trained = [set(labels.ids[positions]) for positions in seen]
    assert trained[0] == trained[1] == trained[2] == set(range(1438)) - set(labels.ids[partition.held_out])
    assert np.array_equal(positions_of(partition.training, 3), seen[0])


def test_an_image_of_another_size_is_bad_in_all_its_views(tmp_path: Path) -> None:
    """Without a resize a crop could be cut from it, and its rows would hold values beside the label −1."""
    files = {f"train/a/{number:02}.png": encoded(np.full((16, 16, 3), number, np.uint8)) for number in range(79)}
    files["train/a/odd.png"] = encoded(np.full((24, 24, 3), 200, np.uint8))
    write_files(tmp_path / "set", files)
    request = Request("folder", "4", views=1, augmentation="crop", seed=16)  # whose size sample misses it
    out = convert(request, tmp_path / "set", tmp_path / "out", Execution(on_error="skip"))
    assert not verify(out.root, deep=True).faults
    record = read_record(out.spectral(0).record, SpectralRecord)
    assert record.splits["train"].bad_rows == 2
