"""What `Here` promises, kept alike on a disk, in a bucket of S3's kind and in Azure's."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from spectral_prep.places import at, atomic_write, exists, is_there, on_disk, replace_together, sha256_of
from spectral_prep.places.interface import NewFile
from spectral_prep.places.url import Place
from spectral_prep.system.files import ANYWHERE

ODD = (
    "a b",
    "a#b",
    "a%20b",
    "100%",
    "münchen",
    "日本",
    "q?x=1",
    "st*r",
    "a+b&c",
    "[x]{y}",
    "'q'",
    '"d"',
    "~",
    "a..b",
    ".h",
)


@pytest.fixture(params=["disk", "bucket", "azure"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return tmp_path / "root"
    place: Place = request.getfixturevalue({"bucket": "bucket_folder", "azure": "container"}[request.param])
    return place / "root" if request.param == "azure" else place


def put(place: Place, content: bytes = b"0123456789") -> Place:
    atomic_write(place, content)
    return place


def test_what_is_written_is_read_whole_and_in_ranges(root: Place) -> None:
    place = put(root / "folder" / "file.bin")
    assert at(place).read(10) == b"0123456789"
    assert at(place).size() == 10
    assert exists(place)
    with at(place).open() as file:
        assert file.size == 10
        assert file.read(3, 4) == b"3456"
        assert file.read(10, 0) == b""
        assert file.read_ranges([(8, 2), (0, 1), (4, 0), (1, 3), (1, 3)]) == [b"89", b"0", b"", b"123", b"123"]
        assert file.read_ranges([]) == []


def test_ranges_that_are_far_apart_are_read_right(root: Place) -> None:
    content = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(300_000))
    place = put(root / "large", content)  # 9 MiB: a multipart upload
    wanted = [(9_000_000, 5), (0, 7), (4_000_000, 100), (100, 1), (4_000_050, 100), (2_000_000, 1_500_000)]
    with at(place).open() as file:
        assert file.read_ranges(wanted) == [content[offset : offset + size] for offset, size in wanted]
    assert sha256_of(place) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("wanted", [(5, 6), (11, 1), (10, 1), (-1, 2), (0, -1), (1 << 62, 1 << 62)])
def test_bytes_that_are_not_there_are_an_error(root: Place, wanted: tuple[int, int]) -> None:
    with at(put(root / "file")).open() as file, pytest.raises(ValueError):  # noqa: PT011 the texts differ
        file.read_ranges([(0, 1), wanted])


def test_a_whole_file_is_read_up_to_a_size(root: Place) -> None:
    with pytest.raises(ValueError, match="has 10 bytes, expected at most 9"):
        at(put(root / "file")).read(9)


def test_a_stream_reads_seeks_and_ends_as_a_file_does(root: Place) -> None:
    content = bytes(range(256)) * 40_000
    with at(put(root / "file", content)).stream() as stream:
        assert stream.read(5) == content[:5]
        assert stream.seek(-3, io.SEEK_END) == len(content) - 3
        assert stream.read() == content[-3:]
        assert stream.read(1) == b""
        assert stream.seek(1_000_000) == stream.tell() == 1_000_000
        assert stream.seek(5, io.SEEK_CUR) == 1_000_005
        assert stream.read(10) == content[1_000_005:1_000_015]
        stream.seek(0)
        assert stream.read() == content
        stream.seek(len(content) + 5)
        assert stream.read() == b""


@pytest.mark.parametrize("named", [0, 1])
def test_files_that_were_not_all_replaced_have_nothing_that_vouches_for_them(
    root: Place, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, record = put(root / "part", b"old"), put(root / "record", b"old")
    unused = at(part).new(ANYWHERE)
    unused.abandon()
    kind, done = type(unused), list[Place]()
    finish = kind.finish

    def killed(file: NewFile) -> None:
        if len(done) == named:
            raise KeyboardInterrupt
        done.append(file.place)
        finish(file)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            replace_together({part: b"new", record: b"new"})
    assert (exists(record), at(part).read(3)) == (False, b"new" if named else b"old")
    replace_together({part: b"new", record: b"new"})
    assert at(part).read(3) == at(record).read(3) == b"new"
    assert sorted(at(root).files()) == [("part", 3), ("record", 3)]


def test_an_empty_file_is_a_file(root: Place) -> None:
    place = put(root / "empty", b"")
    assert at(place).size() == 0
    assert at(place).read(0) == b""
    with at(place).stream() as stream:
        assert stream.read() == b""
    assert [*at(root).files()] == [("empty", 0)]


def test_what_is_not_there_is_not_found(root: Place) -> None:
    put(root / "other")
    assert at(root / "none").size() is None
    assert not is_there(root / "none")
    assert not at(root / "none").is_folder()
    for read in (
        lambda: at(root / "none").read(1),
        lambda: at(root / "none").stream().read(1),
        lambda: at(root / "none").open().read(0, 1),
        lambda: at(root / "none").state(),
        lambda: sha256_of(root / "none"),
    ):
        with pytest.raises(FileNotFoundError):
            read()


def test_a_file_appears_when_it_is_finished_and_not_before(root: Place) -> None:
    put(root / "other")
    for content in (b"small", b"large" * 2_000_000):
        file = at(root / "new").new(ANYWHERE)
        file.append(content[:3])
        file.append(content[3:])
        assert [path for path in at(root).paths() if not path.endswith(".partial")] == ["other"]
        assert not exists(root / "new")
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        file.finish()
        file.abandon()
        assert at(root / "new").read(1 << 25) == content
        at(root / "new").remove()
        assert not exists(root / "new")


def test_an_abandoned_file_leaves_what_was_there(root: Place) -> None:
    put(root / "kept", b"old")
    for name in ("kept", "new"):
        file = at(root / name).new(ANYWHERE)
        file.append(b"x" * 9_000_000)
        file.abandon()
        file.abandon()
    assert [*at(root).files()] == [("kept", 3)]


def test_a_new_file_takes_the_place_of_the_old_one(root: Place) -> None:
    put(put(root / "file", b"old, and longer"), b"new")
    assert at(root / "file").read(3) == b"new"


def test_many_files_are_finished_together(root: Place) -> None:
    files = [at(root / "folder" / f"{number}").new(ANYWHERE) for number in range(20)]
    for number, file in enumerate(files):
        file.append(b"%d" % number)
    at(root).finish(files)
    assert sorted(at(root / "folder").files()) == sorted((f"{n}", len(f"{n}")) for n in range(20))


def test_of_sixteen_writers_who_create_a_file_exactly_one_does(root: Place) -> None:
    barrier = Barrier(16)

    def create(number: int) -> bool:
        barrier.wait()
        return at(root / "plan.json").create(b"written by %d" % number, ANYWHERE)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert sum(won) == 1
    assert at(root / "plan.json").read(100) == b"written by %d" % won.index(True)
    assert not at(root / "plan.json").create(b"too late", ANYWHERE)
    assert [*at(root).paths()] == ["plan.json"]


def test_what_is_removed_is_gone_and_removing_nothing_is_no_error(root: Place) -> None:
    put(root / "kept")
    at(put(root / "file")).remove()
    at(root / "file").remove()
    assert [*at(root).paths()] == ["kept"]


def test_folders_names_and_files_are_told_apart(root: Place) -> None:
    for path in ("b/1", "b/2", "a/x/1", "top", "b2/1"):
        put(root / path)
    assert at(root).folders() == ["a", "b", "b2"]
    assert at(root).names() == ["top"]
    assert (at(root / "b").folders(), at(root / "b").names()) == ([], ["1", "2"])
    assert sorted(at(root).paths()) == ["a/x/1", "b/1", "b/2", "b2/1", "top"]
    assert sorted(at(root / "b").files()) == [("1", 10), ("2", 10)]
    assert [at(root / name).is_folder() for name in ("a", "a/x", "b", "top", "to", "c")] == [True] * 3 + [False] * 3
    assert at(root / "top").size() is not None
    assert at(root / "a").size() is None


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_what_it_is_however_odd(root: Place, name: str) -> None:
    content = name.encode()
    place = put(root / name / f"{name}.png", content)
    assert at(root).folders() == [name]
    assert at(root / name).names() == [f"{name}.png"]
    assert [*at(root).paths()] == [f"{name}/{name}.png"]
    assert at(root).holds(f"{name}/{name}.png")
    assert at(place).read(100) == content
    with at(place).open() as file:
        assert file.read(0, 1) == content[:1]
    assert at(place).state().size == at(place).size() == len(content)
    assert on_disk(place).read_bytes() == content
    at(place).remove()
    assert not exists(place)


def test_only_what_lies_below_is_held(root: Place) -> None:
    put(root / "folder" / "in")
    put(root / "out")
    here = at(root / "folder")
    assert here.holds("in")
    assert [here.holds(path) for path in ("none", "in/x", ".", "", "../out", "/in", "./in")] == [False] * 7


def test_many_files_are_listed_all(root: Place) -> None:
    names = [f"{number:04}" for number in range(1_100)]  # more than a page of a listing
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: put(root / name, b"x"), names))
    assert sorted(entry.path for entry in at(root).files()) == at(root).names() == names


def test_a_changed_file_has_another_state(root: Place) -> None:
    before = at(put(root / "file")).state()
    assert at(root / "file").state() == before
    assert at(put(root / "file", b"longer than before")).state() != before


def test_a_copy_on_the_disk_follows_the_file(root: Place) -> None:
    place = put(root / "model", b"first")
    assert on_disk(place).read_bytes() == b"first"
    assert on_disk(place) == on_disk(place)
    put(place, b"second")
    assert on_disk(place).read_bytes() == b"second"


def test_nothing_that_is_written_here_is_odd_or_left_over(root: Place) -> None:
    put(root / "a" / "b")
    before = sorted(at(root).files())
    with at(root).shared_use(ANYWHERE):
        pass
    at(root).sync(ANYWHERE)
    at(root).prune()
    at(root).tidy(ANYWHERE)
    assert [*at(root).oddities()] == []
    assert [entry for entry in sorted(at(root).files()) if not entry.path.startswith(".")] == before


def test_a_reader_is_never_given_two_states_of_a_file(root: Place) -> None:
    old, new = b"a" * 5_000_000, b"b" * 5_000_000
    place = put(root / "file", old)
    with at(place).open() as file:
        first = file.read(0, 10)
        put(place, new)
        _the_old_bytes_or_an_error(lambda: first + file.read(4_000_000, 10), old)
    with at(place).stream(0) as stream:
        first = stream.read(10)
        put(place, old)
        stream.seek(4_900_000)
        _the_old_bytes_or_an_error(lambda: first + stream.read(10), new)


def _the_old_bytes_or_an_error(read: Callable[[], bytes], old: bytes) -> None:
    try:
        found = read()
    except OSError as error:
        found = old[:20] if "the object was changed while it was read" in str(error) else b""
    assert found == old[:20]
