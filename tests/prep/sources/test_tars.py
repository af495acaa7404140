"""Tar archives read in place: what is found in them, what is refused, and that no damage is silent."""

from __future__ import annotations

import io
import math
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_prep.errors import CorruptSourceError, InputError, SpectralError
from spectral_prep.sources import tars
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.plain_headers import PlainFiles
from spectral_prep.sources.tar_header import MOST_GLOBAL_FIELDS
from spectral_prep.sources.tars import Member, members
from tests.prep.sources.test_hostile import MEMBER, pax
from tests.support.releases import tar_bytes

IMAGES = {"n01_0.JPEG": b"a" * 700, "n01_1.JPEG": b"", "n01_2.JPEG": b"\x89PNG" * 400}
NESTED = {"n01.tar": tar_bytes(IMAGES), "n02.tar": tar_bytes({"n02_0.JPEG": b"z" * 3})}


def written(folder: Path, content: bytes) -> Path:
    (folder / "a.tar").write_bytes(content)
    return folder / "a.tar"


def found(path: Path) -> dict[str, bytes]:
    archive = Archive.of(path)
    return {f"{m.tar}/{m.path}": archive.read(m.offset, m.size) for m in members(path) if m.path}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_nested_tars_are_read_in_place(tmp_path: Path, form: int) -> None:
    path = written(tmp_path, tar_bytes(NESTED, format=form))
    images = {f"n01/{name}": content for name, content in IMAGES.items()}
    assert found(path) == {**images, "n02/n02_0.JPEG": b"z" * 3}
    assert [member.tar for member in members(path) if not member.path] == ["n01", "n02"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_names_that_are_not_utf8(tmp_path: Path, form: int) -> None:
    names = [f"{'deep/' * 60}{'x' * 150}.png", os.fsdecode(b"c/\xff.png"), "c/naïve\n.png"]
    path = written(tmp_path, tar_bytes({name: name.encode("utf-8", "surrogateescape") for name in names}, format=form))
    assert found(path) == {f"/{name}": name.encode("utf-8", "surrogateescape") for name in names}


def test_folders_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in (("./", tarfile.DIRTYPE), ("./c.png/", tarfile.DIRTYPE), ("fifo", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
        for name in ("./c.png/1.png", "./c.png/._1.png", "__MACOSX/._c.png", ".git/2.png", ".DS_Store"):
            tar.addfile(tarfile.TarInfo(name))
    assert list(found(written(tmp_path, buffer.getvalue()))) == ["/c.png/1.png"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE])
def test_links_and_sparse_files_in_place_of_images_are_refused(tmp_path: Path, kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("README", "c/1.png"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "elsewhere"
            tar.addfile(info)
    with pytest.raises(CorruptSourceError, match=r"link or sparse file.*a\.tar!c/1\.png.*extract"):
        found(written(tmp_path, buffer.getvalue()))


WHOLE = tar_bytes(NESTED)
LAST = "n02_0.JPEG"


@pytest.mark.parametrize("keep", range(256, WHOLE.index(b"z" * 3) + 2, 509))
def test_a_truncated_archive_is_named_with_its_member(tmp_path: Path, keep: int) -> None:
    with pytest.raises(CorruptSourceError, match=r"a\.tar.*truncated|truncated.*a\.tar|damaged.*a\.tar") as caught:
        found(written(tmp_path, WHOLE[:keep]))
    if keep >= 512:
        assert "a.tar!n0" in str(caught.value)


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_an_archive_cut_between_two_members(tmp_path: Path, blocks: int) -> None:
    simple = tar_bytes(IMAGES)
    cut = {1: 512 + 1024, 2: 512 + 1024 + 512, 5: 512 + 1024 + 512 + 512 + 2048}[blocks]
    with pytest.raises(CorruptSourceError, match=r"truncated or damaged.*a\.tar!n01_\d.*end marker"):
        found(written(tmp_path, simple[:cut]))


def test_a_damaged_header_in_the_middle(tmp_path: Path) -> None:
    simple = bytearray(tar_bytes(IMAGES))
    simple[512 + 1024 + 3] ^= 1
    with pytest.raises(CorruptSourceError, match=r"truncated or damaged.*a\.tar!n01_0\.JPEG.*byte 1536"):
        found(written(tmp_path, bytes(simple)))


def test_a_nested_tar_without_end_marker_is_whole_by_the_size_outside(tmp_path: Path) -> None:
    inner = tar_bytes({"1.png": b"x"})[:1024]
    assert found(written(tmp_path, tar_bytes({"n01.tar": inner, "n02.tar": inner}))) == {
        "n01/1.png": b"x",
        "n02/1.png": b"x",
    }


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b" + bytes(600), bytes(100)])
def test_what_is_no_tar(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CorruptSourceError, match=r"a\.tar"):
        found(written(tmp_path, content))


def test_an_archive_that_changes_after_indexing(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    archive, first = Archive.of(path), next(member for member in members(path) if member.path)
    os.utime(path, ns=(0, 1))
    with pytest.raises(InputError, match="changed since it was indexed"):
        archive.read(first.offset, first.size)
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        archive.read(first.offset, first.size)


def test_a_member_knows_where_its_bytes_are(tmp_path: Path) -> None:
    path = written(tmp_path, tar_bytes({"c/1.png": b"12345"}))
    assert list(members(path)) == [Member("", "c/1.png", 512, 5)]


@settings(max_examples=150, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_only_our_errors_escape_from_any_archive(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    content = bytearray(WHOLE)
    for place, bits in flips:
        content[place] ^= bits
    path = written(tmp_path_factory.mktemp("fuzz"), bytes(content))
    try:
        found(path)
    except SpectralError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_negative_size_does_not_seek_backwards_for_ever(tmp_path: Path) -> None:
    header = tarfile.TarInfo("c/1.png")
    header.size = -1024
    content = header.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(CorruptSourceError, match="-1024"):
        found(written(tmp_path, tar_bytes({"c/0.png": b"1"})[:1024] + content))


@pytest.mark.parametrize("fields", [MOST_GLOBAL_FIELDS, MOST_GLOBAL_FIELDS + 1])
def test_global_fields_are_counted_over_all_headers(tmp_path: Path, fields: int) -> None:
    """Each adds one field to those that hold for all members that follow, and tarfile keeps them for each member.

    A member follows each header: that many in a row nest too deep for Python before they are too many.
    """
    path = tmp_path / "x.tar"
    headers = [pax(tarfile.XGLTYPE, **{f"field{number}": "x"}) for number in range(fields)]
    path.write_bytes(
        b"".join(each + MEMBER for each in headers) + pax(tarfile.XHDTYPE, comment="x") + MEMBER + bytes(1024)
    )
    if fields > MOST_GLOBAL_FIELDS:
        with pytest.raises(CorruptSourceError, match=rf"{fields} fields in global headers"):
            list(members(path))
    else:
        assert [member.path for member in members(path)] == ["c/1.png"] * (fields + 1)


NO_FILES = PlainFiles([], np.empty(0, np.int64), np.empty(0, np.int64), 0)
FORMS = [tar_bytes(NESTED, format=form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
MIXED = tar_bytes({"a.png": b"1", f"{'d' * 90}/{'e' * 90}.png": b"2", "./b.png": b"3", "c/.x.png": b"4", "d.png": b"5"})


def told(path: Path) -> object:
    try:
        return list(members(path))
    except SpectralError as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(
    whole=st.sampled_from([*FORMS, MIXED]),
    flips=st.lists(st.tuples(st.integers(0, 4096), st.integers(1, 255)), max_size=2),
    mend=st.booleans(),
)
def test_many_headers_at_a_time_are_what_tarfile_says_of_them_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, flips: list[tuple[int, int]], mend: bool
) -> None:
    """Also of damaged headers, and of those whose checksum is right all the same."""
    content = bytearray(whole)
    for place, bits in flips:
        content[place % len(content)] ^= bits
        start = place % len(content) // 512 * 512
        if mend and content[start + 257 : start + 262] == b"ustar":
            content[start + 148 : start + 156] = b" " * 8
            content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
    path = written(tmp_path_factory.mktemp("any"), bytes(content))
    with pytest.MonkeyPatch.context() as patch:
        fast = told(path)
        patch.setattr(tars, "plain_files", lambda *_: NO_FILES)
        assert fast == told(path)


def test_plain_headers_never_come_to_tarfile_but_for_the_first_and_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(tars, "_entry", lambda header, *_: read.append(header.name))
    path = written(tmp_path, tar_bytes({f"{number}.png": bytes(number) for number in range(3000)}))
    assert [member.path for member in members(path)] == [f"{number}.png" for number in range(1, 3000)]
    assert read == ["0.png"]


@pytest.mark.parametrize("wait", [-math.inf, math.inf], ids=["several at once", "one by one"])
@pytest.mark.parametrize("damage", [0, 1])
def test_class_tars_come_in_order_and_so_do_errors_however_many_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: int, wait: float
) -> None:
    monkeypatch.setattr(tars, "LEAST_WAIT", wait)
    monkeypatch.setattr(tars, "TARS_BETWEEN_LOOKS", 48)
    inner = [tar_bytes({f"n{number:02}_{image}.png": b"x" for image in range(3)}) for number in range(80)]
    content = tar_bytes({f"n{number:02}.tar": each for number, each in enumerate(inner)})
    if damage:
        spoilt = bytearray(content)
        for name in (b"n40_1.png", b"n20_2.png"):
            spoilt[spoilt.index(name)] ^= 1
        with pytest.raises(CorruptSourceError, match=r"a\.tar!n20\.tar!n20_1\.png"):
            list(members(written(tmp_path, bytes(spoilt))))
    else:
        order = [member.path for member in members(written(tmp_path, content)) if member.path]
        assert order == [f"n{number:02}_{image}.png" for number in range(80) for image in range(3)]
