"""What a run says while it works: one line of progress with the time left, on a terminal or in a log."""

import sys
import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.errors import printable

console = Console(highlight=False, soft_wrap=True, markup=False)  # names of files and classes may hold [brackets]
LOG_SECONDS = 20.0
PATIENCE = 3.0  # seconds that work may take before a reader wonders
_said: set[str] = set()


def say_once(sentence: str) -> None:
    """Print a sentence that several steps of one process come upon, the first time."""
    if sentence not in _said:
        _said.add(sentence)
        console.print(printable(sentence))


class Meter:
    """Progress of `total` things. On a terminal a bar; in a log one line every twenty seconds.

    patience: nothing is shown of work that ends within so many seconds.
    """

    def __init__(self, title: str, total: int, done: int = 0, patience: float = 0.0):
        self.title, self.total, self.done, self.start_done = title, total, done, done
        self.patience, self.note = patience, ""

    def __enter__(self) -> "Meter":
        self.started = self.last = time.monotonic()
        self.bar = None
        if not self.patience:
            self._show()
        return self

    @property
    def _is_shown(self) -> bool:
        return time.monotonic() - self.started >= self.patience

    def _show(self) -> None:
        """Begin the bar, where there is a terminal and none has begun."""
        if self.bar is not None or not sys.stdout.isatty():
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.bar = Progress(
            *columns, TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False)
        )
        self.bar.start()
        self.task = self.bar.add_task(self.title, total=self.total, completed=self.done, note=self.note)

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """`count` more are done; `note` (a loss, a speed) is shown beside."""
        self.done += count
        self.note = self.note if note is None else note
        if self._is_shown:
            self._show()
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, note=self.note)
        elif time.monotonic() - self.last >= LOG_SECONDS:
            self.last = time.monotonic()
            elapsed = self.last - self.started
            left = elapsed / max(self.done - self.start_done, 1) * (self.total - self.done)
            console.print(f"  {self.title}: {self.done}/{self.total}, {left:.0f} s left {self.note}")

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.stop()
        elif exception[0] is None and self._is_shown:
            seconds = time.monotonic() - self.started
            console.print(f"  {self.title}: {self.done}/{self.total} in {seconds:.0f} s {self.note}")


def tracked(things: Iterable, title: str, total: int, size=lambda thing: 1, patience: float = 0.0) -> Iterator:
    """Yield `things`, showing progress; `size(thing)` tells how many of `total` each one is. patience: of `Meter`."""
    with Meter(title, total, patience=patience) as meter:
        for thing in things:
            yield thing
            meter.advance(size(thing))
