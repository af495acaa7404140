"""Azure Blob Storage on this machine's loopback: Azurite, Microsoft's own emulator, which npm brings.

Input: nothing. Output: the environment in which az:// URLs reach it, `shared` by all processes of a test session as the
S3 server is; `container` makes one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import shutil
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from spectral_prep.places.url import Url
from tests.support.buckets import RETRY_SECONDS
from tests.support.services import free_port, keep, kept, running, wait_until

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's, the same everywhere and public."""

PROGRAM = "azurite-blob"
VERSION = "2021-08-06"


def needed() -> str:
    """Return the program; skip a test where there is none, and fail where continuous integration has installed it."""
    if found := shutil.which(PROGRAM):
        return found
    reason = f"no {PROGRAM}. Run next: npm install --global azurite"
    if os.environ.get("SPECTRAL_AZURITE") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def shared(folder: Path) -> dict[str, str]:
    """Return the environment of the emulator of this test session, whose temporary folder this is."""
    needed()
    found: dict[str, str] = kept(folder, "tests.support.azure")
    return found


@contextlib.contextmanager
def azurite() -> Iterator[dict[str, str]]:
    """Run the emulator; what it kept goes with it."""
    program, address = needed(), f"http://127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="azurite-", ignore_cleanup_errors=True) as folder:
        log, listening = Path(folder, "log"), ["--blobHost", "127.0.0.1", "--blobPort", address.rpartition(":")[2]]
        options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", folder]
        with running(log, program, *options, *listening):
            wait_until(lambda: _ready(address), log.read_text)
            yield {
                "AZURE_STORAGE_USE_EMULATOR": "true",
                "AZURITE_BLOB_STORAGE_URL": address,
                "SPECTRAL_RETRY_SECONDS": RETRY_SECONDS,
            }


def container(environment: dict[str, str]) -> Url:
    """Make a container of a new name."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    _make(environment["AZURITE_BLOB_STORAGE_URL"], name)
    return Url("az", name)


def _make(address: str, name: str) -> None:
    """Put a container, signed with the shared key: obstore makes none."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION}
    said = "".join(f"{header}:{value}\n" for header, value in sorted(headers.items()))
    text = "PUT" + "\n" * 12 + f"{said}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    request = urllib.request.Request(f"{address}/{ACCOUNT}/{name}?restype=container", method="PUT", headers=headers)
    with urllib.request.urlopen(request, timeout=30):
        pass


def _ready(address: str) -> bool:
    with contextlib.suppress(OSError):
        _make(address, f"ready-{uuid.uuid4().hex[:8]}")
        return True
    return False


if __name__ == "__main__":
    keep(azurite())
