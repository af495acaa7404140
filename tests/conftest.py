"""One thread a test, one small data set for many tests, and the real sets where SPECTRAL_TEST_DATA names them."""

from __future__ import annotations

import functools
import multiprocessing
import os
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

from spectral_prep.choices import Format
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.places.url import Url
from spectral_prep.sources import digits as digits_source
from spectral_prep.system.threads import blas_threads
from spectral_train.training import processes
from tests.support import azure, ready
from tests.support.buckets import Server, shared
from tests.support.clusters import ENVIRONMENT, two_nodes
from tests.support.commands import done, many_blocks
from tests.support.services import ROOT
from tests.support.trees import tree
from tests.torture.bench import ONE_THREAD

LONGEST = (
    "tests/deploy/test_slurm.py",
    "tests/prep/kernel/test_install.py",
    "tests/workflow/test_readme.py",
    "tests/deploy/test_ssh.py",
    "tests/workflow/test_buckets.py",
    "tests/prep/engines/test_ray_cluster.py",
    "tests/train/training/test_branches_on_ray.py",
    "tests/prep/conversion/test_estimate.py",
    "tests/workflow/test_real_data.py",
)
"""The files that hold the longest tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let processes that share the tests begin with the longest: none is left with one when the others are done."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = {file: number for number, file in enumerate(LONGEST)}
        items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))


WORK = ("spectral_prep.conversion.sampled", "spectral_train.training.devices", "torch._dynamo")
"""What the workers of any test import: torch's optimizers want the last."""


@pytest.fixture(autouse=True, scope="session")
def _workers_import_nothing() -> Iterator[None]:
    """Let the process that workers are forked from, one for all tests of a session, import what any of them needs."""
    preload = ForkServerContext.set_forkserver_preload
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(WORK))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            ForkServerContext, "set_forkserver_preload", lambda context, names: preload(context, [*names, *WORK])
        )
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread_a_process() -> Iterator[None]:
    """Tests share their cores: threads that wait for each other would be many times slower, in what they start, too."""
    with pytest.MonkeyPatch.context() as patched, blas_threads(1):
        for name, value in ONE_THREAD.items():
            patched.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Let a test train and compute on one."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "usable_cpus", lambda: 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Do without fsync, here and in what is started: 20 ms a file on some disks, and a third of a conversion's time.

    No test cuts the power, and `test_files` counts the calls; `tests.torture` starts what it disturbs with them.
    """
    everywhere = tmp_path_factory.mktemp("no-fsync")
    (everywhere / "sitecustomize.py").write_text("import os\n\nos.fsync = lambda descriptor: None\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        patched.setenv("PYTHONPATH", str(everywhere), prepend=os.pathsep)
        yield


@pytest.fixture(autouse=True, scope="session")
def _digits_read_once() -> Iterator[None]:
    """Read scikit-learn's file of digits once: reading it is half of a small conversion."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(digits_source, "_table", functools.cache(digits_source._table))
        yield


@pytest.fixture(autouse=True, scope="session")
def _ray_on_the_loopback() -> Iterator[None]:
    """Keep Ray off any network, wherever a test or what it starts imports it."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in ENVIRONMENT.items():
            patched.setenv(name, value)
        patched.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that the real image sets were unpacked to."""
    folder = os.environ.get("SPECTRAL_TEST_DATA")
    if not folder:
        pytest.skip("SPECTRAL_TEST_DATA does not name the folder of the real image sets")
    return Path(folder)


@pytest.fixture(scope="session")
def _digits_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Path]:
    @functools.cache
    def converted(format: Format) -> Path:
        out = tmp_path_factory.mktemp(format) / "digits-q4"
        convert(Request("digits", "4", block_rows=300, format=format), Path(), out)
        return out

    return converted


@pytest.fixture
def digits_as(_digits_once: Callable[[Format], Path], tmp_path: Path) -> Callable[[Format], Path]:
    """Make a converted data set of a test's own: digits at Q = 4, seven blocks, in a format."""
    return lambda format: Path(shutil.copytree(_digits_once(format), tmp_path / f"digits-q4-{format}"))


@pytest.fixture(scope="session")
def _session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this session; its processes, if there are several, share the one above their own."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def bucket_server(_session_folder: Path) -> Server:
    """The object store of this session."""
    return shared(_session_folder)


@pytest.fixture
def _reachable(bucket_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a user sets in the environment, also for commands that it starts; copies go to a folder of its own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in bucket_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPECTRAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bucket(bucket_server: Server, _reachable: None) -> Url:
    """Make a bucket of a test's own, empty."""
    return bucket_server.bucket()


@pytest.fixture(scope="session")
def _shared_bucket(bucket_server: Server) -> Url:
    return bucket_server.bucket()


@pytest.fixture
def bucket_folder(_shared_bucket: Url, _reachable: None) -> Url:
    """Name a folder of a test's own in a bucket that others use as well: the first put into a bucket takes 0.2 s."""
    return _shared_bucket / uuid.uuid4().hex


@pytest.fixture(scope="session")
def _azure_server(_session_folder: Path) -> dict[str, str]:
    return azure.shared(_session_folder)


@pytest.fixture
def container(_azure_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Url:
    """Make an empty container of Azure Blob Storage, with what a user sets in the environment to reach it."""
    for name, value in {**_azure_server, "SPECTRAL_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    return azure.container(_azure_server)


@pytest.fixture
def digits(digits_as: Callable[[Format], Path]) -> Path:
    """Such a data set as Zarr."""
    return digits_as("zarr")


@pytest.fixture
def digit_tars(digits_as: Callable[[Format], Path]) -> Path:
    """Such a data set as WebDataset tars."""
    return digits_as("webdataset")


@pytest.fixture(scope="session")
def in_many_blocks(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, bytes]]:
    """The command of `many_blocks`, and what it makes if nothing disturbs it."""
    folder = tmp_path_factory.mktemp("many-blocks")
    arguments = many_blocks(folder)
    done(shlex.join(["spectral-prep", *arguments, "--workers", "1", "--out", str(folder / "undisturbed")]))
    return arguments, tree(folder / "undisturbed")


@pytest.fixture(scope="session")
def ray_nodes(_ray_on_the_loopback: None) -> Iterator[Any]:
    """A Ray cluster of two nodes with a CPU each, to which this process is connected."""
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def commands(_session_folder: Path) -> Path:
    """A folder with the three commands, and nothing else."""
    return ready.shared(_session_folder)


@pytest.fixture(scope="session")
def python(commands: Path) -> str:
    """What stands for Python where a test gives it the text of a program: all is imported already."""
    return str(commands.with_name("python"))


@pytest.fixture
def clone(tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a user stands in, as it is the clone that the pages speak of."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    return tmp_path
