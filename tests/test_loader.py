import numpy as np
import pytest
import torch

from spectral_prep.encoding import calibrate, decode, encode
from spectral_prep.spectrum import SpectralSpec, split
from spectral_train.loader import Examples, Noise, batches, shuffled, usable
from spectral_train.standardise import Standardisation
from tests.make_shards import draw

POSITIONS = np.arange(10, 60, dtype=np.int32)


def examples(rows: int = 100) -> Examples:
    x = torch.arange(rows, dtype=torch.int8).view(-1, 1, 1, 1).expand(rows, 2, 3, 3).contiguous()
    return Examples(x, torch.arange(rows, dtype=torch.int16), Standardisation((2.0, 3.0), (0.0, 1.0)))


def test_the_order_is_a_pure_function_of_seed_and_epoch() -> None:
    first = shuffled(POSITIONS, seed=3, epoch=5)
    assert first.dtype == np.int32
    assert (first == shuffled(POSITIONS, seed=3, epoch=5)).all()
    assert (first != shuffled(POSITIONS, seed=3, epoch=6)).any()
    assert (first != shuffled(POSITIONS, seed=4, epoch=5)).any()
    assert sorted(first) == POSITIONS.tolist()
    assert POSITIONS.tolist() == list(range(10, 60))


def test_every_row_comes_once_with_its_own_label() -> None:
    order = shuffled(POSITIONS, 0, 0)
    got = list(batches(examples(), order, batch_size=16))
    assert [len(y) for _, y in got] == [16, 16, 16, 2]
    assert torch.cat([y for _, y in got]).tolist() == order.tolist()
    for x, y in got:
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert torch.equal(x[:, 0, 0, 0], 2.0 * y)
        assert torch.equal(x[:, 1, 0, 0], 3.0 * y + 1)


def test_the_rows_in_memory_stay_as_they_are_stored() -> None:
    rows = examples()
    before = rows.x.clone()
    for x, _ in batches(rows, POSITIONS, 16, noise=Noise(1.0, 0, 0)):
        x.zero_()
    assert torch.equal(rows.x, before)


def test_noise_is_a_pure_function_of_seed_epoch_and_step() -> None:
    def inputs(noise: Noise | None) -> torch.Tensor:
        return torch.cat([x for x, _ in batches(examples(), POSITIONS, 16, noise=noise)])

    clean, noisy = inputs(None), inputs(Noise(0.5, 1, 2))
    assert torch.equal(noisy, inputs(Noise(0.5, 1, 2)))
    assert not torch.equal(noisy, inputs(Noise(0.5, 1, 3)))
    assert not torch.equal(noisy, inputs(Noise(0.5, 2, 2)))
    difference = noisy - clean
    assert difference.std().item() == pytest.approx(0.5, rel=0.1)
    assert (difference[:16] - difference[16:32]).abs().mean() > 0.1


def test_bad_rows_are_not_usable() -> None:
    assert usable(torch.tensor([0, -1, 2], dtype=torch.int16)).tolist() == [True, False, True]


def test_decoding_and_standardising_at_once_is_both_in_turn() -> None:
    spec = SpectralSpec(2, 2)
    spectrum = split(torch.from_numpy(draw(50, channels=3).pixels), spec)
    encoding = calibrate(spectrum, spec)
    stored = encode(spectrum, encoding)
    decoded = decode(stored, encoding)
    for k in range(spec.q):
        mean, std = decoded[k].mean((0, 2, 3)), decoded[k].std((0, 2, 3))
        got = Standardisation.of(mean.tolist(), std.tolist(), [encoding.scalars(k)] * 3)(stored[k])
        expected = (decoded[k] - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_channel_that_never_varies_is_only_centred() -> None:
    constant = torch.full((4, 1, 2, 2), 7, dtype=torch.int8)
    assert Standardisation.of([7.0], [0.0])(constant).unique().tolist() == [0.0]
