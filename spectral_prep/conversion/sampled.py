"""What a worker does with sampled images before a conversion: look at their range, or convert them and measure.

Input: parts of a sample, as `calibrate` and `estimate` divide it. Output: what was seen. One module for both, so that
workers that are started for the first have imported what the second needs, and the conversion after it.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from spectral_prep.conversion.block import stored_batches
from spectral_prep.conversion.calibrate import CALIBRATING, Calibration, Looked, Part
from spectral_prep.conversion.estimate import SampledGroup, part_bytes
from spectral_prep.conversion.tasks import AllBlocks, BlockTask
from spectral_prep.encoding import decode
from spectral_prep.errors import CorruptSourceError
from spectral_prep.images.views import load_view
from spectral_prep.sources.read_ahead import raw_images
from spectral_prep.spectrum import split
from spectral_prep.system.threads import torch_threads
from spectral_prep.system.watch import Step, tell


@torch_threads(1)
def look(calibration: Calibration, part: Part) -> Looked:
    """Look at a part of the calibration sample, image by image; one that cannot be read is passed over.

    What is found is kept in place: small results that outlive each image's large one would pin the heap, 600 kB an
    image.
    """
    spec, views = calibration.spec, calibration.views
    lowest_Q, highest_Q = torch.full((spec.q,), torch.inf), torch.full((spec.q,), -torch.inf)
    some_QRn, kept = np.empty((spec.q, *part.places.shape), np.float32), 0
    raws = raw_images(part.images, "train", part.rows)
    for place, ((row_id, _), raw) in enumerate(zip(part.rows, raws, strict=True)):
        try:
            if isinstance(raw, CorruptSourceError):
                raise raw
            key = (calibration.seed, row_id, (part.start + place) % views)
            image_HWC = load_view(raw, calibration.geometry, calibration.augmentation, key)
        except CorruptSourceError:  # it is reported when its block is converted
            continue
        spectrum_Qn = split(torch.from_numpy(image_HWC)[None], spec).flatten(1)
        torch.minimum(lowest_Q, spectrum_Qn.amin(1), out=lowest_Q)
        torch.maximum(highest_Q, spectrum_Qn.amax(1), out=highest_Q)
        some_QRn[:, kept] = spectrum_Qn[:, part.places[place]].numpy()
        kept += 1
        tell(Step(str(part), place + 1, len(part.rows), "images", within=CALIBRATING))
    tell(Step(str(part), len(part.rows), len(part.rows), "images", within=CALIBRATING, ended=True))
    return Looked(part.start, len(part.rows), lowest_Q.numpy(), highest_Q.numpy(), some_QRn[:, :kept])


@torch_threads(1)
def convert_group(common: AllBlocks, task: BlockTask) -> SampledGroup:
    """Convert all views of some images as one part of one chunk, in memory; return what rows take."""
    start, rows = time.perf_counter(), task.group.rows
    alone = replace(common, plan=common.plan.alone(rows))
    views: list[list[torch.Tensor]] = [[] for _ in task.group.blocks]
    for some, stored_QnChw in stored_batches(alone, task):
        views[some.block].append(stored_QnChw)
    stored_QNChw = torch.cat([stored_QnChw for view in views for stored_QnChw in view], dim=1)
    energy_Q = decode(stored_QNChw, common.plan.encoding).flatten(1).double().var(1, correction=0).numpy()
    labels = np.tile(task.labels, len(views))
    count = part_bytes(common.plan, stored_QNChw.numpy(), labels, rows)
    return SampledGroup(task.group.number, count / rows, (time.perf_counter() - start) / rows, energy_Q)
