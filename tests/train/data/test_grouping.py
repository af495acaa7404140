import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_prep.errors import InputError
from spectral_train.data.grouping import GROUPINGS, ShardChoice


@st.composite
def partitions(draw: st.DrawFn) -> tuple[int, int, list[float]]:
    shards, size = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    q = shards * size
    return q, shards, draw(st.lists(st.floats(0, 1e9), min_size=q, max_size=q))


@given(partitions(), st.sampled_from(sorted(GROUPINGS)))
def test_every_spectral_is_in_exactly_one_shard(partition: tuple[int, int, list[float]], grouping: str) -> None:
    q, shards, energy = partition
    groups = [ShardChoice(shards, grouping).members(shard, q, energy) for shard in range(shards)]
    assert sorted(k for members in groups for k in members) == list(range(q))
    assert {len(members) for members in groups} == {q // shards}
    assert all(list(members) == sorted(members) for members in groups)


@given(partitions(), st.sampled_from(sorted(GROUPINGS)), st.data())
def test_common_spectrals_come_first_and_nothing_comes_twice(
    partition: tuple[int, int, list[float]], grouping: str, data: st.DataObject
) -> None:
    q, shards, energy = partition
    common = data.draw(st.lists(st.integers(0, q - 1), max_size=3, unique=True))
    for shard in range(shards):
        members = ShardChoice(shards, grouping, tuple(common)).members(shard, q, energy)
        assert list(members[: len(common)]) == common
        assert set(members) == {*common, *ShardChoice(shards, grouping).members(shard, q, energy)}
        assert len(set(members)) == len(members)


def test_by_default_shard_k_is_spectral_k() -> None:
    assert [ShardChoice().members(k, 16) for k in range(16)] == [(k,) for k in range(16)]


def test_contiguous_and_interleaved() -> None:
    assert ShardChoice(4, "contiguous").members(1, 16) == (4, 5, 6, 7)
    assert ShardChoice(4, "interleaved").members(1, 16) == (1, 5, 9, 13)


def test_balanced_spreads_the_energy() -> None:
    energy = [70756, 1681, 400, 169, 81, 196, 289, 900, 361, 484, 100, 49, 16, 36, 64, 256]  # ImageNet, Q = 16

    def heaviest(grouping: str) -> float:
        return max(sum(energy[k] for k in ShardChoice(4, grouping).members(s, 16, energy)) for s in range(4))

    assert heaviest("balanced") < heaviest("interleaved") < heaviest("contiguous")
    assert [ShardChoice(2, "balanced").members(s, 4, [4, 3, 2, 1]) for s in range(2)] == [(0, 3), (1, 2)]


def test_balanced_breaks_ties_the_same_way_everywhere() -> None:
    assert [ShardChoice(2, "balanced").members(s, 4, [1, 1, 1, 1]) for s in range(2)] == [(0, 2), (1, 3)]


@pytest.mark.parametrize("shard", [-1, 16, 99])
def test_a_shard_that_does_not_exist_is_refused_with_the_range(shard: int) -> None:
    with pytest.raises(InputError, match=r"--shard -?\d+ does not exist.*0 to 15"):
        ShardChoice(16).members(shard, 16)


def test_shards_that_do_not_divide_are_refused_with_what_does() -> None:
    with pytest.raises(InputError, match="one of 1, 2, 4, 8, 16"):
        ShardChoice(5).members(0, 16)
    with pytest.raises(InputError, match="one of 1, 2, 4, 8, 16"):
        ShardChoice(0).members(0, 16)


def test_unknown_names_and_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="contiguous, interleaved, balanced"):
        ShardChoice(4, "random").members(0, 16)
    with pytest.raises(InputError, match="--common 16"):
        ShardChoice(4, common=(16,)).members(0, 16)
    with pytest.raises(InputError, match="energies"):
        ShardChoice(4, "balanced").members(0, 16, [1.0] * 4)


def test_a_choice_spelt_out_is_the_same_choice_in_one_form() -> None:
    assert ShardChoice().resolved(4) == ShardChoice(4, "balanced").resolved(4) == ShardChoice(4)
    assert ShardChoice(2, "balanced", (1, 0, 1)).resolved(4) == ShardChoice(2, "balanced", (1, 0))
