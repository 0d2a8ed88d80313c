"""Progress with the time left, on any terminal or in a log, with nothing but the standard library."""

import sys
import time

LOG_SECONDS = 10.0


class Progress:
    """Counts finished files on one line of stderr; in a log a line every ten seconds."""

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.started = self.last = time.monotonic()
        self.live = sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        return self

    def advance(self) -> None:
        """One more file is done."""
        self.done += 1
        self.say(f"{self.done}/{self.total}, {time_left(self.started, self.done, self.total)}")

    def say(self, text: str) -> None:
        """Show a line; in a log only every ten seconds."""
        if self.live:
            print(f"\r\033[K  {text}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.last >= LOG_SECONDS:
            self.last = time.monotonic()
            print(f"  {text}", file=sys.stderr, flush=True)

    def __exit__(self, *exception) -> None:
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def time_left(started: float, done: int, total: int) -> str:
    """'12 s left' after `done` of `total` equal parts since `started` (time.monotonic)."""
    seconds = (time.monotonic() - started) / done * (total - done)
    return f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left"
