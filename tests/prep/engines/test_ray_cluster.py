"""Ray does what processes do: the same results, bytes and paragraphs; what is lost is done again, and nothing else."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spectral_prep.console.progress import Notices
from spectral_prep.conversion.convert import Progress, convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.engines import engine_of
from spectral_prep.engines.interface import Needs
from spectral_prep.engines.ray_cluster import LOOPBACK_ONLY, RETRIES, Ray, _attempt, _explained
from spectral_prep.errors import CorruptSourceError, InputError, WorkerError
from spectral_prep.inspection.info import info
from spectral_prep.system.resources import GRANTED_CPUS
from tests.support.clusters import NODE, busy, kill_one
from tests.support.commands import many_blocks, run, started, wait_for_blocks
from tests.support.releases import encoded, random_images, write_mnist
from tests.support.tasks import attempts, die, noted, own_process, refuse, sleep
from tests.support.trees import tree

REQUEST = Request("mnist", "16", block_rows=60)
ON_RAY = Execution(workers=2, engine=Ray())


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mnist")
    write_mnist(folder, rows=600, test_rows=60)
    return folder


@pytest.fixture(scope="module")
def whole(mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What processes make of it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    convert(REQUEST, mnist, out, Execution(workers=1))
    return tree(out)


def test_every_task_is_done_once_within_a_window(ray_nodes: Any, tmp_path: Path) -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    results = Ray().run(functools.partial(noted, tmp_path), tasks(), 3, Needs())
    next(results)
    assert len(taken) == 3
    assert len(list(results)) == 11
    assert attempts(tmp_path) == dict.fromkeys(range(12), 1)


def test_what_the_work_raises_comes_home_as_it_is_and_is_not_done_again(ray_nodes: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no such number\. Got: \d\. Run next: another\n") as caught:
        list(Ray().run(functools.partial(refuse, tmp_path), range(2), 1, Needs()))
    assert "in refuse" in caught.value.__notes__[0]
    assert attempts(tmp_path) == {0: 1}


@pytest.mark.parametrize("times", [1, 99], ids=["once", "always"])
def test_a_task_whose_worker_dies_is_done_again_and_named_if_that_does_not_help(
    ray_nodes: Any, tmp_path: Path, times: int
) -> None:
    results = Ray().run(functools.partial(die, tmp_path, times=times), range(3), 2, Needs())
    if times == 1:
        assert sorted(results) == [0, 1, 4]
        assert attempts(tmp_path) == {0: 1, 1: 2, 2: 1}
    else:
        with pytest.raises(WorkerError, match=r"a Ray worker was lost at 1, and so were those of 3 retries\."):
            list(results)
        assert attempts(tmp_path)[1] == 1 + RETRIES


def test_a_conversion_with_a_worker_killed_and_a_node_lost_gives_the_bytes_of_processes(
    ray_nodes: Any, tmp_path: Path, mnist: Path, whole: dict[str, bytes]
) -> None:
    node = ray_nodes.add_node(**NODE)
    killed, numbers = 0, []

    def disturb(progress: Progress) -> None:
        nonlocal killed, node
        if progress.block is None:
            return
        numbers.append(progress.block.number)
        if len(numbers) >= 2 and not killed:
            killed += kill_one("block")
        if len(numbers) >= 5 and node is not None:
            ray_nodes.remove_node(node, allow_graceful=False)
            node = None

    execution = Execution(workers=3, engine=Ray(), space_check=False)
    convert(REQUEST, mnist, tmp_path / "out", execution, disturb)
    assert killed == 1
    assert node is None
    assert sorted(numbers) == list(range(11))
    assert tree(tmp_path / "out") == whole


def test_a_bad_image_is_reported_in_the_words_of_processes_and_its_block_not_done_again(
    ray_nodes: Any, tmp_path: Path
) -> None:
    for number, pixels in enumerate(random_images(12, 8, 8, 3)):
        path = tmp_path / f"set/train/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels) if number != 5 else b"no image")
    said = []
    for name, execution in {"here": Execution(workers=1), "ray": ON_RAY}.items():
        counts: list[int] = []
        with pytest.raises(CorruptSourceError, match="1 image cannot be converted") as caught:
            convert(
                Request("folder", "4", block_rows=4),
                tmp_path / "set",
                tmp_path / name,
                execution,
                lambda told, counts=counts: counts.append(sum(told.done.values())),  # type: ignore[misc]
            )
        assert sorted(counts) == [0, 4, 8, 12]
        said.append(str(caught.value).replace(str(tmp_path / name), "OUT"))
    assert said[0] == said[1]


def test_ctrl_c_cancels_the_tasks_and_says_what_to_run(
    ray_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_nodes.address)
    arguments = many_blocks(tmp_path)
    process = started(*arguments, "--engine", "ray", "--workers", "2", "--out", str(tmp_path / "out"))
    wait_for_blocks(process, tmp_path / "out", 2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    assert "Stopped" in errors
    assert "the same command" in errors
    assert "Traceback" not in errors
    until = time.monotonic() + 30
    while busy("block") and time.monotonic() < until:
        time.sleep(0.1)
    assert not busy("block")
    assert not info(tmp_path / "out").complete


def test_the_process_of_a_cancelled_task_does_no_other(ray_nodes: Any, tmp_path: Path) -> None:
    results = Ray().run(functools.partial(sleep, tmp_path), range(2), 2, Needs())
    assert next(results) == 0
    results.close()
    cancelled = int((tmp_path / "1").read_text())
    assert cancelled not in list(Ray().run(own_process, range(8), 2, Needs()))


def test_threads_of_a_worker_sleep_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GRANTED_CPUS, "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert _attempt(pickle.dumps(os.getenv), pickle.dumps("OMP_WAIT_POLICY"), 1) == (False, "PASSIVE")


def test_what_no_node_has_is_refused_before_anything_waits_for_it(ray_nodes: Any, tmp_path: Path, mnist: Path) -> None:
    with pytest.raises(InputError, match=r"no node .*Expected: 1 CPUs, .* 2 GPUs\. Got: 127\.0\.0\.1: 1 CPUs"):
        Ray().at_once(Needs(gpus=2))
    assert Ray().at_once(Needs()) == 2
    refused = run(
        f"spectral-prep convert --dataset mnist --q 16 --source {mnist} --out {tmp_path} --engine ray --device cuda"
    )
    assert refused.code == 2
    assert "1 GPUs\nGot: 127.0.0.1" in refused.err
    assert not (tmp_path / "plan.json").exists()


def test_what_ray_prints_is_told_in_a_line_and_kept_from_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.redirect_stdout(Notices()):
        print("\x1b[33m(raylet)\x1b[0m A worker died.\nMemory used:\n" + 60 * "more\n")  # noqa: T201
    assert capsys.readouterr() == ("", "(raylet) A worker died.\n")


def test_a_worker_that_does_not_see_the_output_says_so(
    ray_nodes: Any, tmp_path: Path, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectral_prep.conversion.convert.fix", lambda conversion: None)  # as if it lay elsewhere
    with pytest.raises(InputError, match=r"not seen by a worker\. Where: .*no plan\.json there on "):
        convert(REQUEST, mnist, tmp_path / "out", ON_RAY)


@pytest.fixture
def _unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had connected this process."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.usefixtures("_unconnected")
@pytest.mark.parametrize(
    ("address", "told"), [("nonsense", "Invalid address format"), ("ray://head:10001", "an address of another kind")]
)
def test_an_address_that_is_none_is_one_paragraph(address: str, told: str) -> None:
    with pytest.raises(InputError, match=rf"^cannot connect to Ray\. Where: {address}\..* Got: {told}.*Run next: "):
        engine_of("ray", address).at_once(Needs())


STARTED_HERE = """
import contextlib, os, psutil
from spectral_prep.engines.interface import Needs
from spectral_prep.engines.ray_cluster import Ray
with Ray().started():
    print(*Ray().run(os.nice, [0, 0], 1, Needs()))
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            print(*(each.laddr.ip for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN))
"""


def test_a_ray_that_is_started_here_listens_to_nobody_elsewhere_and_is_as_urgent_as_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (LOOPBACK_ONLY[0], "RAY_worker_niceness"):
        monkeypatch.delenv(name)
    program = tmp_path / "program.py"
    program.write_text(STARTED_HERE)
    told = subprocess.run([sys.executable, program], stdout=subprocess.PIPE, text=True, check=True).stdout
    niceness, *addresses = told.splitlines()
    assert niceness == f"{os.nice(0)} {os.nice(0)}"
    assert {address.removeprefix("::ffff:") for address in " ".join(addresses).split()} == {"127.0.0.1"}


@pytest.mark.usefixtures("_unconnected")
def test_where_nothing_listens_is_said_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(InputError, match=rf"cannot connect to Ray\. Where: 127\.0\.0\.1:{port}\..*refused"):
            Ray(f"127.0.0.1:{port}").at_once(Needs())


@pytest.mark.usefixtures("_unconnected")
@pytest.mark.parametrize(
    "error", [RuntimeError("Version mismatch:\n  Ray: 2.9\n  Python: 3.8"), SystemExit(15)], ids=["version", "exit"]
)
def test_what_ray_raises_while_connecting_is_one_paragraph(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def init(**options: Any) -> None:
        raise error

    monkeypatch.setattr("ray.init", init)
    told = r"cannot connect to Ray\. .*the same ray and Python.* Got: (Version|no answer)"
    with pytest.raises(InputError, match=told):
        Ray("auto").at_once(Needs())


def test_without_ray_the_command_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    refused = run("spectral-prep convert --dataset digits --q 4 --engine ray")
    assert refused.code == 2
    assert "pip install 'spectral-shards[ray]'" in refused.err


def _exceptions(name: str, *arguments: Any) -> Exception:
    import ray.exceptions

    made: Exception = getattr(ray.exceptions, name)(*arguments)
    return made


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            functools.partial(_exceptions, "OutOfMemoryError", "4 GB used\nof 4 GB"),
            r"block 3 7 times: .*too little memory.*--workers",
        ),
        (functools.partial(_exceptions, "NodeDiedError", "gone"), r"lost at block 3.*NodeDiedError: .*gone"),
        (
            functools.partial(
                _exceptions, "RayTaskError", "f", "…\nModuleNotFoundError: no spectral_prep", ValueError()
            ),
            r"cannot begin block 3.*Got: ModuleNotFoundError: no spectral_prep.*pip install",
        ),
    ],
    ids=["memory", "node", "code"],
)
def test_what_ray_says_of_a_task_becomes_one_paragraph(make: Callable[[], Exception], told: str) -> None:
    import ray.exceptions

    error = _explained(ray.exceptions, make(), "block 3")
    assert isinstance(error, WorkerError)
    assert "\n" not in str(error)
    assert re.search(told, str(error))


def test_an_address_without_ray_is_refused() -> None:
    refused = run("spectral-prep convert --dataset digits --q 4 --ray-address head:6379")
    assert refused.code == 2
    assert "--ray-address is Ray's" in refused.err
