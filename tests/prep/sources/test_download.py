"""Downloading, against a server on loopback: right bytes or none."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spectral_prep.errors import CorruptSourceError, InputError, StorageError
from spectral_prep.sources import open_source
from spectral_prep.sources.download import download
from spectral_prep.sources.releases import RELEASES, Release
from tests.support.releases import CIFAR_LAYOUTS, cifar_files, cifar_rows, write_cifar, write_mnist

REAL = os.environ.get("SPECTRAL_TEST_DATA")
NOWHERE = "http://127.0.0.1:1/"  # the discard port: refuses at once


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, remembers what was asked for and, for "broken", breaks off in the middle."""

    def __init__(self, requests: list[str], *arguments: object, **options: object) -> None:
        self.requests = requests
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.requests.append(self.path.lstrip("/"))
        if self.path.startswith("/broken/"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        else:
            super().do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


class Server:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self.requests, directory=str(root)))
        self.base = f"http://127.0.0.1:{self.http.server_port}/"

    def release(self, *bases: str) -> dict[str, Release]:
        files = [path for path in self.root.iterdir() if path.is_file()]
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        contents = {path.name: hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() for path in files}
        return {"mnist": Release(bases or (self.base,), hashes, contents)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    write_mnist(tmp_path / "served")
    served = Server(tmp_path / "served")
    thread = threading.Thread(target=served.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.http.shutdown()
    served.http.server_close()
    thread.join()


def one_archive(dataset: str, files: dict[str, bytes], base: str = NOWHERE, whole: bytes = b"") -> dict[str, Release]:
    """Return a release of these files, which comes in an archive of this content."""
    words = {
        name: b"\n".join(each.split(b"\n")[:-2]) if name.endswith(".txt") else each for name, each in files.items()
    }
    members = {name: hashlib.md5(content).hexdigest() for name, content in words.items()}
    name = f"{dataset.replace('r10', 'r-10')}-binary.tar.gz"
    return {dataset: Release((base,), {name: hashlib.sha256(whole).hexdigest()}, members=members)}


def failed(release: dict[str, Release], target: Path, mirror: str | None = None) -> str:
    with pytest.raises(CorruptSourceError) as caught:
        download("mnist", target, mirror, release)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_brings_a_release_that_opens(server: Server, tmp_path: Path) -> None:
    download("mnist", tmp_path / "new/mnist", releases=server.release())
    assert len(open_source("mnist", tmp_path / "new/mnist", tmp_path / "staging").index()["train"].names) == 20
    assert sorted(server.requests) == sorted(path.name for path in (tmp_path / "new/mnist").iterdir())


def test_brings_an_archive_that_opens(server: Server, tmp_path: Path) -> None:
    archive = write_cifar(server.root, "cifar10", "binary.tar.gz", cifar_rows())
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    download("cifar10", tmp_path / "c", releases={"cifar10": Release((server.base,), {archive.name: sha256})})
    assert len(open_source("cifar10", tmp_path / "c", tmp_path / "staging").index()["test"].names) == 3


def test_leaves_right_files_alone_and_replaces_wrong_ones(server: Server, tmp_path: Path) -> None:
    release = server.release()
    download("mnist", tmp_path / "mnist", releases=release)
    server.requests.clear()
    download("mnist", tmp_path / "mnist", releases=release)
    assert server.requests == []
    (tmp_path / "mnist/train-labels-idx1-ubyte.gz").write_bytes(b"half of it")
    download("mnist", tmp_path / "mnist", releases=release)
    assert server.requests == ["train-labels-idx1-ubyte.gz"]
    assert (tmp_path / "mnist/train-labels-idx1-ubyte.gz").read_bytes() != b"half of it"


def test_keeps_what_is_right_by_content_however_it_is_packed(server: Server, tmp_path: Path) -> None:
    """One was packed again, one unpacked, one is of no right content, one is not there."""
    release, mnist = server.release(), tmp_path / "mnist"
    download("mnist", mnist, releases=release)
    again, plain, wrong, gone = sorted(mnist.iterdir())
    again.write_bytes(gzip.compress(gzip.decompress(again.read_bytes()), 1, mtime=7))
    plain.with_suffix("").write_bytes(gzip.decompress(plain.read_bytes()))
    wrong.write_bytes(gzip.compress(b"something else"))
    kept = {path: path.read_bytes() for path in (again, plain.with_suffix(""))}
    plain.unlink()
    gone.unlink()
    server.requests.clear()
    download("mnist", mnist, releases=release)
    assert sorted(server.requests) == [wrong.name, gone.name]
    assert {path: path.read_bytes() for path in kept} == kept
    assert not plain.exists()
    assert len(open_source("mnist", mnist, tmp_path / "staging").index()["train"].names) == 20


def test_a_base_that_fails_is_told_in_one_line_before_the_next_is_tried(server: Server, tmp_path: Path) -> None:
    told: list[str] = []
    release = server.release(NOWHERE, server.base + "missing/", server.base)
    download("mnist", tmp_path / "mnist", None, release, told.append)
    assert len(told) == 8
    assert "\n" not in "".join(told)
    assert NOWHERE in told[0]
    assert told[0].endswith(f"trying {server.base}missing/")
    assert "Connection refused" in told[0]
    assert "Pool" not in told[0]
    assert "404" in told[1]


def test_tries_the_bases_in_order(server: Server, tmp_path: Path) -> None:
    release = server.release(NOWHERE, server.base + "missing/", server.base + "broken/", server.base)
    download("mnist", tmp_path / "mnist", releases=release)
    assert len(list((tmp_path / "mnist").iterdir())) == 4
    assert sum(request.startswith("missing/") for request in server.requests) == 4
    assert sum(request.startswith("broken/") for request in server.requests) == 4


def test_a_mirror_is_used_instead(server: Server, tmp_path: Path) -> None:
    download("mnist", tmp_path / "mnist", server.base.rstrip("/"), server.release(NOWHERE))
    assert len(list((tmp_path / "mnist").iterdir())) == 4
    error = failed(server.release(), tmp_path / "other", NOWHERE)
    assert NOWHERE in error
    assert server.base not in error


def test_no_connection_is_one_paragraph(server: Server, tmp_path: Path) -> None:
    error = failed(server.release(NOWHERE), tmp_path / "mnist")
    assert "could not download" in error
    assert NOWHERE in error
    assert "without --download" in error
    assert "\n" not in error
    assert list((tmp_path / "mnist").iterdir()) == []


def test_a_wrong_hash_leaves_nothing(server: Server, tmp_path: Path) -> None:
    release = server.release()
    for path in server.root.iterdir():
        path.write_bytes(path.read_bytes() + b"x")
    error = failed(release, tmp_path / "mnist")
    assert "wrong sha256" in error
    assert list((tmp_path / "mnist").iterdir()) == []


def test_a_connection_that_breaks_off_leaves_nothing(server: Server, tmp_path: Path) -> None:
    assert "could not download" in failed(server.release(server.base + "broken/"), tmp_path / "mnist")
    assert list((tmp_path / "mnist").iterdir()) == []


@pytest.mark.parametrize("mirror", ["not a url", "file:///etc/"])
def test_a_mirror_that_is_no_http_address(server: Server, tmp_path: Path, mirror: str) -> None:
    assert mirror in failed(server.release(), tmp_path / "mnist", mirror)


def test_other_data_sets_cannot_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot download.*cifar10, cifar100. Got: imagenet") as caught:
        download("imagenet", tmp_path)
    assert caught.value.exit_code == 2


def test_without_pooch_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(InputError, match=r"pip install 'spectral-shards\[download\]'"):
        download("mnist", tmp_path)


def test_an_unwritable_target(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write here"):
        download("mnist", tmp_path / "file", releases=server.release())


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pooch.retrieve", full)
    with pytest.raises(StorageError, match="the disk is full"):
        download("mnist", tmp_path / "mnist", releases=server.release())


@pytest.mark.parametrize("layout", CIFAR_LAYOUTS)
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_a_release_in_one_archive_is_kept_if_its_files_are_right(tmp_path: Path, dataset: str, layout: str) -> None:
    """Packed or not, in either form; nothing is asked for, since nobody would answer."""
    files = cifar_files(dataset, layout.partition(".")[0], cifar_rows(dataset))
    write_cifar(tmp_path, dataset, layout, cifar_rows(dataset))
    before = sorted(tmp_path.rglob("*"))
    download(dataset, tmp_path, releases=one_archive(dataset, files))
    assert sorted(tmp_path.rglob("*")) == before
    name = max(files)
    packed = layout.endswith(".gz")
    kind, words = (CorruptSourceError, "could not download") if packed else (InputError, f"other or no {name}")
    with pytest.raises(kind, match=words):
        download(dataset, tmp_path, releases=one_archive(dataset, {**files, name: b"another"}))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unpacked_release_that_is_not_whole_is_neither_replaced_nor_read_in_silence(tmp_path: Path) -> None:
    (write_cifar(tmp_path, "cifar10", "python", cifar_rows()) / "data_batch_4").unlink()
    releases = one_archive("cifar10", cifar_files("cifar10", "python", cifar_rows()))
    with pytest.raises(InputError, match=r"read in place.*batches-py.*other or no data_batch_4.*without --download"):
        download("cifar10", tmp_path, releases=releases)


def test_a_damaged_archive_is_fetched_again(server: Server, tmp_path: Path) -> None:
    whole = write_cifar(server.root, "cifar10", "binary.tar.gz", cifar_rows()).read_bytes()
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(whole[: len(whole) // 2])
    releases = one_archive("cifar10", cifar_files("cifar10", "binary", cifar_rows()), server.base, whole)
    download("cifar10", tmp_path, releases=releases)
    assert (tmp_path / "cifar-10-binary.tar.gz").read_bytes() == whole


@pytest.mark.skipif(REAL is None, reason="SPECTRAL_TEST_DATA does not name a folder with the real data sets")
def test_the_hashes_of_mnist_are_those_of_the_original_files(tmp_path: Path) -> None:
    hashes = RELEASES["mnist"].sha256
    for name in hashes.keys() - {"train-images-idx3-ubyte.gz"}:  # that one is not the original in the test data
        assert hashlib.sha256((Path(str(REAL)) / "mnist" / name).read_bytes()).hexdigest() == hashes[name]
