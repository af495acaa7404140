"""Batches are the rows of a shard, each once, in an order that follows from seed and epoch, wherever the rows are."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from spectral_prep.errors import CorruptFileError, InputError
from spectral_prep.spectrum import SpectralSpec
from spectral_prep.store.interface import BAD_LABEL
from spectral_train.data.augment import Augmenter, SpectralInput
from spectral_train.data.loader import LoaderOptions, ShardLoader, batches
from spectral_train.data.pieces import PieceReader
from spectral_train.data.placement import check_shard, open_rows, placement
from spectral_train.data.rows import Examples
from spectral_train.data.shard import Shard, open_shard, read_labels
from spectral_train.data.streamed_rows import StreamedRows
from spectral_train.recipe.augmentation import Augmentation
from tests.support.shards import make_shards, stored

BAD = [3, 5, 8]
GOOD = 297
RESIDENT, STREAMED = None, 3500  # bytes: the 300 rows of 16 bytes are streamed in groups of 64
places = pytest.mark.parametrize("memory", [RESIDENT, STREAMED], ids=["resident", "streamed"])


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    root = tmp_path_factory.mktemp("data")
    return open_shard(make_shards(root, bad=BAD, block_rows=32, spec=SpectralSpec(2, 2, transform="dct2")), 1)


def played(loader: ShardLoader, epoch: int = 0) -> list[tuple[Tensor, Tensor]]:
    loader.set_epoch(epoch)
    return list(loader)


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for two in zip(one, other, strict=True) for a, b in zip(*two, strict=True)
    )


def counted(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different rows in their order, and how often each comes."""
    rows_nF, counts_n = torch.unique(rows, dim=0, return_counts=True)
    return rows_nF, counts_n


def change_of(shard: Shard, seed: int = 0) -> Augmenter:
    return Augmenter.of(Augmentation.parse("flip,shift,mixup"), SpectralInput.of(shard), noise=0.1, seed=seed)


@places
def test_every_good_row_comes_once_with_its_label(shard: Shard, memory: int | None) -> None:
    loader = ShardLoader(shard, 16, options=LoaderOptions(memory=memory))
    assert isinstance(loader.rows, StreamedRows) == (memory is STREAMED)
    rows = stored(shard, "train")
    good = rows.y != BAD_LABEL
    expected = torch.cat([shard.standardise(rows.x[good]).flatten(1), rows.y[good, None].float()], 1)
    for epoch in (0, 1):
        got = played(loader, epoch)
        assert [len(y) for _, y in got] == [*[16] * 18, 9]
        assert {(x.dtype, y.dtype) for x, y in got} == {(torch.float32, torch.int64)}
        seen = torch.cat([torch.cat([x.flatten(1), y[:, None].float()], 1) for x, y in got])
        assert len(seen) == GOOD
        for one, other in zip(counted(seen), counted(expected), strict=True):
            assert torch.equal(one, other)
        assert not torch.equal(seen, expected)


@places
def test_the_order_is_a_pure_function_of_shard_seed_and_epoch(shard: Shard, memory: int | None) -> None:
    def loader(which: Shard = shard, seed: int = 3) -> ShardLoader:
        return ShardLoader(which, 16, seed, options=LoaderOptions(memory=memory))

    first = played(loader(), 5)
    assert same(first, played(loader(), 5))
    assert not same(first, played(loader(), 6))
    assert not same(first, played(loader(seed=4), 5))
    other = open_shard(shard.folders[0].paths.root.parent, 2)
    labels = [torch.cat([y for _, y in played(loader(which), 5)]) for which in (shard, other)]
    assert not torch.equal(*labels)


@places
def test_stopped_at_every_step_and_resumed_the_batches_are_those_of_an_undisturbed_run(
    shard: Shard, memory: int | None
) -> None:
    def loader() -> ShardLoader:
        return ShardLoader(shard, 40, seed=1, change=change_of(shard), options=LoaderOptions(memory=memory))

    undisturbed = [*played(loader(), 0), *played(loader(), 1)]
    for stop in range(2 * len(loader())):
        first, states = loader(), []
        states.append(first.state_dict())
        for _ in range(2):
            states += [first.state_dict() for _ in first]
        second = loader()
        second.load_state_dict(json.loads(json.dumps(states[stop])))
        rest = [batch for _ in range(second.epoch, 2) for batch in second]
        assert same(rest, undisturbed[stop:])


def test_a_state_of_another_loader_is_refused(shard: Shard, tmp_path: Path) -> None:
    state = ShardLoader(shard, 16, seed=1).state_dict()
    root = shard.folders[0].paths.root.parent
    others: dict[str, ShardLoader] = {
        "seed": ShardLoader(shard, 16, seed=2),
        "batch_size": ShardLoader(shard, 17, seed=1),
        "rows": ShardLoader(open_shard(root, 2), 16, seed=1),
        "count": ShardLoader(shard, 16, seed=1, options=LoaderOptions(views=[np.arange(9, 99, dtype=np.int32)])),
    }
    others["rows "] = ShardLoader(shard, 16, seed=1, options=LoaderOptions(memory=STREAMED))
    others[" rows"] = ShardLoader(open_shard(make_shards(tmp_path, dataset_id="f" * 16), 1), 16, seed=1)
    for name, other in others.items():
        with pytest.raises(InputError, match=f"another loader: {name.strip()} differs"):
            other.load_state_dict(state)


def test_a_state_of_another_version_is_refused_and_one_without_is_version_1(shard: Shard) -> None:
    loader = ShardLoader(shard, 40, seed=1)
    next(iter(loader))
    state = loader.state_dict()
    assert state["version"] == 1
    resumed = ShardLoader(shard, 40, seed=1)
    with pytest.raises(InputError, match=r"another version.*Expected: version 1.*Got: version 2"):
        resumed.load_state_dict({**state, "version": 2})
    del state["version"]
    resumed.load_state_dict(state)
    assert resumed.state_dict() == loader.state_dict()


@places
def test_every_iteration_is_the_next_epoch_unless_one_is_set(shard: Shard, memory: int | None) -> None:
    loader, apart = (ShardLoader(shard, 100, options=LoaderOptions(memory=memory)) for _ in range(2))
    for epoch in (0, 1):
        assert same(list(loader), played(apart, epoch))
    next(iter(loader))  # left in its middle: epoch 2
    assert same(list(loader), played(apart, 3))
    loader.set_epoch(1)
    assert same(list(loader), played(apart, 1))


@places
@pytest.mark.parametrize(("size", "count", "last"), [(16, 19, 9), (99, 3, 99), (297, 1, 297), (500, 1, 297)])
def test_len_is_exact_and_a_short_batch_may_be_dropped(
    shard: Shard, memory: int | None, size: int, count: int, last: int
) -> None:
    whole = ShardLoader(shard, size, options=LoaderOptions(memory=memory))
    assert len(whole) == len(list(whole)) == count
    assert len(list(whole)[-1][1]) == last
    full = ShardLoader(shard, size, options=LoaderOptions(memory=memory, drop_last=True))
    assert len(full) == len(list(full)) == GOOD // size


@places
def test_without_shuffling_rows_come_as_they_are_stored_and_views_in_turn(shard: Shard, memory: int | None) -> None:
    views = [np.arange(20, 120, dtype=np.int32), np.arange(150, 250, dtype=np.int32)]
    loader = ShardLoader(shard, 32, options=LoaderOptions(memory=memory, shuffle=False, views=views))
    x = stored(shard, "train").x
    for epoch in range(3):
        seen = torch.cat([x for x, _ in played(loader, epoch)])
        assert torch.equal(seen, shard.standardise(x[torch.from_numpy(views[epoch % 2])]))


def test_rows_in_order_are_the_same_kept_and_streamed(shard: Shard) -> None:
    y = read_labels(shard.folders, "train").y
    streamed = StreamedRows(shard, "train", y, STREAMED)
    resident = ShardLoader(shard, 16).rows
    few, many = np.arange(0, 300, 9, dtype=np.int32), np.arange(0, 300, 2, dtype=np.int32)
    for positions in (few, many, few[3:], few):
        with torch.inference_mode():
            one, other = (list(batches(rows, positions, 20)) for rows in (streamed, resident))
        assert same(one, other)


def test_the_rows_in_memory_stay_as_they_are_stored(shard: Shard) -> None:
    rows = stored(shard, "train")
    examples = Examples(rows.x, rows.y, shard.standardise)
    before = rows.x.clone()
    for x, _ in ShardLoader(examples, 16, change=change_of(shard)):
        x.zero_()
    assert torch.equal(rows.x, before)


@places
def test_a_flipped_byte_is_found_before_the_first_step_and_the_file_named(tmp_path: Path, memory: int | None) -> None:
    shard = open_shard(make_shards(tmp_path, block_rows=32), 1)
    part = Path(str(shard.folders[0].paths.part("train", 7, "zarr")))
    flip(part)
    with pytest.raises(CorruptFileError, match=f"{part}"):
        ShardLoader(shard, 16, options=LoaderOptions(memory=memory))


def test_a_byte_that_flips_while_streaming_stops_the_epoch(tmp_path: Path) -> None:
    shard = open_shard(make_shards(tmp_path, block_rows=32), 1)
    loader = ShardLoader(shard, 16, options=LoaderOptions(memory=STREAMED))
    part = Path(str(shard.folders[0].paths.part("train", 7, "zarr")))
    flip(part)
    with pytest.raises(CorruptFileError, match=f"{part}"):
        list(loader)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)


def test_the_thread_that_reads_ahead_ends_with_the_iteration(shard: Shard) -> None:
    before = set(threading.enumerate())
    iteration = iter(ShardLoader(shard, 16, options=LoaderOptions(memory=STREAMED)))
    next(iteration)
    assert any(thread.name.startswith("read ahead") for thread in set(threading.enumerate()) - before)
    del iteration
    assert not any(thread.name.startswith("read ahead") for thread in threading.enumerate())


def test_many_cpus_read_several_pieces_at_once_and_change_no_row(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    y, readers, read = read_labels(shard.folders, "train").y, set[str](), PieceReader.read

    def watched(reader: PieceReader, rows: slice, into: Tensor) -> Tensor:
        readers.add(threading.current_thread().name.partition("_")[0])
        return read(reader, rows, into)

    monkeypatch.setattr(PieceReader, "read", watched)
    found = []
    for cpus, by in ((2, "read ahead"), (8, "pieces")):
        monkeypatch.setattr("spectral_train.data.streamed_rows.usable_cpus", lambda cpus=cpus: cpus)
        readers.clear()
        found.append(played(ShardLoader(StreamedRows(shard, "train", y, 12_000), 16)))
        assert readers == {by}
        assert not any(thread.name.startswith(("read ahead", "pieces")) for thread in threading.enumerate())
    assert same(*found)


def test_memory_that_holds_not_even_two_pieces_is_refused(shard: Shard) -> None:
    with pytest.raises(InputError, match="too little memory to stream"):
        ShardLoader(shard, 16, options=LoaderOptions(memory=100))


def test_a_split_that_is_not_there_is_no_batches(shard: Shard) -> None:
    chosen = placement(shard, "val")
    check_shard(shard, chosen)
    rows = open_rows(shard, "val", read_labels(shard.folders, "val").y, chosen)
    assert list(ShardLoader(rows, 16)) == []


def test_a_batch_size_of_nothing_is_refused(shard: Shard) -> None:
    with pytest.raises(InputError, match="batch size"):
        ShardLoader(shard, 0)
