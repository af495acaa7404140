"""Draw the picture of the README: one image and its 16 spectrals.

    python docs/picture.py docs/spectrals.png

The photograph is `flower.jpg` of scikit-learn's bundled samples (CC BY 2.0, "dahlia" by dany13).
"""

from __future__ import annotations

import sys

import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from spectral_prep.images.load import Geometry, load
from spectral_prep.inspection.show import own_scale
from spectral_prep.spectrum import SpectralSpec, split

SIZE, GAP = 224, 4
SPEC = SpectralSpec(4, 4)


def picture() -> Image.Image:
    """Return the image at the left and its spectrals 0 to 15, row by row, at the right, all at natural size."""
    image_HWC = load(load_sample_image("flower.jpg"), Geometry(SIZE, SIZE, 3, resize=256))
    spectrum_QChw = split(torch.from_numpy(image_HWC)[None], SPEC)[:, 0].numpy()
    h, w = SPEC.spectral_size(SIZE, SIZE)
    canvas = Image.new("RGB", (SIZE + 2 * GAP + 4 * (w + GAP), 4 * (h + GAP) - GAP), "white")
    canvas.paste(Image.fromarray(image_HWC), (0, (canvas.height - SIZE) // 2))
    for k, spectral in enumerate(spectrum_QChw):
        row, column = divmod(k, 4)
        canvas.paste(Image.fromarray(own_scale(spectral)[0]), (SIZE + 3 * GAP + column * (w + GAP), row * (h + GAP)))
    return canvas


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    picture().save(sys.argv[1], optimize=True)
