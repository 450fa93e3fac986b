"""Samples decoded for a training: in threads, ahead of what is asked for, and kept as far as a budget allows."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

Pair = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]
T = TypeVar("T")

_THREADS = 2
_CHUNK = 8  # samples that a thread decodes at a time
_AHEAD = 4  # chunks that are decoded before they are asked for


class Decoded:
    """Samples by their seed, the first ones that fit into a budget in bytes; a copy in another process begins empty."""

    def __init__(self, budget: float) -> None:
        self._left, self._budget = budget, budget
        self._pairs: dict[int, Pair] = {}

    def __reduce__(self) -> tuple[type["Decoded"], tuple[float]]:
        return Decoded, (self._budget,)

    def get(self, seed: int) -> Pair | None:
        return self._pairs.get(seed)

    def put(self, seed: int, pair: Pair) -> None:
        size = sum(array.nbytes for array in pair)
        if seed not in self._pairs and size <= self._left:
            self._left -= size
            self._pairs[seed] = pair


def decoded_ahead(
    decode: Callable[[dict[str, Any]], T], records: Iterable[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, T]]:
    """Yield (number, decode(record)) in the order of the records, which threads decode a few samples ahead."""

    def decoded(chunk: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, T]]:
        return [(number, decode(record)) for number, record in chunk]

    rest = iter(records)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        waiting: deque[Future[list[tuple[int, T]]]] = deque()
        while chunk := list(itertools.islice(rest, _CHUNK)):
            waiting.append(pool.submit(decoded, chunk))
            if len(waiting) > _AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
