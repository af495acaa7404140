"""Test-time views: what a network says of an image, its mirror image and small shifts of both, averaged.

Input: standardised batches of the spectrals that the views need, (n, W·C, h, w). Output: the mean probabilities, as
logarithms. A flip is exact where its spectrals are there (`augment`): with `dct2` each is its own partner, with
`dct` the spectrals of other shards are read beside those of the branch. A shift is one spectral pixel, filled as when
training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from spectral_prep.spectrum import SpectralSpec
from spectral_train.data.augment import Flip, SpectralInput, partners, require_blocks, shifted
from spectral_train.recipe.augmentation import Views

WIDTH = -1
SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
"""Down and right, in spectral pixels."""


def needed(spec: SpectralSpec, own: Sequence[int]) -> tuple[int, ...]:
    """Return the spectrals of which the mirrored image's own are made: these first, then others.

    >>> needed(SpectralSpec(2, 2, transform="dct2"), [3]), needed(SpectralSpec(2, 2, transform="none"), [3])
    ((3,), (3, 2))
    """
    found = tuple(own)
    while more := sorted(partners(spec, found, WIDTH) - set(found)):
        found = (*found, *more)
    return found


def shifts_of(views: Views, spectral_input: SpectralInput) -> tuple[tuple[int, int], ...]:
    """Return the shifts, in pixels of the maps; raise `InputError` where a shift would not be exact."""
    if views == "flip":
        return SHIFTS[:1]
    require_blocks(spectral_input.spec, "shift", "--views flip")
    return tuple((down * spectral_input.block[0], right * spectral_input.block[1]) for down, right in SHIFTS)


def shift_all(x: Tensor, down: int, right: int) -> Tensor:
    """Return all rows moved by so many pixels of the map."""
    if not (down or right):
        return x
    return shifted(x, torch.full((len(x),), down), torch.full((len(x),), right))


def mean_of(outputs: Sequence[Tensor], classes: int) -> Tensor:
    """Return the mean over views: of probabilities, as logarithms, and of what stands behind these columns.

    >>> two = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]], dtype=torch.float64).log()
    >>> mean_of(list(two), 2).exp().round(decimals=2).tolist()
    [[0.7, 0.3]]
    """
    if len(outputs) == 1:
        return outputs[0]
    stacked_VND = torch.stack(list(outputs))
    said = stacked_VND[..., :classes].logsumexp(0) - math.log(len(outputs))
    return torch.cat([said, stacked_VND[..., classes:].mean(0)], 1)


class Averaged(nn.Module):
    """A network of log-probabilities on inputs of the spectrals that its views need, averaged over these views.

    Parameters
    ----------
    network
        (n, G·C, h, w) → (n, classes) log-probabilities; its channels are the first of the wide input.
    channels
        G·C.
    wide
        The spectrals of the input, `needed` by this network.
    views
        Which.
    """

    def __init__(self, network: nn.Module, channels: int, wide: SpectralInput, views: Views) -> None:
        super().__init__()
        self.network, self.channels, self.classes = network, channels, wide.classes
        self.flip = Flip.of(wide, WIDTH)
        self.shifts = shifts_of(views, wide)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities (n, classes)."""
        return mean_of([self.network(view) for view in self._views(x)], self.classes)

    def _views(self, x: Tensor) -> Iterator[Tensor]:
        for image in (x, self.flip(x)):
            for down, right in self.shifts:
                yield shift_all(image[:, : self.channels], down, right)
