"""The branches of a data set are shared out among the devices, and on a CPU the faster way is taken."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from spectral_prep.errors import InputError, PlanMismatchError
from spectral_train.data.shard import open_shard
from spectral_train.device import Resources
from spectral_train.run.metrics import Log
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import NetworkRecord
from spectral_train.training import devices, stack
from spectral_train.training.branch import train_branches
from spectral_train.training.devices import DeviceWork, train_on_devices, train_one_device
from spectral_train.training.request import Joint
from tests.support.commands import run as command
from tests.support.runs import QUICK, on_cpu
from tests.support.shards import make_shards
from tests.train.training.test_stack import CONV, jointly, require_the_same


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"), bad=[3, 5, 8])


@pytest.fixture(autouse=True)
def _one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests share their cores with others: threads that wait for each other would be many times slower."""
    for module in (stack, devices):
        monkeypatch.setattr(module, "usable_cpus", lambda: 1)


def test_each_device_trains_its_branches_in_a_process_of_its_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_one = jointly(data, tmp_path / "one", QUICK)
    monkeypatch.setattr(devices, "every_device", lambda name: ("cpu", "cpu", "cpu"))
    require_the_same(jointly(data, tmp_path / "three", QUICK), on_one)


@pytest.mark.parametrize(("ratio", "said"), [(1.5, "1.50 times as fast"), (0.5, "0.50 times as fast")])
def test_the_faster_way_is_taken_and_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, said: str
) -> None:
    stacked: list[DeviceWork] = []
    monkeypatch.setattr(devices, "speed_ratio", lambda work, processes: ratio)

    def noted(work: DeviceWork, log: Log) -> tuple[NetworkRecord, ...]:
        stacked.append(work)
        return train_one_device(work, log)

    monkeypatch.setattr(devices, "train_one_device", noted)
    lines: list[str] = []
    asked = on_cpu(data, tmp_path, replace(QUICK, epochs=1))
    train_on_devices(replace(asked, resources=Resources("cpu", workers=1)), log=lines.append)
    assert said in lines[0]
    assert len(stacked) == (ratio > 1)
    assert RunPaths(tmp_path).finished() == (0, 1, 2, 3)


def test_the_measurement_trains_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    shards = tuple(open_shard(data, number) for number in range(4))
    ratio = devices.speed_ratio(
        DeviceWork(shards, CONV, RunPaths(tmp_path), Resources("cpu", memory=1 << 30)), processes=1
    )
    assert 0.01 < ratio < 100
    assert not list(tmp_path.iterdir())


def test_the_command_takes_the_option_with_and_without_a_word(data: Path, tmp_path: Path) -> None:
    line = f"spectral-train --shard all --data {data} --epochs 1 --model fc --device cpu"
    for number, option in enumerate(("--joint", "--joint always")):
        finished = command(f"{line} --run {tmp_path / str(number)} {option}")
        assert finished.code == 0, finished.err
        assert ("times as fast" in finished.err) == (option == "--joint")
    assert command(f"spectral-train --shard 1 --data {data} --joint").code == 2


@pytest.mark.parametrize("joint", get_args(Joint))
def test_what_does_not_belong_to_the_run_is_refused_before_it_is_trained(
    data: Path, tmp_path: Path, joint: Joint
) -> None:
    train_branches(on_cpu(make_shards(tmp_path / "other", dataset_id="f" * 16), tmp_path / "run", QUICK), 0)
    (tmp_path / "run/branch-00").rename(tmp_path / "run/branch-07")
    asked = on_cpu(data, tmp_path / "run", QUICK)
    with pytest.raises(PlanMismatchError, match="do not belong together"):
        train_on_devices(asked, joint)
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["branch-07"]


def test_what_cannot_be_trained_is_refused_before_it_is_measured(data: Path, tmp_path: Path) -> None:
    alone = replace(QUICK, model="timm:resnet18", model_options={}, batch_size=1)
    with pytest.raises(InputError, match="cannot train on one row at a time"):
        train_on_devices(on_cpu(data, tmp_path / "run", alone), "auto")
    with pytest.raises(InputError, match="joint training does not do channels_last"):
        train_on_devices(on_cpu(data, tmp_path / "run", replace(CONV, channels_last=True)), "auto")
    assert not (tmp_path / "run").exists()
