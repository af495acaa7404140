"""What GPUs compute in a second, by name, for estimates. This module does not import torch: `--help` lists the names.

Peak rates without sparsity are the makers' (data sheets). Training reaches a fraction: `EFFICIENCY` is a guess for
convolutions at batches that fill the GPU; small branches reach far less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spectral_train.recipe.settings import Precision

EFFICIENCY = 0.3


@dataclass(frozen=True)
class Gpu:
    """Peak rates in 10¹² operations a second: of float32, and of bfloat16 or float16 on matrix units."""

    name: str
    single: float
    half: float

    def operations(self, precision: Precision) -> float:
        """Return the operations a second that training is taken to reach."""
        return 1e12 * EFFICIENCY * (self.single if precision == "float32" else self.half)


GPUS: Mapping[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu("t4", 8.1, 65),
        Gpu("v100", 15.7, 125),
        Gpu("l4", 30.3, 121),
        Gpu("a10", 31.2, 125),
        Gpu("rtx3090", 35.6, 71),
        Gpu("rtx4090", 82.6, 165),
        Gpu("l40s", 91.6, 362),
        Gpu("a100", 19.5, 312),
        Gpu("h100", 66.9, 989),
        Gpu("h200", 66.9, 989),
    )
}
