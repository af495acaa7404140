"""The metrics of each epoch as TensorBoard scalars, where TensorBoard is installed (extra `tensorboard`).

Input: the folder of the events and the history of a network so far. Output: what writes a further epoch. It is a log
that nothing depends on: where it cannot be written, that is said once, and training goes on.

Events are appended to one file a training, which is open only while they are: torch's own `SummaryWriter` writes from a
thread, where a full disk is a traceback.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from spectral_prep.places.url import Place
from spectral_prep.system.files import make_folder
from spectral_train.run.metrics import EpochMetrics, Log


@contextlib.contextmanager
def scalars(folder: Place, history: Sequence[EpochMetrics], log: Log) -> Iterator[Callable[[EpochMetrics], None]]:
    """Yield what writes an epoch's scalars; it does nothing where TensorBoard is not installed, or into a bucket.

    Of a resumed run the whole history is written again and the former events are purged: a kill may have cost some.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        yield lambda epoch: None
        return
    if not isinstance(folder, Path):
        log(f"TensorBoard's events are appended to, which a bucket cannot do: there will be none in {folder}")
        yield lambda epoch: None
        return
    path = folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
    failed: list[OSError] = []

    def write(events: Sequence[Event]) -> None:
        if failed:
            return
        try:
            make_folder(folder)
            with open(path, "ab") as file:
                for event in events:
                    RecordWriter(file).write(event.SerializeToString())
        except OSError as error:
            failed.append(error)
            log(f"TensorBoard's events cannot be written ({error.strerror}); training goes on without them: {folder}")

    def events_of(epoch: EpochMetrics) -> list[Event]:
        values = {name: value for name, value in asdict(epoch).items() if name != "epoch"}
        summaries = [Summary(value=[Summary.Value(tag=name, simple_value=value)]) for name, value in values.items()]
        return [Event(step=epoch.epoch, wall_time=time.time(), summary=summary) for summary in summaries]

    begun = [Event(file_version="brain.Event:2"), Event(step=1, session_log=SessionLog(status=SessionLog.START))]
    for event in begun:
        event.wall_time = time.time()
    write([*begun, *(event for epoch in history for event in events_of(epoch))])
    yield lambda epoch: write(events_of(epoch))
