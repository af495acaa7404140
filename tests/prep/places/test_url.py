"""What a user types becomes a path or a URL, and nothing else."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from spectral_prep.errors import InputError
from spectral_prep.places.url import Url, below, place_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b", Url("s3", "bucket", "a/b")),
        ("S3://bucket", Url("s3", "bucket", "")),
        ("s3://bucket/", Url("s3", "bucket", "")),
        ("gs://bucket//a///b/", Url("gs", "bucket", "a/b")),
        ("az://container/a b%20#?*", Url("az", "container", "a b%20#?*")),
        ("data/mnist", Path("data/mnist")),
        ("/data/s3://x", Path("/data/s3://x")),
        ("s3", Path("s3")),
        ("", Path()),
    ],
)
def test_what_is_typed_is_a_place(text: str, expected: object) -> None:
    assert place_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://host/a",
        "file:///a",
        "s3:///a",
        "s3://",
        "s3://b/../c",
        "s3://b/./c",
        "s3://b/a\nb",
        "s3://b/\udcff",
        "s3://b\t/a",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"unusable URL.*Expected: a path, or s3://, gs:// or az:// and a bucket"):
        place_of(text)


@pytest.mark.parametrize("key", ["a", "a/b", "a/b.tar", "a/b.tar.gz", "a.b/c", "a/.hidden"])
def test_a_url_is_taken_apart_as_a_path_is(key: str) -> None:
    url, path = Url("s3", "bucket", key), PurePosixPath(key)
    assert (url.name, url.stem, url.suffix) == (path.name, path.stem, path.suffix)
    assert str(url.parent) == f"s3://bucket/{path.parent}".removesuffix("/.")
    assert place_of(str(url)) == url
    assert (url / "c/d").key == str(path / "c/d")
    assert below(url, url / "c/d") == "c/d"


def test_a_whole_bucket_has_its_name() -> None:
    whole = Url("s3", "bucket")
    assert (str(whole), whole.name, whole.parent, whole / "a") == (
        "s3://bucket",
        "bucket",
        whole,
        Url("s3", "bucket", "a"),
    )
    assert below(whole, whole / "a/b") == "a/b"
