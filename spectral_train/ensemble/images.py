"""Images through all branches of a run: each is split as the training images were, and each branch sees its spectrals.

Input: encoded images or pixels, one after the other. Output: what every branch says of them, a few rows at a time:
memory does not grow with their number.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.errors import CorruptSourceError
from spectral_prep.images.decode import MAX_PIXELS
from spectral_prep.images.load import Geometry, image_size, load
from spectral_prep.kernel import fused_split
from spectral_prep.sources.interface import RawImage
from spectral_train.data.augment import SpectralInput
from spectral_train.data.standardise import Standardisation
from spectral_train.data.views import mean_of, shift_all, shifts_of
from spectral_train.ensemble.network import EnsembleNetwork
from spectral_train.run.record import NetworkPlan

IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Batch:
    """Some images in order: `bad` has the reason of each bad one by its place; the others are rows of the outputs.

    `outputs` are log-probabilities, (n, classes) float32 a branch.
    """

    images: int
    bad: Mapping[int, str]
    outputs: Sequence[Tensor]

    @property
    def good(self) -> list[int]:
        """The place of each row of the outputs."""
        return [place for place in range(self.images) if place not in self.bad]


def through(raws: Iterable[RawImage | CorruptSourceError], network: EnsembleNetwork) -> Iterator[Batch]:
    """Yield what all branches say of these images, some after the other, in the order given."""
    plans, coming = network.plans, iter(raws)
    while some := list(itertools.islice(coming, IMAGES_AT_ONCE)):
        loaded = [_loaded(raw, plans[0]) for raw in some]
        good = [torch.from_numpy(pixels) for pixels in loaded if not isinstance(pixels, str)]
        bad = {place: pixels for place, pixels in enumerate(loaded) if isinstance(pixels, str)}
        yield Batch(len(some), bad, _outputs(torch.stack(good), network) if good else ())


def as_converted(raw: RawImage, plan: NetworkPlan) -> npt.NDArray[np.uint8]:
    """Return an image as the conversion would have seen it, (H, W, C); raise `CorruptSourceError` for a bad one.

    Where the conversion took images of one size as they were, one of another size is resized to cover it.
    """
    resize, limit = plan.resize, plan.max_pixels or MAX_PIXELS
    if resize is None and image_size(raw, limit) != (plan.height, plan.width):
        resize = max(plan.height, plan.width)
    return load(raw, Geometry(plan.height, plan.width, plan.channels, resize, limit))


def branch_inputs(images_NHWC: Tensor, plans: Sequence[NetworkPlan]) -> list[Tensor]:
    """Return what each branch sees of these images, (n, G·C, h, w) float32 a branch, through the stored form."""
    stored_QNChw = fused_split(images_NHWC, plans[0].spec, encoding=plans[0].encoding)
    return [branch_input(stored_QNChw, plan) for plan in plans]


def branch_input(stored_QNChw: Tensor, plan: NetworkPlan) -> Tensor:
    """Return the spectrals of one branch as standardised channels, (n, G·C, h, w) float32."""
    own_NGChw = stored_QNChw[list(plan.spectrals)].transpose(0, 1)
    scalars = [plan.encoding.scalars(k) for k in plan.spectrals for _ in range(plan.channels)]
    return Standardisation.of(plan.mean, plan.std, scalars)(own_NGChw.flatten(1, 2))


def _loaded(raw: RawImage | CorruptSourceError, plan: NetworkPlan) -> npt.NDArray[np.uint8] | str:
    try:
        if isinstance(raw, CorruptSourceError):
            raise raw
        return as_converted(raw, plan)
    except CorruptSourceError as error:
        return str(error)


def _outputs(images_NHWC: Tensor, network: EnsembleNetwork) -> list[Tensor]:
    plans = network.plans
    if network.views is None:
        return network.outputs(branch_inputs(images_NHWC, plans))
    shifts = shifts_of(network.views, SpectralInput.of(plans[0]))
    by_view = []
    for images in (images_NHWC, images_NHWC.flip(2)):  # an image's flip is exact whatever its transform
        inputs = branch_inputs(images, plans)
        by_view += [network.outputs([shift_all(x, *shift) for x in inputs]) for shift in shifts]
    return [mean_of(of_branch, len(plans[0].classes)) for of_branch in zip(*by_view, strict=True)]
