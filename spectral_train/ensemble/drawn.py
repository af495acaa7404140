"""Images drawn after what a run knows of its training images: something to compare two forms of a network on.

Input: the plans of its branches. Output: uint8 images, the same ones every time. A run holds no image, but the mean and
the deviation of each spectral over the training rows: coefficients are drawn with these, and put together to images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spectral_prep.spectrum import merge
from spectral_train.run.record import NetworkPlan
from spectral_train.seeds import derive_seed


def drawn_images(plans: Sequence[NetworkPlan], rows: int) -> Tensor:
    """Return (rows, H, W, C) uint8; a spectral of a branch that takes no part, of which nothing is known, is 0."""
    plan = plans[0]
    mean_QC, std_QC = torch.zeros(2, plan.spec.q, plan.channels)
    for each in plans:
        own = list(each.spectrals)
        mean_QC[own] = torch.tensor(each.mean).view(-1, plan.channels)
        std_QC[own] = torch.tensor(each.std).view(-1, plan.channels)
    shape = (plan.spec.q, rows, plan.channels, *plan.spec.spectral_size(plan.height, plan.width))
    noise_QNChw = torch.randn(shape, generator=torch.Generator().manual_seed(derive_seed(0, "drawn images")))
    mean, std = (values[:, None, :, None, None] for values in (mean_QC, std_QC))
    return merge(mean + std * noise_QNChw, plan.spec)
