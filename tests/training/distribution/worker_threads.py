"""Workers without processes: threads that add up as workers do, for everything but TensorFlow's own part."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from training.distribution.shares import Share


class WorkerThreads:
    """`run(work)` calls `work()` on `count` threads; `share`, `add_up` and `on_chief` are those of the calling one."""

    def __init__(self, count: int):
        self.count, self._barrier, self._mine = count, threading.Barrier(count), threading.local()
        self._slots: list = [None] * count

    def share(self) -> Share:
        return Share(self._mine.number, self.count)

    def add_up(self, values: np.ndarray) -> np.ndarray:
        return np.sum(self._meet(values), axis=0, dtype=values.dtype)

    def on_chief(self, work):
        return self._meet(work() if self._mine.number == 0 else None)[0]

    def run(self, work) -> list:
        """What each worker returned."""
        with ThreadPoolExecutor(self.count) as pool:
            return list(pool.map(lambda number: self._one(number, work), range(self.count)))

    def _one(self, number: int, work):
        self._mine.number = number
        try:
            return work()
        except BaseException:
            self._barrier.abort()  # or the others would wait for ever
            raise

    def _meet(self, value) -> list:
        self._slots[self._mine.number] = value
        self._barrier.wait(60)
        everybody = list(self._slots)
        self._barrier.wait(60)
        return everybody
