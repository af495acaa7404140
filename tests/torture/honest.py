"""What the fuzzer changes, and all that can be done with it: tiny honest data sets and runs, and what reads them.

Input: an empty folder. Output: `Honest`, folders that are made once; `readers`, each way to read a copy of one of them.
"""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
from PIL import Image

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError
from spectral_prep.inspection.info import info
from spectral_prep.inspection.show import sheet
from spectral_prep.inspection.verify import verify
from spectral_train.data.loader import LoaderOptions, ShardLoader
from spectral_train.data.shard import check_files, open_shard
from spectral_train.device import Resources
from spectral_train.ensemble import fuse as fusing
from spectral_train.ensemble.combination import Combination
from spectral_train.ensemble.evaluate import evaluate, table
from spectral_train.ensemble.fusion import Fitted
from spectral_train.ensemble.predict import predict
from spectral_train.recipe.recipe import Recipe
from spectral_train.report.sections import section
from spectral_train.report.summary import summarise
from spectral_train.run.branches import read_branches
from spectral_train.run.paths import RunPaths
from spectral_train.run.said import ON
from spectral_train.training.baseline import train_baseline
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest
from spectral_train.training.soup import soup
from spectral_train.training.widths import own_width, read_multipliers
from spectral_train.training.words import write_all_words

RECIPE = Recipe(
    model="fc", model_options={"depth": 2, "width": 8}, batch_size=16, epochs=2, ema=0.9, patience=2, holdout=0.25
)
RESOURCES = Resources("cpu", workers=1, memory=64 << 20)
ONE_WORKER = Execution(workers=1, max_memory=4 << 30, device="cpu", space_check=False)
HEAD = Fitted(hidden=4, epochs=1)
STREAMED = LoaderOptions(memory=3000)


@dataclass(frozen=True)
class Honest:
    """What is copied and changed: folders made once, and the source of the data sets."""

    root: Path

    @property
    def source(self) -> Path:
        """Photographs of two classes."""
        return self.root / "source"

    @property
    def picture(self) -> Path:
        """One of them."""
        return self.source / "test/class-0/0.png"

    def __getitem__(self, name: str) -> Path:
        return self.root / name


def make_honest(root: Path) -> Honest:
    """Make the folders, in a child, so that this process stays fit to be forked."""
    honest = Honest(root)
    pid = os.fork()
    if pid == 0:
        _make(honest)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the honest folders cannot be made")
    return honest


def _make(honest: Honest) -> NoReturn:
    try:
        numbers = np.random.RandomState(0)
        for split, rows in (("train", 40), ("test", 10)):
            for number in range(rows):
                path = honest.source / split / f"class-{number % 2}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(numbers.randint(0, 256, (8, 8, 3), np.uint8)).save(path)
        for store in ("zarr", "webdataset"):
            convert(request_of(store), honest.source, honest[store], ONE_WORKER)
        for name in ("run", "other"):
            wanted = training(honest["zarr"], honest[name], replace(RECIPE, seed=len(name)))
            train_branches(wanted)
            train_baseline(wanted)
        _make_fused(honest)
        honest["widths"].mkdir()
        (honest["widths"] / "widths.json").write_text(json.dumps([0.5, 1, 1, 2.5]))
        (honest["widths"] / "widths.csv").write_text("shard,width\n0,0.5\n1,1\n2,1\n3,2.5\n")
        try:
            train_branches(training(honest["zarr"], honest["begun"]), 0, _interrupt)
        except KeyboardInterrupt:
            os._exit(0)
    except BaseException:  # noqa: BLE001 a child has nobody above it
        traceback.print_exc()
    os._exit(1)


def _make_fused(honest: Honest) -> None:
    """Make a run whose learning rates were found, and whose branches are fused by a head, whatever it is worth."""
    wanted = replace(training(honest["zarr"], honest["fused"]), find_rate=True)
    train_branches(wanted)
    for on in ON:
        write_all_words(wanted, None, on)
    vars(fusing)["merit"] = lambda candidate: candidate.hidden
    fusing.fuse(RunPaths(honest["fused"]), read_branches(RunPaths(honest["fused"])), how=HEAD)


def _interrupt(line: str) -> None:
    if "epoch 1/" in line:
        raise KeyboardInterrupt


def request_of(store: str) -> Request:
    """Return what the honest data sets are: ten blocks, with views."""
    return Request("folder", "4", size=8, block_rows=16, format=store, views=1)  # type: ignore[arg-type]


def training(data: Path, run: Path, recipe: Recipe = RECIPE) -> TrainingRequest:
    """Return what asks for a training."""
    return TrainingRequest(data, recipe, run, resources=RESOURCES)


def readers(folder: Path, honest: Honest, name: str) -> Mapping[str, Callable[[], object]]:
    """Return everything that can be done with a data set or a run; what writes in it comes last."""
    if name in ("zarr", "webdataset"):
        scratch = folder.parent / "scratch"
        return {
            "verify": lambda: verify(folder, deep=True),
            "verify one": lambda: verify(folder / "spectral-01", deep=True),
            "info": lambda: info(folder).to_dict(),
            "info one": lambda: info(folder / "spectral-01"),
            "show": lambda: [sheet(folder, row, split).title for split, row in (("train", 3), ("test", 9))],
            "load": lambda: _load(folder, LoaderOptions()),
            "stream": lambda: _load(folder, STREAMED),
            "train": lambda: train_branches(training(folder, scratch, replace(RECIPE, epochs=1)), 1),
            "baseline": lambda: train_baseline(training(folder, scratch, replace(RECIPE, epochs=1))),
            "convert": lambda: convert(request_of(name), honest.source, folder, ONE_WORKER),
            "finalize": lambda: finalize(folder),
            "info unfinished": lambda: info(_unfinished(folder)),
        }
    if name == "fused":
        wanted, run = replace(training(honest["zarr"], folder), find_rate=True), RunPaths(folder)
        return {
            "evaluate": lambda: evaluate(folder, ["fused", "average"]),
            "predict": lambda: predict(folder, [honest.picture], Combination("fused")),
            "report": lambda: section(summarise(folder), {}),
            "say": lambda: [write_all_words(wanted, None, on) for on in ON],
            "fuse": lambda: [fusing.fuse(run, read_branches(run), on, HEAD) for on in ON],
            "find a rate": lambda: train_branches(_again(wanted)),
            "say which is missing": lambda: _missing(folder),
        }
    if name == "widths":
        shard = open_shard(honest["zarr"], 0)
        return {
            f"width by {suffix}": lambda suffix=suffix: own_width(  # type: ignore[misc]
                shard, RECIPE, read_multipliers(folder / f"widths.{suffix}")
            )
            for suffix in ("json", "csv")
        }
    if name == "begun":
        return {"resume": lambda: train_branches(training(honest["zarr"], folder), 0)}
    return {
        "evaluate": lambda: _evaluate(folder),
        "predict": lambda: predict(folder, [honest.picture]),
        "report": lambda: section(summarise(folder), {}),
        "soup": lambda: soup([folder, honest["other"]], folder.parent / "soup", honest["zarr"], "greedy", "cpu"),
        "train": lambda: train_branches(training(honest["zarr"], folder, replace(RECIPE, seed=3))),
        "baseline": lambda: train_baseline(training(honest["zarr"], folder, replace(RECIPE, seed=3))),
    }


def _again(wanted: TrainingRequest) -> TrainingRequest:
    for record in cast(Path, wanted.run).glob("branch-*/branch.json"):
        record.unlink()
    return wanted


def _missing(folder: Path) -> None:
    shutil.rmtree(folder / "branch-03", ignore_errors=True)
    with suppress(InputError):  # which says how to train it
        evaluate(folder, ["average"])


def _unfinished(folder: Path) -> Path:
    (folder / "manifest.json").unlink(missing_ok=True)
    return folder


def _evaluate(folder: Path) -> str:
    evaluation = evaluate(folder, ["average", "loss", "geometric", "top-k"])
    return json.dumps(evaluation.to_dict()) + table(evaluation)


def _load(folder: Path, options: LoaderOptions) -> int:
    rows = 0
    for number in range(2):
        shard = open_shard(folder, number)
        for each in shard.folders:
            check_files(each)
        for split in ("train", "test"):
            rows += sum(len(y) for _, y in ShardLoader(shard, 16, options=replace(options, split=split)))
    return rows
