"""The ensemble network on image files: each is split as the training images were, and each branch sees its spectrals.

Input: the folder of a run and image files. Output: the most likely classes of each. It needs nothing but the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.images.decode import MAX_PIXELS
from spectral_prep.images.load import Geometry, image_size, load
from spectral_prep.kernel import fused_split
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.sources.opening import LARGEST_IMAGE
from spectral_train.data.standardise import Standardisation
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, Combination
from spectral_train.ensemble.network import EnsembleNetwork, open_network
from spectral_train.run.record import NetworkPlan

IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Prediction:
    """The most likely classes of one image, best first, each with its probability; a bad image has a reason instead."""

    path: Place
    classes: tuple[tuple[str, float], ...]
    reason: str | None = None


def predict(
    run: Place, images: Sequence[Place], combination: Combination = DEFAULT_COMBINATION, top: int = 5
) -> tuple[Prediction, ...]:
    """Return the prediction for each image file, in the order given; one bad image does not keep the others from it.

    Parameters
    ----------
    run
        The folder with `branch-00/` ….
    images
        Files of any size that Pillow reads; they are resized and cropped as at conversion.
    combination
        Of which branches, and how their outputs are combined.
    top
        How many classes to name, at most all.

    Raises
    ------
    InputError
        If there is no such file, or as `ensemble.network.open_network` does.
    """
    if top < 1:
        raise InputError("unusable --top", expected="1 or more", got=top)
    network = open_network(run, combination)
    plans = network.plans
    found: list[Prediction] = []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        loaded = [(path, load_image(path, plans[0])) for path in images[start : start + IMAGES_AT_ONCE]]
        good = [torch.from_numpy(pixels) for _, pixels in loaded if not isinstance(pixels, str)]
        rows = iter(_probabilities(torch.stack(good), network) if good else ())
        found += [
            Prediction(path, (), pixels) if isinstance(pixels, str) else _prediction(path, next(rows), plans[0], top)
            for path, pixels in loaded
        ]
    return tuple(found)


def load_image(path: Place, plan: NetworkPlan) -> npt.NDArray[np.uint8] | str:
    """Return an image file as the conversion would have seen it, (H, W, C), or the reason why it is a bad image.

    Where the conversion took images of one size as they were, one of another size is resized to cover it.

    Raises
    ------
    InputError
        If the file cannot be read, is none (a pipe, a device) or larger than any image.
    """
    try:
        raw, resize = at(path).read(LARGEST_IMAGE), plan.resize
        limit = plan.max_pixels or MAX_PIXELS
        if resize is None and image_size(raw, limit) != (plan.height, plan.width):
            resize = max(plan.height, plan.width)
        return load(raw, Geometry(plan.height, plan.width, plan.channels, resize, limit))
    except OSError as error:
        raise InputError("cannot read the image", where=path, got=error.strerror) from error
    except ValueError as error:
        raise InputError("cannot read the image", where=path, got=error) from error
    except CorruptSourceError as error:
        return str(error)


def branch_inputs(images_NHWC: Tensor, plans: Sequence[NetworkPlan]) -> list[Tensor]:
    """Return what each branch sees of these images, (n, G·C, h, w) float32 a branch, through the stored form."""
    stored_QNChw = fused_split(images_NHWC, plans[0].spec, encoding=plans[0].encoding)
    return [branch_input(stored_QNChw, plan) for plan in plans]


def branch_input(stored_QNChw: Tensor, plan: NetworkPlan) -> Tensor:
    """Return the spectrals of one branch as standardised channels, (n, G·C, h, w) float32."""
    own_NGChw = stored_QNChw[list(plan.spectrals)].transpose(0, 1)
    scalars = [plan.encoding.scalars(k) for k in plan.spectrals for _ in range(plan.channels)]
    return Standardisation.of(plan.mean, plan.std, scalars)(own_NGChw.flatten(1, 2))


def _prediction(path: Place, probabilities_K: Tensor, plan: NetworkPlan, top: int) -> Prediction:
    best = probabilities_K.topk(min(top, len(plan.classes)))
    return Prediction(
        path,
        tuple((plan.classes[i], value) for value, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)),
    )


def _probabilities(images_NHWC: Tensor, network: EnsembleNetwork) -> Tensor:
    inputs = branch_inputs(images_NHWC, network.plans)
    with torch.inference_mode():
        outputs = [functional.log_softmax(m(x), 1) for m, x in zip(network.models, inputs, strict=True)]
    return network.combiner(outputs)
