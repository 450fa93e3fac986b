"""PyTorch's threads on a processor."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 32  # items handed out before their results are taken: enough that no thread waits for whoever takes them


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads for a product, also in the Python threads that begin inside; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread_each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield function(item) in the order of the items, each made by one of as many threads as PyTorch has.

    For products too small to be shared by threads; their bits are then the same whatever the number of threads.
    """
    threads, remaining = torch.get_num_threads(), iter(items)
    if threads == 1:
        yield from map(function, remaining)
        return
    with torch_threads(1), ThreadPoolExecutor(threads, thread_name_prefix="label") as pool:
        results = deque(pool.submit(function, item) for item in itertools.islice(remaining, _AHEAD))
        while results:
            result = results.popleft().result()
            results.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result
