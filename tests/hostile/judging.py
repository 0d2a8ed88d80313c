"""What an attempt with hostile input may end in: it works, or one clear sentence; soon, and in bounded memory."""

import contextlib
import io
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from training.errors import UserError

resource = pytest.importorskip("resource", reason="Windows can limit neither the memory nor the time of an attempt")

SECONDS = 30
GIGABYTES = 3  # above what the process holds already
WORKED, REFUSED = "worked", "refused"


class TooSlow(BaseException):
    """The attempt took longer than `SECONDS`: it hangs, or unpacks a bomb."""


def outcome(attempt: Callable[[], object]) -> str:
    """WORKED, REFUSED, or what went wrong and where."""
    try:
        with bounded():
            attempt()
        return WORKED
    except UserError as error:
        return REFUSED if is_sentence(str(error)) else f"no clear sentence: {str(error)[:300]!r}"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        place = " <- ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        return f"{type(error).__name__}: {str(error)[:150]!r} at {place}"


def is_sentence(text: str) -> bool:
    """One printable line of bounded length that says something."""
    return 20 <= len(text) <= 2000 and text.isprintable() and len(text.split()) >= 4


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Raise TooSlow in what runs too long, and MemoryError in what takes too much."""

    def late(*_):
        raise TooSlow(f"more than {SECONDS} s")

    held = psutil.Process().memory_info().vms
    before, usual = signal.signal(signal.SIGALRM, late), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + GIGABYTES * 2**30, usual[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, usual)


def run_main(main: Callable[[list[str]], int], argv: list[str], allowed: tuple[int, ...] = (0, 2)) -> None:
    """Run a command line. UserError if it ends with status 2 and one line, or the parser refuses it; else it must end
    with a status that is allowed."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main(argv)
        except SystemExit as error:
            if error.code != 2:
                raise AssertionError(f"the parser ends with status {error.code}") from error
            raise UserError("the parser of the command line refuses it in its own words") from error
    lines = said.getvalue().splitlines()
    assert status in allowed, f"status {status}: {lines[-5:]}"
    if status == 2:
        assert len(lines) == 1, f"{len(lines)} lines: {lines[:5]}"
        assert lines[0].startswith("streetshift: "), lines
        raise UserError(lines[0])
