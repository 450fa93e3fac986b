"""Shards written one by one in another format, by several processes, and gone on with after a kill.

What a shard became lies in the part of the export, and its piece beside it, written last: it is the commit marker.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int

from pipelines.dataset.shards import records
from pipelines.errors import DatasetError, RunError
from pipelines.files.storage import Location, write_whole
from pipelines.formats.choice import split_of
from pipelines.formats.items import About, Item, Piece, Target

PIECES = ".pieces"
Write = Callable[[Target, Iterator[Item], About], Piece]


@dataclass(frozen=True)
class Task:
    """One shard, and what becomes of it."""

    write: Write
    about: About
    part: Path
    unit: int
    shard: Location
    seeds: Int[np.ndarray, " n"]
    shares: tuple[float, ...]
    ranks: Int[np.ndarray, " n"] | None = None
    digits: int = 0  # of a rank in a name

    @property
    def piece(self) -> Path:
        return self.part / PIECES / f"{self.unit:06d}.json"

    @property
    def is_done(self) -> bool:
        """Whether its piece is there, and every file that it speaks of."""
        try:
            stored = json.loads(self.piece.read_bytes())
            return Target(self.part, stored["files"]).is_whole()
        except (FileNotFoundError, ValueError):
            return False

    def items(self) -> Iterator[Item]:
        """Its samples in the order of seeds. Raises DatasetError where the shard lacks one."""
        ranks = self.ranks if self.ranks is not None else np.zeros_like(self.seeds)
        places = dict(zip(self.seeds.tolist(), ranks.tolist(), strict=True))
        for record in records([self.shard]):
            seed = int(record["__key__"])
            if (rank := places.pop(seed, None)) is not None:
                prefix = f"{rank:0{self.digits}d}-" if rank else ""
                name = f"{prefix}{seed:012d}"
                yield Item(record, split_of(seed, self.shares), name, self.about.left_out)
        if places:
            raise DatasetError(
                f"{self.shard} lacks seed {min(places)}, which its report keeps; run `datasetddpm generate` with "
                "--repair"
            )


def make(task: Task) -> int:
    """Write a shard's samples, unless they are there; how many they are."""
    if not task.is_done:
        target = Target(task.part)
        piece = task.write(target, task.items(), task.about)
        write_whole(task.piece, json.dumps({"files": target.sizes, "piece": piece}).encode())
    return len(task.seeds)


def made(tasks: Sequence[Task], workers: int) -> Iterator[int]:
    """Make the tasks by so many processes, and yield how many samples each was. Raises RunError where one dies."""
    if workers <= 1 or len(tasks) <= 1:
        yield from map(make, tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_begin)
    try:
        yield from _handed_out(pool, iter(tasks), 2 * workers)
    except BrokenProcessPool as error:
        raise RunError(
            "a process of the export was killed, as a machine does whose memory is full; "
            "run it again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _handed_out(pool: ProcessPoolExecutor, tasks: Iterator[Task], most: int) -> Iterator[int]:
    """No more than `most` tasks are in the pool at a time."""
    running: set[Future[int]] = set()
    while True:
        running |= {pool.submit(make, task) for task in islice(tasks, most - len(running))}
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def _begin() -> None:
    """A process of the pool: Ctrl-C is its parent's to answer, and it does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow_it, daemon=True).start()
