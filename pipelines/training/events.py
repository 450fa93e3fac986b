"""Scalars for TensorBoard, below a training's folder; written at once, for a queue would wait for a full disk."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

from pipelines.files import storage
from pipelines.files.refusals import refusing

_events: Any = event_pb2  # whose names are made when it is imported


class Scalars:
    """An open log."""

    def __init__(self, writer: EventsWriter) -> None:
        self._writer = writer

    def add(self, name: str, value: float, step: int) -> None:
        self._writer.write_event(_events.Event(wall_time=time.time(), step=step, summary=scalar(name, value)))

    def flush(self) -> None:
        self._writer.flush()


@contextmanager
def opened(folder: Path, done: int) -> Iterator[Scalars]:
    """Open the log; what an interrupted run logged after step `done` is hidden by it."""
    storage.make_folder(folder / "tensorboard")
    with refusing(folder / "tensorboard"):
        writer = EventsWriter(str(folder / "tensorboard" / "events"))
        with closing(writer):
            writer.write_event(
                _events.Event(step=done + 1, session_log=_events.SessionLog(status=_events.SessionLog.START))
            )
            yield Scalars(writer)
