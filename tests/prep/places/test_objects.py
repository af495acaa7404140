"""What only a bucket can do wrong: refuse, fall silent, change, or be used where it would hang."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from spectral_prep.errors import InputError, SpectralError, StorageError
from spectral_prep.places import at, atomic_write, exists
from spectral_prep.places.bucket import _store
from spectral_prep.places.object_stream import SOUGHT_BYTES
from spectral_prep.places.url import Url
from spectral_prep.system.files import ANYWHERE, Advice
from tests.support.buckets import SECRET, Server

AMAZON = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
AZURE = "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
LARGE = b"0123456789abcdef" * (1 << 20)  # two pieces of a multipart upload

CALLS: dict[str, Callable[[Url], object]] = {
    "read": lambda url: at(url / "a").read(10),
    "range": lambda url: at(url / "a").open().read(0, 1),
    "size": lambda url: at(url / "a").size(),
    "list": lambda url: list(at(url).files()),
    "folders": lambda url: at(url).folders(),
    "put": lambda url: atomic_write(url / "a", b"x"),
    "multipart": lambda url: atomic_write(url / "a", LARGE),
    "create": lambda url: at(url / "a").create(b"x", ANYWHERE),
    "remove": lambda url: at(url / "a").remove(),
}


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> Callable[[Url], object]:
    return CALLS[request.param]


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Let go of stores that were opened with another environment, before and after."""
    _store.cache_clear()
    try:
        yield
    finally:
        _store.cache_clear()


def one_paragraph(error: SpectralError) -> str:
    text = str(error)
    assert "\n" not in text
    assert SECRET not in text
    assert "Signature=" not in text
    return text


@pytest.mark.parametrize(
    ("kind", "variable", "value", "secret", "expected"),
    [
        ("bucket_folder", "AWS_SECRET_ACCESS_KEY", "another-secret", "another-secret", AMAZON),
        ("bucket_folder", "AWS_ACCESS_KEY_ID", "nobody", "another-secret", AMAZON),
        ("container", "AZURE_STORAGE_ACCOUNT_KEY", "b3RoZXI=", "b3RoZXI", AZURE),
    ],
)
def test_a_wrong_key_is_said_in_one_paragraph(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Url], object],
    kind: str,
    variable: str,
    value: str,
    secret: str,
    expected: str,
) -> None:
    folder: Url = request.getfixturevalue(kind)
    monkeypatch.setenv(variable, value)
    with forgotten(), pytest.raises(InputError, match=r"the object store does not let us (read|write) here") as caught:
        call(folder)
    told = one_paragraph(caught.value)
    assert f"Where: {folder}" in told
    assert expected in told
    assert secret not in told


def test_no_key_at_all_is_said_as_one_that_is_refused(bucket_folder: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment has none, a cloud's machines ask a server of theirs, which other machines cannot reach."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("SPECTRAL_RETRY_SECONDS", "1")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9/169.254.169.254")
    with forgotten(), pytest.raises(InputError, match=r"does not let us read here.*AWS_ACCESS_KEY_ID.*Got: none"):
        at(bucket_folder / "a").read(1)


@pytest.mark.parametrize(
    ("scheme", "bucket", "variable", "value", "expected", "got"),
    [
        ("az", "b", "AZURE_STORAGE_USE_EMULATOR", "false", "AZURE_STORAGE_ACCOUNT_NAME", "Account must be specified"),
        ("gs", "b", "GOOGLE_APPLICATION_CREDENTIALS", "/no/key.json", "GOOGLE_APPLICATION_CREDENTIALS", "/no/key.json"),
        ("gs", "b", "GOOGLE_APPLICATION_CREDENTIALS", os.devnull, "GOOGLE_APPLICATION_CREDENTIALS", "service account"),
        ("s3", "Bad Bucket", "AWS_REGION", "us-east-1", "the name of a bucket", "invalid"),
    ],
)
def test_an_account_or_a_bucket_that_cannot_be_is_said(
    monkeypatch: pytest.MonkeyPatch, scheme: str, bucket: str, variable: str, value: str, expected: str, got: str
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    monkeypatch.setenv(variable, value)
    with forgotten(), pytest.raises(InputError, match=f"the object store cannot be opened.*{expected}.*Got: .*{got}"):
        at(Url(scheme, bucket, "a")).read(1)


@pytest.mark.parametrize("kind", ["bucket", "container"])
@pytest.mark.parametrize("name", ["list", "folders", "put", "multipart", "create", "read"])
def test_a_bucket_that_is_not_there_is_named(request: pytest.FixtureRequest, kind: str, name: str) -> None:
    bucket: Url = request.getfixturevalue(kind)
    missing = Url(bucket.scheme, f"{bucket.bucket}-missing")
    with pytest.raises(InputError, match=f"no such bucket. Where: {missing}") as caught:
        CALLS[name](missing)
    one_paragraph(caught.value)


@pytest.mark.parametrize("listening", [True, False], ids=["silent", "not there"])
def test_a_server_that_does_not_answer_is_given_up(
    bucket_folder: Url, monkeypatch: pytest.MonkeyPatch, listening: bool
) -> None:
    monkeypatch.setenv("SPECTRAL_RETRY_SECONDS", "1")
    with socket.socket() as server, forgotten():
        server.bind(("127.0.0.1", 0))
        if listening:
            server.listen(16)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        with ThreadPoolExecutor(len(CALLS)) as pool:
            asked = [pool.submit(each, bucket_folder) for each in CALLS.values()]
            for answer in asked:
                error = answer.exception()
                assert isinstance(error, StorageError), error
                assert f"the object store failed. Where: {bucket_folder}" in one_paragraph(error)
                assert "Run next: the same command once it answers" in str(error)
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e9", ""])
def test_a_time_that_is_none_is_refused(bucket_folder: Url, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SPECTRAL_RETRY_SECONDS", text)
    with forgotten(), pytest.raises(InputError, match="unusable SPECTRAL_RETRY_SECONDS"):
        at(bucket_folder / "a").read(1)


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a/../b", "\udcff"])
def test_a_name_that_no_object_has_is_refused(bucket_folder: Url, name: str) -> None:
    for call in (lambda: at(bucket_folder / name).read(1), lambda: atomic_write(bucket_folder / name, b"x")):
        with pytest.raises(InputError, match="an object has a name that cannot be used"):
            call()


def test_a_large_file_comes_in_pieces_and_is_seen_whole_only(bucket: Url, bucket_server: Server) -> None:
    seen: set[int | None] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(at(bucket / "large").size())

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        atomic_write(bucket / "large", LARGE)
        while len(LARGE) not in seen:
            time.sleep(0.01)
        done.set()
        watching.result()
    assert seen == {None, len(LARGE)}
    assert at(bucket / "large").read(len(LARGE)) == LARGE
    assert (
        bucket_server.counted(bucket)["COMPLETE"] or bucket_server.counted(bucket)["POST"] >= 2
    )  # begun and completed


WRITER = """
import os, sys
from spectral_prep.places import at
from spectral_prep.places.url import place_of
from spectral_prep.system.files import ANYWHERE
file = at(place_of(sys.argv[1])).new(ANYWHERE)
for _ in range(64):
    file.append(os.urandom(1 << 20))
print("writing", flush=True)
file.finish()
print("written", flush=True)
"""


@pytest.mark.parametrize("after", [0.0, 0.1, 0.3])
def test_a_killed_writer_publishes_nothing_or_all(bucket: Url, python: str, after: float) -> None:
    program = [python, "-c", WRITER, str(bucket / "large")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "writing\n"
        time.sleep(after)
        writer.send_signal(signal.SIGKILL)
        told = writer.stdout.read()
    assert at(bucket / "large").size() in ({64 << 20} if told else {None, 64 << 20})
    assert [entry.size for entry in at(bucket).files()] in ([], [64 << 20])


def test_a_full_scratch_folder_is_said_with_what_helps(bucket_folder: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    advice = Advice(full="free space", refused="another folder")
    file = at(bucket_folder / "new").new(advice)
    for name in ("write", "seek"):
        with monkeypatch.context() as patched:
            patched.setattr(file._content, name, full, raising=False)  # type: ignore[attr-defined]
            with pytest.raises(StorageError, match=r"the disk is full.*Run next: free space"):
                file.append(b"x") if name == "write" else file.finish()
    file.abandon()
    assert not exists(bucket_folder / "new")


def test_a_created_object_whose_answer_was_lost_is_ones_own(bucket_folder: Url) -> None:
    assert at(bucket_folder / "plan").create(b"mine", ANYWHERE)
    assert at(bucket_folder / "plan").create(b"mine", ANYWHERE)
    assert not at(bucket_folder / "plan").create(b"another's", ANYWHERE)
    assert at(bucket_folder / "plan").read(10) == b"mine"


def test_a_stream_takes_few_requests(bucket: Url, bucket_server: Server) -> None:
    atomic_write(bucket / "large", LARGE)
    before = bucket_server.counted(bucket)
    with at(bucket / "large").stream() as stream:
        while stream.read(1000):
            pass
    with at(bucket / "large").stream(0) as stream:
        assert stream.read() == LARGE
    asked = bucket_server.counted(bucket) - before
    assert (asked["GET"], asked["HEAD"], asked["sent"]) == (4, 0, 2 * len(LARGE))


def test_a_stream_that_jumps_asks_for_little_and_for_more_where_it_goes_on(bucket: Url, bucket_server: Server) -> None:
    atomic_write(bucket / "large", LARGE)
    before = bucket_server.counted(bucket)
    with at(bucket / "large").stream(0) as stream:
        for start in (4 << 20, 7 << 20):
            stream.seek(start)
            assert stream.read(512) == LARGE[start : start + 512]
        asked = bucket_server.counted(bucket) - before
        assert (asked["GET"], asked["sent"]) == (2, 2 * SOUGHT_BYTES)
        stream.seek(1 << 20)
        assert stream.read() == LARGE[1 << 20 :]
    so_far = bucket_server.counted(bucket)
    assert (so_far - before)["GET"] <= 2 + 7
    with at(bucket / "large").stream() as stream:
        stream.seek(4 << 20)
        assert stream.read(5 << 20) == LARGE[4 << 20 : 9 << 20]
    assert (bucket_server.counted(bucket) - so_far)["GET"] == 1


def test_near_pieces_take_one_request(bucket: Url, bucket_server: Server) -> None:
    atomic_write(bucket / "large", LARGE)
    before = bucket_server.counted(bucket)
    with at(bucket / "large").open() as file:
        file.read_ranges([(offset, 10_000) for offset in range(0, 1_000_000, 20_000)])
    assert (bucket_server.counted(bucket) - before)["GET"] == 1


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Url]]:
    """Answer every request for a listing with these keys, as SeaweedFS cannot: it keeps folders of its own."""
    answer: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer[0])))
            self.end_headers()
            self.wfile.write(answer[0])

        def log_message(self, format: str, *_: Any) -> None:
            pass

    def listed(*keys: str) -> Url:
        entries = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>e</ETag>"
            f"<Size>{0 if key.endswith('/') else 3}</Size></Contents>"
            for key in keys
        )
        answer[:] = [f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()]
        return Url("s3", "listed", "m")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, forgotten():
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("REGION", "r")):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield listed
        server.shutdown()


def test_a_folder_that_a_console_made_is_no_file(listing: Callable[..., Url]) -> None:
    here = at(listing("m/", "m/a/", "m/a/b/", "m/a/b/1", "m/c", "m/empty"))
    assert [*here.files()] == [("a/b/1", 3), ("c", 3), ("empty", 3)]
    assert at(listing("m/", "m/c")).names() == ["c"]
    assert at(listing("m/")).is_folder()
    assert [*at(listing("m/")).paths()] == at(listing("m/")).names() == []


@pytest.mark.parametrize("key", ["m/a&#9;b", "m//a", "m/../a"])
def test_a_listed_name_that_cannot_be_used_is_said(listing: Callable[..., Url], key: str) -> None:
    with pytest.raises(InputError, match=r"an object has a name that cannot be used. Where: s3://listed/m"):
        list(at(listing("m/b", key)).files())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_what_to_do_instead_of_hanging(bucket_folder: Url) -> None:
    atomic_write(bucket_folder / "a", b"x")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # in the child nothing may be left to pytest
        try:
            signal.alarm(20)
            at(bucket_folder / "a").read(1)
            told = "read"
        except InputError as error:
            told = str(error)
        finally:
            os.write(writing, told.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    assert said.startswith(f"an object store cannot be used here. Where: {bucket_folder / 'a'}")
    assert 'multiprocessing_context="forkserver"' in said
    assert at(bucket_folder / "a").read(1) == b"x"


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_process_that_was_started_afresh_reads(bucket_folder: Url, method: str) -> None:
    atomic_write(bucket_folder / "a", b"x")
    with multiprocessing.get_context(method).Pool(1, _set, (dict(os.environ),)) as pool:
        assert pool.apply_async(_read, (bucket_folder / "a",)).get(60) == b"x"


def _set(environment: dict[str, str]) -> None:
    """Give a process of a server that another test started the environment of this one."""
    os.environ.update(environment)


def _read(url: Url) -> bytes:
    return at(url).read(1)
