import functools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from spectral_prep.choices import Format, Storage
from spectral_prep.encoding import decode, encode
from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError, SpectralError
from spectral_prep.spectrum import SpectralSpec, split
from spectral_prep.store.record_file import read_content, write_content
from spectral_train.data.grouping import DEFAULT_CHOICE, ShardChoice
from spectral_train.data.shard import check_files, find_data, open_shard, open_shards
from spectral_train.run.paths import RunPaths
from tests.support.runs import QUICK, equal_weights, make_run
from tests.support.shards import CLASSES, Stored, draw, make_shards, stored

SPEC = SpectralSpec(2, 2)
TRAIN, TEST = draw(300, channels=3), draw(100, channels=3, seed=1)
FORMATS: tuple[Format, ...] = get_args(Format)


@pytest.fixture(scope="module", params=FORMATS)
def format(request: pytest.FixtureRequest) -> Format:
    found: Format = request.param
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Path]:
    @functools.cache
    def made(format: Format) -> Path:
        root = tmp_path_factory.mktemp(format) / "shapes-q4"
        return make_shards(root, train=TRAIN, test=TEST, spec=SPEC, format=format)

    return made


@pytest.fixture
def whole(made: Callable[[Format], Path], format: Format) -> Path:
    """In this format, made once: tests take turns at formats."""
    return made(format)


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "shapes-q4"))


def read(data: Path, shard: int = 0, choice: ShardChoice = DEFAULT_CHOICE) -> dict[str, Stored]:
    opened = open_shard(data, shard, choice)
    for folder in opened.folders:
        check_files(folder)
    return {name: stored(opened, name) for name in ("train", "test")}


def test_a_shard_is_read_as_it_is_stored(whole: Path) -> None:
    shard = open_shard(whole, 3)
    assert (shard.spectrals, shard.shards, shard.input_shape) == ((3,), 4, (3, 4, 4))
    assert shard.classes == CLASSES
    for name, images in (("train", TRAIN), ("test", TEST)):
        rows = stored(shard, name)
        expected = encode(split(torch.from_numpy(images.pixels[rows.ids]), SPEC), shard.encoding)[3]
        assert rows.x.dtype == torch.int8
        assert torch.equal(rows.x, expected)
        assert rows.y.tolist() == images.labels[rows.ids].tolist()
        assert sorted(rows.ids) == list(range(len(images.labels)))


def test_several_spectrals_become_channels_in_order(whole: Path) -> None:
    shard = open_shard(whole, 1, ShardChoice(2, common=(0,)))
    rows = stored(shard, "train")
    assert shard.spectrals == (0, 2, 3)
    assert rows.x.shape == (300, 9, 4, 4)
    for g, k in enumerate(shard.spectrals):
        assert torch.equal(rows.x[:, 3 * g : 3 * g + 3], stored(open_shard(whole, k), "train").x)


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_what_the_network_sees_has_mean_zero_and_deviation_one(tmp_path: Path, dtype: Storage) -> None:
    shard = open_shard(make_shards(tmp_path, train=TRAIN, dtype=dtype), 0, ShardChoice(2))
    rows = stored(shard, "train")
    assert rows.x.dtype == getattr(torch, dtype)
    seen = shard.standardise(rows.x)
    assert seen.mean((0, 2, 3)).abs().max() < 1e-4
    assert (seen.std((0, 2, 3)) - 1).abs().max() < 1e-4


def test_shard_decodes_to_the_spectrum(whole: Path) -> None:
    shard = open_shard(whole, 0, ShardChoice(1))
    rows = stored(shard, "test")
    stored_QNChw = torch.unflatten(rows.x, 1, (4, 3)).transpose(0, 1)
    exact = split(torch.from_numpy(TEST.pixels[rows.ids]), SPEC)
    step = torch.tensor(shard.encoding.scale_factor).view(-1, 1, 1, 1, 1)
    inside = stored_QNChw.abs() < 127
    error = (decode(stored_QNChw, shard.encoding) - exact).abs() / step
    assert error[inside].max() <= 0.501


def test_one_folder_copied_alone_is_enough(whole: Path, tmp_path: Path) -> None:
    expected = read(whole, 3)["train"].x
    shutil.copytree(whole / "spectral-03", tmp_path / "node" / "spectral-03")
    assert torch.equal(read(tmp_path / "node", 3)["train"].x, expected)
    assert torch.equal(read(tmp_path / "node" / "spectral-03", 3)["train"].x, expected)
    shutil.copytree(whole / "spectral-03", tmp_path / "renamed")
    assert torch.equal(read(tmp_path / "renamed", 3)["train"].x, expected)


def test_a_missing_folder_is_named(data: Path) -> None:
    shutil.rmtree(data / "spectral-02")
    assert read(data, 0, ShardChoice(2))
    with pytest.raises(InputError, match="no spectral-02"):
        open_shard(data, 1, ShardChoice(2))
    with pytest.raises(InputError, match="no spectral-02"):
        open_shard(data / "spectral-03", 2)


def test_all_shards_miss_all_folders_that_are_not_here(data: Path) -> None:
    for name in ("spectral-00", "spectral-02", "spectral-03"):
        shutil.rmtree(data / name)
    told = r"missing 3 of the 4 .*Got: no spectral-00, spectral-02, spectral-03\. Run next: .* with --shard 1, "
    for place in (data, data / "spectral-01"):
        with pytest.raises(InputError, match=told):
            open_shards(place)
    with pytest.raises(InputError, match=rf"missing 3 of the 4.*Run next: copy .* into {data}, then the same command$"):
        open_shards(data, ShardChoice(2))
    assert open_shard(data, 1).spectrals == (1,)


def test_a_common_spectral_belongs_beside_the_one_that_was_given(data: Path, tmp_path: Path) -> None:
    choice, alone = ShardChoice(common=(0,)), tmp_path / "node" / "spectral-01"
    shutil.copytree(data / "spectral-01", alone)
    copied = rf"Run next: copy spectral-00 .* into {alone.parent}, then the same command with --data {alone.parent}$"
    with pytest.raises(InputError, match=copied):
        open_shard(alone, 1, choice)
    shutil.copytree(data / "spectral-00", alone.parent / "spectral-00")
    with pytest.raises(InputError, match=rf"Run next: the same command with --data {alone.parent}$"):
        open_shard(alone, 1, choice)
    assert open_shard(alone.parent, 1, choice).spectrals == (0, 1)


def test_a_damaged_record_of_another_shard_does_no_harm(data: Path) -> None:
    (data / "spectral-00" / "spectral.json").write_text("{}")
    assert read(data, 3)


def test_a_shard_that_does_not_exist_is_refused(whole: Path) -> None:
    with pytest.raises(InputError, match=r"--shard 99 does not exist.*0 to 3"):
        open_shard(whole, 99)
    with pytest.raises(InputError, match="one of 1, 2, 4"):
        open_shard(whole, 0, ShardChoice(3))


FILES: dict[Format, list[str]] = {
    "zarr": [
        "zarr.json",
        "train/x/c/2/0/0/0",
        *(f"{split}/{name}" for split in ("train", "test") for name in ("x/c/0/0/0/0", "y/c/0", "id/c/0")),
        *(f"{split}/{name}zarr.json" for split in ("train", "test") for name in ("", "x/", "y/")),
    ],
    "webdataset": [
        "train-00002.tar",
        *(f"{split}-{name}" for split in ("train", "test") for name in ("00000.tar", "y.npy", "id.npy")),
    ],
}
ALIKE: dict[Format, set[str]] = {
    "zarr": {"train/x/c/1/0/0/0", "train/id/zarr.json", "test/id/zarr.json"},
    "webdataset": {"train-00001.tar"},
}
EVERY_FILE = [("zarr", "spectral.json"), *((format, name) for format, names in FILES.items() for name in names)]


def test_every_kind_of_file_is_in_the_list_of_those_that_are_damaged_below(whole: Path, format: Format) -> None:
    root = whole / "spectral-01"
    listed = {root / name for name in ("spectral.json", *FILES[format])}
    assert all(path.is_file() for path in listed)
    others = {path for path in root.rglob("*") if path.is_file()} - listed
    assert {path.relative_to(root).as_posix() for path in others} == ALIKE[format]


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(("format", "name"), EVERY_FILE, indirect=["format"])
def test_a_flipped_byte_stops_and_names_the_file(data: Path, name: str, place: float) -> None:
    path = data / "spectral-01" / name
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        read(data, 1)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("format", "name"), EVERY_FILE[1:], indirect=["format"])
def test_a_missing_and_a_truncated_file_stop_and_are_named(data: Path, name: str) -> None:
    path = data / "spectral-01" / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptFileError, match=f"{path}.*{len(content)} bytes"):
        read(data, 1)
    path.unlink()
    with pytest.raises(CorruptFileError, match=f"missing.*{path}"):
        read(data, 1)


def test_a_folder_without_its_record_is_named(data: Path) -> None:
    (data / "spectral-01" / "spectral.json").unlink()
    with pytest.raises(SpectralError, match="spectral-01"):
        read(data, 1)


def test_folders_of_different_conversions_are_refused(data: Path, tmp_path: Path, format: Format) -> None:
    other = make_shards(tmp_path / "other", train=TRAIN, test=TEST, spec=SPEC, format=format, dataset_id="f" * 16)
    shutil.rmtree(data / "spectral-01")
    shutil.copytree(other / "spectral-01", data / "spectral-01")
    assert read(data, 1)
    with pytest.raises(PlanMismatchError, match=r"spectral-00 and .*spectral-01.*0123456789abcdef and f{16}"):
        open_shard(data, 0, ShardChoice(2))


@pytest.mark.parametrize(
    "change",
    [{"height": 16, "width": 4}, {"dataset": "other"}, {"classes": ["a"]}, {"energy": [1.0] * 4}],
    ids=str,
)
def test_records_of_one_conversion_that_do_not_agree_are_refused(data: Path, change: dict[str, Any]) -> None:
    path = data / "spectral-01/spectral.json"
    write_content(path, "spectral", {**read_content(path, "spectral"), **change})
    with pytest.raises(CorruptFileError, match="the records of two spectral folders of one conversion do not agree"):
        open_shard(data, 0, ShardChoice(shards=2))


def test_labels_of_no_class_are_refused(data: Path) -> None:
    path = data / "spectral-01/spectral.json"
    content = read_content(path, "spectral")
    write_content(path, "spectral", {**content, "classes": content["classes"][:-1]})
    with pytest.raises(CorruptFileError, match=r"labels cannot be read.*spectral-01.*labels 0 to \d, but"):
        read(data, 1)


def test_folders_whose_rows_differ_are_refused(data: Path, tmp_path: Path, format: Format) -> None:
    other = make_shards(tmp_path / "other", train=TRAIN, test=TEST, spec=SPEC, format=format, order_seed=5)
    shutil.rmtree(data / "spectral-01")
    shutil.copytree(other / "spectral-01", data / "spectral-01")
    with pytest.raises(CorruptFileError, match=r"not the same.*spectral-00 and .*spectral-01"):
        read(data, 0, ShardChoice(2))


def test_a_folder_under_the_name_of_another_is_refused(data: Path) -> None:
    shutil.rmtree(data / "spectral-01")
    shutil.copytree(data / "spectral-02", data / "spectral-01")
    with pytest.raises(PlanMismatchError, match=r"another spectral.*spectral-01"):
        open_shard(data, 0, ShardChoice(2))


def test_data_defaults_to_the_only_data_set_here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no data sets here.*spectral-prep convert"):
        find_data()
    shutil.copytree(whole, tmp_path / "spectral" / "one")
    for number in range(70):
        (tmp_path / "spectral" / f"notes-{number}").mkdir()
    assert find_data() == Path("spectral/one")
    shutil.copytree(whole, tmp_path / "spectral" / "two")
    with pytest.raises(InputError, match=r"2 data sets here.*one, two.*--data spectral/one"):
        find_data()


def test_a_data_folder_that_is_not_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such data folder"):
        find_data(tmp_path / "nothing")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match=r"no spectral folder here.*pictures"):
        open_shard(tmp_path, 0)


@pytest.mark.parametrize("model", ["fc", "conv"])
def test_both_stores_train_the_same_weights_bit_for_bit(tmp_path: Path, model: str) -> None:
    recipe = replace(QUICK, model=model, model_options={"depth": 3, "width": 4}, epochs=2)
    for format in FORMATS:
        make_shards(tmp_path / format, format=format, bad=[3, 5])
        make_run(tmp_path / format, tmp_path / f"run-{format}", recipe)
    runs = [RunPaths(tmp_path / f"run-{format}") for format in FORMATS]
    assert all(equal_weights(*(run.branch(shard) for run in runs)) for shard in range(4))
    assert len({run.branch(0).outputs.read_bytes() for run in runs}) == 1
