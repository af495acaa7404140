"""What of a branch a fused head is given, by name. This module does not import torch: `--help` lists the names."""

from __future__ import annotations

from typing import Literal, get_args

On = Literal["logits", "features"]
"""Log-probabilities, stored as float16, or the inputs of the last layer, stored as int8."""

ON: tuple[On, ...] = get_args(On)
