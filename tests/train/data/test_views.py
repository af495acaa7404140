import numpy as np
import pytest
import torch

from spectral_prep.choices import Layout, Transform
from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec, split
from spectral_train.data.augment import SpectralInput
from spectral_train.data.views import Averaged, needed, shifts_of
from tests.support.shards import draw

IMAGES = torch.from_numpy(draw(6).pixels)


class Said(torch.nn.Module):
    """Something that depends on every input, as log-probabilities of three classes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(-1, 2, x[0].numel()).view(x.shape[1:])
        return torch.stack([(x * ramp).sum((1, 2, 3)), (x**2 * ramp).sum((1, 2, 3)), x.sum((1, 2, 3))], 1).log_softmax(
            1
        )


@pytest.mark.parametrize("layout", ["blocks", "tiles"])
@pytest.mark.parametrize("transform", ["dct2", "dct", "none"])
@pytest.mark.parametrize("own", [0, 3])
def test_a_view_of_the_spectrals_is_that_of_the_image(layout: Layout, transform: Transform, own: int) -> None:
    spec = SpectralSpec(2, 2, layout, transform)
    wide = needed(spec, [own])
    mean, std = np.arange(len(wide)) + 3.0, np.arange(len(wide)) + 20.0

    def standardised(images: torch.Tensor) -> torch.Tensor:
        x = split(images, spec)[list(wide)].transpose(0, 1).flatten(1, 2)
        return ((x - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)).float()

    spectral_input = SpectralInput(spec, wide, tuple(mean), tuple(std), 3)
    got = Averaged(Said(), 1, spectral_input, "flip")(standardised(IMAGES))
    both = [Said()(standardised(images)[:, :1]) for images in (IMAGES, IMAGES.flip(2))]
    torch.testing.assert_close(got.exp(), (both[0].exp() + both[1].exp()) / 2, rtol=1e-3, atol=1e-5)


def test_a_shift_is_refused_where_it_is_not_exact() -> None:
    tiles = SpectralInput(SpectralSpec(2, 2, "tiles", "dct2"), (0,), (0.0,), (1.0,), 3)
    with pytest.raises(InputError, match="shift is not exact on spectrals of layout tiles"):
        shifts_of("flip+shift", tiles)


def test_a_shift_of_whole_images_is_that_of_a_spectral_pixel() -> None:
    whole = SpectralInput(SpectralSpec(1, 1), (0,), (0.0,), (1.0,), 3, block=(4, 2))
    assert set(shifts_of("flip+shift", whole)) == {(0, 0), (-4, 0), (4, 0), (0, -2), (0, 2)}
