"""The metrics of each epoch as TensorBoard scalars, where TensorBoard is installed (extra `tensorboard`).

Input: the folder of the events and the history of a network so far. Output: what writes a further epoch. It is a log
that nothing depends on: where it cannot be written, that is said once, and training goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from spectral_train.run.metrics import EpochMetrics, Log


@contextlib.contextmanager
def scalars(folder: Path, history: Sequence[EpochMetrics], log: Log) -> Iterator[Callable[[EpochMetrics], None]]:
    """Yield what writes an epoch's scalars; it does nothing where TensorBoard is not installed.

    Of a resumed run the whole history is written again and the former events are purged: a kill may have cost some.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda epoch: None
        return
    writers: list[SummaryWriter] = []  # none, once one has failed

    def attempt(work: Callable[..., object], *arguments: object) -> None:
        try:
            work(*arguments)
        except OSError as error:
            writers.clear()
            log(f"TensorBoard's events cannot be written ({error}); training goes on without them. Where: {folder}")

    def write(epoch: EpochMetrics) -> None:
        for writer in writers:
            for name, value in asdict(epoch).items():
                if name != "epoch":
                    writer.add_scalar(name, value, epoch.epoch)
            writer.flush()  # its own thread writes; what failed there is raised here

    attempt(lambda: writers.append(SummaryWriter(str(folder), purge_step=1)))
    for epoch in history:
        attempt(write, epoch)
    try:
        yield lambda epoch: attempt(write, epoch)
    finally:
        for writer in list(writers):
            attempt(writer.close)
