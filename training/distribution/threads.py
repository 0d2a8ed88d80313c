"""Work on one item after the other, several at once, in their order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

MOST_THREADS = 4


def in_order(work: Callable[..., T], items: Iterable[tuple]) -> Iterator[T]:
    """Yield work(*item) of each item, done on a few threads while the next items are made.

    NumPy, Pillow and TensorFlow let other threads run while they compute. One item more than there are threads is in
    flight at most. What an item or its work raises is raised in its turn.
    """
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    waiting: deque = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, *item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
