import torch

from spectral_prep.encoding import calibrate, decode, encode
from spectral_prep.spectrum import SpectralSpec, split
from spectral_train.data.standardise import Standardisation
from tests.support.shards import draw


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
    assert set(Standardisation.of([7.0], [0.0])(constant).flatten().tolist()) == {0.0}
