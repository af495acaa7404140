import numpy as np

from spectral_train.data.order import group_plans


def test_streamed_groups_are_whole_chunks_in_a_seeded_order_and_shuffled() -> None:
    positions = np.arange(10, 300, dtype=np.int32)
    pieces = [slice(start, min(start + 32, 300)) for start in range(0, 300, 32)]
    plans = list(group_plans(positions, pieces, 64, seed=1))
    visited = [plan.positions[plan.index] for plan in plans]
    assert np.array_equal(np.sort(np.concatenate(visited)), positions)
    assert max(map(len, visited)) <= 64
    for rows in visited:
        assert sorted(rows) != rows.tolist()
        chunks = {int(row) // 32 for row in rows}
        assert len(rows) == sum(int(((positions // 32) == chunk).sum()) for chunk in chunks)
    assert [plan.pieces[0].start for plan in plans] != sorted(plan.pieces[0].start for plan in plans)
    for skip in (0, 1, 64, 70, 289, 290):
        rest = [plan.positions[plan.index] for plan in group_plans(positions, pieces, 64, 1, skip)]
        assert np.array_equal(np.concatenate([[], *rest]), np.concatenate(visited)[skip:])
