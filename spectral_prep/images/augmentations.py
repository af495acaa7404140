"""How the views of a training image may differ from it, by name. It imports nothing: `--help` lists the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ViewKind:
    """How a view differs from its image.

    Parameters
    ----------
    name
        Of the entry in `AUGMENTATIONS`.
    area
        Smallest and largest share of the image's area that a random crop takes, before it is resized; None: no crop.
    ratio
        Smallest and largest width/height of that crop; its logarithm is uniform.
    shift
        Pixels by which the image moves at most, up or down and left or right; zeros come in from outside.
    flip
        Whether half of the views are mirrored left to right.
    """

    name: str
    area: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    shift: int = 0
    flip: bool = True


AUGMENTATIONS: Mapping[str, ViewKind] = {
    each.name: each
    for each in (
        ViewKind("crop", area=(0.08, 1.0)),  # Szegedy et al. 2015: what ImageNet networks are trained with
        ViewKind("light-crop", area=(0.35, 1.0)),  # for small networks and short trainings
        ViewKind("shift-flip", shift=4),  # He et al. 2016, section 4.2: CIFAR
        ViewKind("shift", shift=2, flip=False),  # digits and letters, which a mirror spoils
    )
}
