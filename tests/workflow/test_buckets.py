"""The whole road in buckets: the bytes, weights and words of the same road on a disk; kills, outages and damage."""

from __future__ import annotations

import json
import logging
import pickle
import random
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from spectral_prep.choices import Format
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.inspection.verify import verify
from spectral_prep.places import at, atomic_write
from spectral_prep.places.objects import OpenObject
from spectral_prep.places.url import Place, Url
from spectral_prep.sources import open_source
from spectral_prep.store.layout import DatasetPaths
from spectral_train.data import streamed_rows
from spectral_train.data.loader import LoaderOptions, ShardLoader
from spectral_train.data.shard import open_shard
from spectral_train.run.paths import RunPaths
from tests.prep.sources import test_folder, test_imagenet, test_imagenet21k, test_parquet, test_webdataset
from tests.support.commands import Finished, run
from tests.support.releases import (
    CIFAR_LAYOUTS,
    cifar_rows,
    encoded,
    random_images,
    write_cifar,
    write_files,
    write_folder,
    write_mnist,
)
from tests.support.runs import QUICK, equal_weights, make_run
from tests.support.trees import objects, tree
from tests.torture.buckets import SCENES, Stage, kills, outage, staged

FORMATS: tuple[Format, ...] = get_args(Format)
ALONE = Execution(workers=1)
DIGITS = Request("digits", "4", block_rows=300)


def upload(folder: Path, to: Url) -> Url:
    """Put every file of a folder, or a file itself, under a URL and return that."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else (folder,):
        if path.is_file():
            atomic_write(to / path.relative_to(folder).as_posix() if path != folder else to, path.read_bytes())
    return to


def done(line: str) -> Finished:
    finished = run(line)
    assert finished.code == 0, f"{line}\n{finished.err}"
    return finished


@pytest.mark.parametrize("format", FORMATS)
def test_a_data_set_has_the_bytes_of_one_on_the_disk_and_is_read_like_it(
    bucket: Url, digits_as: Callable[[Format], Path], format: Format, tmp_path: Path
) -> None:
    there, here = bucket / "digits", digits_as(format)
    convert(replace(DIGITS, format=format), Path(), there, ALONE)
    assert objects(there) == tree(here)
    told = [
        [done(f"spectral-prep {command} {place}").out.replace(str(place), "PLACE") for place in (there, here)]
        for command in ("verify --deep", "info", "info --json")
    ]
    assert [one for one, _ in told] == [other for _, other in told]
    pictures = [tmp_path / "there.png", tmp_path / "here.png"]
    for place, picture in zip((there, here), pictures, strict=True):
        done(f"spectral-prep show {place} --row 7 --out {picture}")
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    convert(replace(DIGITS, format=format), Path(), there, ALONE)  # finds that nothing is left to do
    assert objects(there) == tree(here)


def test_workers_and_finalize_write_the_same_into_a_bucket(bucket: Url, digits: Path) -> None:
    line = f"spectral-prep convert --dataset digits --q 4 --block-rows 300 --workers 2 --out {bucket}/x"
    for number in range(2):
        done(f"{line} --task {number}/2")
    done(f"spectral-prep finalize {bucket}/x")
    assert objects(bucket / "x") == tree(digits)


@dataclass(frozen=True)
class Trained:
    """The same data set and the same network in a bucket and on the disk."""

    there: Url
    here: Path

    def both(self, line: str, out: Path) -> list[Finished]:
        """Run a command on both; what it writes goes into folders that are called alike."""
        results = []
        for run_place in (self.there / "run", self.here / "run"):
            target = out / run_place.parent.name / "out"
            target.parent.mkdir(exist_ok=True)
            results.append(done(line.format(run=run_place, data=run_place.parent / "data", out=target)))
        return results


@pytest.fixture
def trained(bucket: Url, digits: Path, tmp_path: Path) -> Trained:
    here = tmp_path / "here"
    here.mkdir()
    digits.rename(here / "data")
    upload(here / "data", bucket / "there" / "data")
    found = Trained(bucket / "there", here)
    make_run(here / "data", here / "run", QUICK)
    line = "spectral-train --shard all --data {}/data --run {}/run --epochs 4 --model fc --set depth=2 --set width=16"
    options = " --lr 0.01 --batch-size 32 --set schedule=constant --set noise=0.1 --device cpu --workers 1"
    done(line.format(found.there, found.there) + options)
    return found


def test_a_run_in_a_bucket_has_the_weights_and_says_the_words_of_one_on_the_disk(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectral_train.ensemble.fusion.DECAYS", (0.1,))  # two heads will do
    for shard in range(4):
        one, other = (RunPaths(place / "run").branch(shard) for place in (trained.there, trained.here))
        assert equal_weights(one, other)
        assert at(one.outputs).read(1 << 25) == at(other.outputs).read(1 << 25)
    (tmp_path / "digit.png").write_bytes(encoded(random_images(1, 8, 8)[0]))
    for line in (
        "spectral-ensemble fuse {run} --data {data} --hidden 8 --epochs 1",
        "spectral-ensemble evaluate {run}",
        "spectral-ensemble evaluate {run} --views flip --data {data} --json",
        f"spectral-ensemble predict {{run}} {tmp_path / 'digit.png'} --scheme fused",
        f"spectral-ensemble predict {{run}} {tmp_path / 'digit.png'}",
    ):
        told = trained.both(line, tmp_path)
        assert told[0].out.replace(str(trained.there), "") == told[1].out.replace(str(trained.here), "")
    done(f"spectral-ensemble export {trained.there}/run --out {tmp_path / 'network.pt2'}")
    assert (tmp_path / "network.pt2").stat().st_size
    trained.both("spectral-ensemble report {run}", tmp_path)
    reports = [objects(place / "run" / "report") for place in (trained.there, trained.here)]
    assert reports[0].keys() == reports[1].keys() != set()
    trained.both("spectral-ensemble soup {run} {run} --data {data} --out {out}", tmp_path)
    there = trained.there
    done(f"spectral-ensemble soup {there}/run {there}/run --data {there}/data --out {there}/soup")
    assert equal_weights(RunPaths(trained.there / "soup").branch(1), RunPaths(tmp_path / "here" / "out").branch(1))


@pytest.mark.parametrize("format", FORMATS)
def test_the_whole_road_in_azure_has_the_bytes_of_one_on_the_disk(
    container: Url, digits_as: Callable[[Format], Path], format: Format, tmp_path: Path
) -> None:
    there, here = container / "digits", digits_as(format)
    convert(replace(DIGITS, format=format), Path(), there, ALONE)
    assert objects(there) == tree(here)
    options = "--epochs 1 --model fc --set depth=2 --set width=16 --device cpu --workers 1"
    for data, made in ((there, container / "run"), (here, tmp_path / "run")):
        done(f"spectral-train --shard all --data {data} --run {made} {options}")
    assert all(
        equal_weights(RunPaths(container / "run").branch(k), RunPaths(tmp_path / "run").branch(k)) for k in range(4)
    )
    told = [done(f"spectral-ensemble evaluate {place / 'run'}").out for place in (container, tmp_path)]
    assert told[0].replace(str(container), str(tmp_path)) == told[1]


def test_a_loader_gives_the_rows_of_a_bucket_in_memory_and_streamed(bucket: Url, digits: Path) -> None:
    shards = [open_shard(place, 1) for place in (upload(digits, bucket / "data"), digits)]
    for options in (LoaderOptions(), LoaderOptions(memory=20_000), LoaderOptions(split="test", shuffle=False)):
        loaders = [ShardLoader(each, 100, options=options) for each in shards]
        one, other = ([(x.tolist(), y.tolist()) for x, y in loader] for loader in loaders)
        assert one == other


def test_pieces_are_read_from_a_bucket_several_at_once_and_come_in_order(
    bucket: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = convert(Request("digits", "4", block_rows=64), Path(), tmp_path / "data").root  # five pieces a group
    monkeypatch.setattr(streamed_rows, "PIECES_SHARE", 2.0)  # these pieces are small, but so is the memory
    together, most, lock, get = 0, 0, threading.Lock(), OpenObject._get

    def slow(file: OpenObject, start: int, stop: int) -> memoryview:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.02)
        with lock:
            together -= 1
        return get(file, start, stop)

    monkeypatch.setattr(OpenObject, "_get", slow)
    loaders = [
        ShardLoader(open_shard(place, 1), 100, options=LoaderOptions(memory=20_000))
        for place in (upload(small, bucket / "data"), small)
    ]
    most = 0
    for _ in range(3):
        one, other = ([(x.tolist(), y.tolist()) for x, y in loader] for loader in loaders)
        assert one == other
    assert most > 1


ODD = [
    f"{split}/{label}/{name}"
    for split in ("train", "val")
    for label in ("a b", "ü#", "100%")
    for name in ("1 +", "?*&")
]
Writer = Callable[[Path], object]


def all_of(*writers: Callable[[Path], None]) -> Writer:
    """Return what writes several parts of a release."""

    def write(root: Path) -> None:
        for writer in writers:
            writer(root)

    return write


SOURCES: dict[str, tuple[str, Writer]] = {
    "idx": ("mnist", write_mnist),
    **{
        f"cifar10 {layout}": ("cifar10", partial(write_cifar, dataset="cifar10", layout=layout, parts=cifar_rows()))
        for layout in CIFAR_LAYOUTS
    },
    "class folders": ("folder", partial(write_folder, names=[f"{name}.png" for name in ODD])),
    "imagenet tars": ("imagenet", all_of(test_imagenet.train_tar, test_imagenet.val_tar)),
    "imagenet folders": ("imagenet", all_of(test_imagenet.train_folders, test_imagenet.val_folders)),
    "imagenet class tars": ("imagenet", all_of(test_imagenet.train_class_tars, test_imagenet.val_flat)),
    "imagenet21k class tars": ("imagenet21k", partial(write_files, files=test_imagenet21k.LAYOUTS["class tars"])),
    "imagenet21k .tar.gz": ("imagenet21k", test_imagenet21k.zipped_release),
    "webdataset": ("webdataset", partial(write_files, files=test_webdataset.FILES)),
    "webdataset .tar.gz": ("webdataset", partial(write_files, files=test_webdataset.ZIPPED)),
    "parquet": ("parquet", test_parquet.release),
    "names that say nothing": ("folder", partial(write_files, files=test_folder.NAMELESS)),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_has_the_same_rows_in_a_bucket(
    bucket_folder: Url, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    dataset, write = SOURCES[kind]
    write(tmp_path / "release")
    places: tuple[Place, ...] = (tmp_path / "release", upload(tmp_path / "release", bucket_folder / "release"))
    with caplog.at_level(logging.WARNING):
        here, there = (
            pickle.loads(pickle.dumps(open_source(dataset, place, tmp_path / f"staging-{number}")))  # noqa: S301
            for number, place in enumerate(places)
        )
    assert there.fingerprint == here.fingerprint
    assert (there.classes, there.random_access) == (here.classes, here.random_access)
    index = here.index()
    assert there.index().keys() == index.keys()
    for split, rows in index.items():
        other = there.index()[split]
        assert (list(other.names), other.labels.tolist()) == (list(rows.names), rows.labels.tolist())
        for row, name in enumerate(rows.names):
            one, two = there.read(split, row, name), here.read(split, row, name)
            assert bytes(one) == bytes(two)
    copied = [message for message in caplog.messages if message.startswith("Copying s3://")]
    assert len(copied) == {"imagenet21k .tar.gz": 1, "webdataset .tar.gz": 3}.get(kind, 0)
    others = [message.partition(" (in ")[0] for message in caplog.messages if message not in copied]
    assert others[: len(others) // 2] == others[len(others) // 2 :]  # the same is said of both


def test_a_release_in_a_bucket_is_converted_into_a_bucket(bucket: Url, tmp_path: Path) -> None:
    for write in (test_imagenet.train_tar, test_imagenet.val_tar):
        write(tmp_path / "tars")
    request = Request("imagenet", "4", size=16, block_rows=4)
    here = convert(request, tmp_path / "tars", tmp_path / "out", ALONE).root
    source = upload(tmp_path / "tars", bucket / "tars")
    there = convert(request, source, bucket / "out", ALONE).root
    assert objects(there) == tree(here)
    found = verify(there, lambda plan: open_source(plan.dataset, source, tmp_path / "staging"), deep=True)
    assert (found.faults, found.pixels is not None) == ((), True)


def test_the_imagenet_sample_is_converted_from_a_bucket_into_a_bucket(
    real_data: Path, bucket: Url, tmp_path: Path
) -> None:
    tars = upload(real_data / "imagenet" / "tars", bucket / "tars")
    for format in FORMATS:
        request = Request("imagenet", "16", format=format, limit=60)
        here = convert(request, real_data / "imagenet" / "tars", tmp_path / format).root
        there = convert(request, tars, bucket / format).root
        assert objects(there) == tree(here)
        shutil.rmtree(here)
    assert verify(there, deep=True).faults == ()


TASKS = """
import os, sys
import spectral_prep.conversion.convert as c
from spectral_prep.conversion.execution import Task
from spectral_prep.errors import SpectralError
from spectral_prep.places.url import place_of
seeds, out = [int(seed) for seed in sys.argv[2:]], place_of(sys.argv[1])
reading, writing = os.pipe()
children = []
for number, seed in enumerate(seeds):
    children.append(os.fork())
    if children[-1] == 0:
        os.close(writing)
        os.read(reading, 1)  # until all are there
        code = 0
        try:
            request = c.Request("digits", "4", block_rows=300, seed=seed)
            c.convert(request, place_of("none"), out, c.Execution(Task(number, len(seeds)), workers=1))
        except SpectralError as error:
            print(seed, error, flush=True)
            code = error.exit_code
        os._exit(code)
os.close(writing)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], flush=True)
"""


def tasks(python: str, out: Url, seeds: list[int]) -> tuple[list[int], list[str]]:
    """Run a process a seed, all at once, each as one task of an array; return exit codes and what was said."""
    program = [python, "-c", TASKS, str(out), *map(str, seeds)]
    ran = subprocess.run(program, check=True, capture_output=True, text=True)
    *said, codes = ran.stdout.splitlines()
    return json.loads(codes), said


def test_eight_tasks_that_start_at_once_agree_on_one_plan(python: str, bucket: Url, digits: Path) -> None:
    assert tasks(python, bucket / "x", [0] * 8) == ([0] * 8, [])
    done(f"spectral-prep finalize {bucket}/x")
    assert objects(bucket / "x") == tree(digits)


def test_of_tasks_that_want_different_plans_one_kind_is_converted(python: str, bucket: Url) -> None:
    codes, said = tasks(python, bucket / "x", [1, 2] * 2)
    fixed = json.loads(at(DatasetPaths(bucket / "x").plan).read(1 << 25))["seed"]
    assert codes == [0 if seed == fixed else 2 for seed in [1, 2] * 2]
    assert len(said) == 2
    assert all(f"seed: {fixed} there, {3 - fixed} here" in line for line in said)


@pytest.mark.parametrize("format", FORMATS)
def test_a_changed_a_cut_and_a_deleted_object_are_named(
    bucket: Url, digits_as: Callable[[Format], Path], format: Format
) -> None:
    data = upload(digits_as(format), bucket / "data")
    paths = DatasetPaths(data)
    changed, cut, deleted = (paths.spectral(k).part("train", k, format) for k in range(3))
    content = at(changed).read(1 << 25)
    atomic_write(changed, content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    atomic_write(cut, at(cut).read(1 << 25)[:-1])
    at(deleted).remove()
    told = run(f"spectral-prep verify {data}")
    assert told.code == 1
    for place in (changed, cut, deleted):
        assert str(place).removeprefix(f"{data}/") in told.out + told.err
    for option, what in (("", "not what its record vouches for"), ("--no-cache", "missing")):
        trained = run(f"spectral-train --shard 2 --data {data} --run {bucket}/run --epochs 1 --device cpu {option}")
        assert trained.code == 1
        assert re.search(rf"^Error: a file of the shard is {what}\nWhere: {deleted}", trained.err, re.MULTILINE)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if shutil.which("cc") is None:
        pytest.skip("the parent process of the cases loads a library that is compiled by cc")
    with staged() as found:
        yield found


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_killed_command_leaves_whole_objects_and_ends_in_the_same_bytes(stage: Stage, scene: object) -> None:
    outcome = kills(stage, next(each for each in SCENES if each == scene), random.Random(0), 2)
    assert outcome.findings == (), outcome.story
    assert outcome.cases


@pytest.mark.parametrize("comes_back", [True, False], ids=["and started again", "for good"])
def test_a_server_that_is_killed_costs_no_byte(stage: Stage, comes_back: bool) -> None:
    outcome = outage(stage, SCENES[0], random.Random(0), comes_back)
    assert outcome.findings == (), outcome.story
    assert outcome.healed


def test_photographs_in_a_bucket_are_divided_as_on_a_disk(bucket_folder: Url, tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(30)])
    request = Request("folder", "4", size=8, limit=50, test_fraction=0.2)
    there = upload(tmp_path / "photos", bucket_folder / "photos")
    places: tuple[Place, ...] = (tmp_path / "photos", there)
    outs = [convert(request, place, tmp_path / str(number)).root for number, place in enumerate(places)]
    assert tree(outs[0]) == tree(outs[1])
    assert (outs[0] / "rows/test.jsonl").read_text().count("\n") == 10
