"""The scalars of int8, from a seeded sample of training images.

Input: a source, the size of its images, and how they are transformed. Output: an `Encoding` with a scale and an offset
for each spectral: as fine as its range allows, or coarser where the request says what error is wanted.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping

import numpy as np
import torch

from spectral_prep.conversion.request import Request
from spectral_prep.conversion.sample import training_sample
from spectral_prep.encoding import Encoding, calibrate, with_psnr
from spectral_prep.errors import CorruptSourceError
from spectral_prep.images.augmentations import ViewKind
from spectral_prep.images.load import Geometry
from spectral_prep.images.views import load_view
from spectral_prep.sources.interface import RowIndex, Source
from spectral_prep.spectrum import SpectralSpec, split
from spectral_prep.system.threads import torch_threads
from spectral_prep.system.watch import counted

CALIBRATION_ROWS = 1024
ERROR_VALUES = 4 << 20
"""Coefficients of the sample by which an error is measured, of all spectrals together."""


@torch_threads(1)
def calibrated(
    source: Source,
    index: Mapping[str, RowIndex],
    geometry: Geometry,
    spec: SpectralSpec,
    request: Request,
    augmentation: ViewKind | None,
) -> Encoding:
    """Calibrate on a seeded sample of training rows, image by image: only the extremes of each spectral are kept, and,
    where an error is wanted, some of its coefficients at seeded places.

    Of each image one view is looked at, all of them in turn.

    They are kept in place: small results that outlive each image's large one would pin the heap, 600 kB an image.
    """
    random, kept = np.random.RandomState(request.seed), 0
    values = math.prod(spec.spectral_size(geometry.height, geometry.width)) * geometry.channels
    each = min(values, max(1, ERROR_VALUES // (CALIBRATION_ROWS * spec.q)))
    some_QRn = np.empty((spec.q, CALIBRATION_ROWS if request.psnr is not None else 0, each), np.float32)
    lowest, highest = torch.full((spec.q,), torch.inf), torch.full((spec.q,), -torch.inf)
    sample = training_sample(source, index, CALIBRATION_ROWS, request.seed)
    for place, row in enumerate(counted(sample, "calibrating", "images")):
        with contextlib.suppress(CorruptSourceError):
            key = (request.seed, row[1], place % (1 + request.views))
            image_HWC = load_view(source.read(*row), geometry, augmentation, key)
            spectrum_Qn = split(torch.from_numpy(image_HWC)[None], spec).flatten(1)
            torch.minimum(lowest, spectrum_Qn.amin(1), out=lowest)
            torch.maximum(highest, spectrum_Qn.amax(1), out=highest)
            if request.psnr is not None:
                some_QRn[:, kept] = spectrum_Qn[:, random.randint(values, size=each)].numpy()
                kept += 1
    extremes_Q2 = torch.stack([lowest, highest], dim=1)
    found = extremes_Q2[:, extremes_Q2.isfinite().all(0)]  # none, if no image could be read
    finest = calibrate(found.view(spec.q, -1, 1, 1, 1), spec)
    return with_psnr(finest, some_QRn[:, :kept].reshape(spec.q, -1), request.psnr) if request.psnr and kept else finest
