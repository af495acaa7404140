"""The metrics of each epoch as TensorBoard scalars, where TensorBoard is installed (extra `tensorboard`).

Input: the folder of the events and the history of a network so far. Output: what writes a further epoch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from spectral_prep.system.files import explained
from spectral_train.run.metrics import EpochMetrics
from spectral_train.run.paths import WRITING


@contextlib.contextmanager
def scalars(folder: Path, history: Sequence[EpochMetrics]) -> Iterator[Callable[[EpochMetrics], None]]:
    """Yield what writes an epoch's scalars; it does nothing where TensorBoard is not installed.

    Of a resumed run the whole history is written again and the former events are purged: a kill may have cost some.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda epoch: None
        return
    with explained(folder, WRITING):
        writer = SummaryWriter(str(folder), purge_step=1)

    def write(epoch: EpochMetrics) -> None:
        for name, value in asdict(epoch).items():
            if name != "epoch":
                writer.add_scalar(name, value, epoch.epoch)

    try:
        for epoch in history:
            write(epoch)
        yield write
    finally:
        writer.close()
