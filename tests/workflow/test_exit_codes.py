"""2 is the user's to mend, 1 is a disk's or the data's fault: in all three commands, on a read-only mount alike."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run
from tests.support.runs import QUICK, make_run
from tests.support.shards import make_shards

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WRITING = ("mkdir", "rmdir", "replace", "rename", "unlink", "remove")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a data set and two runs, without their digits: what commands read and write."""
    root = tmp_path_factory.mktemp("made")
    make_shards(root / "data")
    for seed in (0, 1):
        make_run(root / "data", root / f"run-{seed}", replace(QUICK, epochs=1, seed=seed))
    return root


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Let whatever writes below a folder fail in one way, as on a disk that is mounted read-only."""

    def refused(root: Path, code: int) -> None:
        def below(path: Any) -> bool:
            return isinstance(path, str | os.PathLike) and Path(os.fspath(path)).absolute().is_relative_to(root)

        def guarded(real: Any, writes: Callable[..., bool]) -> Any:
            def call(path: Any, *arguments: Any, **options: Any) -> Any:
                if below(path) and writes(*arguments, **options):
                    raise OSError(code, os.strerror(code), str(path))
                return real(path, *arguments, **options)

            return call

        for name in WRITING:
            monkeypatch.setattr(os, name, guarded(getattr(os, name), lambda *_, **__: True))
        flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        monkeypatch.setattr(os, "open", guarded(os.open, lambda wanted, *_, **__: bool(wanted & flags)))
        opened = guarded(builtins.open, lambda mode="r", *_, **__: bool(set(mode) & set("wax+")))
        monkeypatch.setattr(builtins, "open", opened)

    return refused


DIGITS = "spectral-prep convert --dataset digits --q 4 --block-rows 300 --workers 1"
COMMANDS = {
    "convert": f"{DIGITS} --out {{out}}",
    "convert, begun": f"{DIGITS} --out {{begun}}",
    "finalize": "spectral-prep finalize {begun}",
    "show": "spectral-prep show {digits} --row 3 --out {out}/x.png",
    "train": "spectral-train --shard 0 --data {data} --run {out} --epochs 1 --model fc --workers 1 --device cpu",
    "soup": "spectral-ensemble soup {run} {other} --data {data} --out {out} --device cpu",
    "report": "spectral-ensemble report {run} --out {out}",
    "export": "spectral-ensemble export {run} --out {out}/x.pt2",
}


@pytest.mark.parametrize(
    ("code", "exit_code"), [(errno.EROFS, 2), (errno.EACCES, 2), (errno.EIO, 1), (errno.ENOSPC, 1)]
)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_refuses_is_the_users_and_one_that_fails_is_not(
    made: Path,
    digits: Path,
    tmp_path: Path,
    refuse: Callable[[Path, int], None],
    name: str,
    code: int,
    exit_code: int,
) -> None:
    mount = tmp_path / "mount"
    begun = Path(shutil.copytree(digits, mount / "begun"))
    for path in (begun / "manifest.json", begun / "blocks/00000.json"):
        path.unlink()
    if name == "finalize":
        shutil.copy(digits / "blocks/00000.json", begun / "blocks/00000.json")
    line = COMMANDS[name].format(
        out=mount / "out", begun=begun, digits=digits, data=made / "data", run=made / "run-0", other=made / "run-1"
    )
    refuse(mount, code)
    ended = run(line)
    assert (ended.code, ended.err.count("Error: ")) == (exit_code, 1), ended.err
    assert "Traceback" not in ended.err
    assert "Where: None" not in ended.err
    assert str(mount) in ended.err


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("show", "spectral_prep.inspection.show.sheet"),
        ("report", "spectral_train.report.report.summarise"),
        ("export", "spectral_train.ensemble.export.open_network"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    made: Path, digits: Path, tmp_path: Path, name: str, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, lambda *_: pytest.fail("worked first"))
    (tmp_path / "file").touch()
    ended = run(COMMANDS[name].format(out=tmp_path / "file/out", digits=digits, run=made / "run-0"))
    assert ended.code == 2
    assert "cannot write here" in ended.err
    (tmp_path / "out/x.png").mkdir(parents=True)
    if name == "show":
        ended = run(COMMANDS[name].format(out=tmp_path / "out", digits=digits))
        assert (ended.code, "a folder has this name already" in ended.err) == (2, True)


def test_a_complete_data_set_on_a_read_only_mount_is_accepted(
    digits: Path, refuse: Callable[[Path, int], None]
) -> None:
    (digits / ".staging-0123456789ab").mkdir()
    (digits / "rows/train.jsonl.0123456789ab.partial").write_text("x")
    refuse(digits, errno.EROFS)
    line = f"{DIGITS} --out {digits}"
    assert run(line).code == 0
    assert (digits / ".staging-0123456789ab").exists()


def test_what_is_wrong_with_the_data_is_1_and_with_the_command_2(made: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(made / "run-0", tmp_path / "run"))
    (damaged / "branch-00/model.safetensors").write_bytes(b"x")
    expected = {
        f"spectral-ensemble evaluate {damaged}": 1,
        f"spectral-ensemble evaluate {tmp_path / 'none'}": 2,
        f"spectral-prep verify {tmp_path / 'none'}": 2,
        f"spectral-prep info {made / 'run-0'}": 2,
        f"spectral-train --shard 99 --data {made / 'data'} --run {tmp_path / 'x'}": 2,
        f"spectral-train --shard 0 --data {tmp_path / 'none'}": 2,
    }
    assert {line: run(line).code for line in expected} == expected
