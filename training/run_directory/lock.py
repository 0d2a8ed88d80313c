"""One run writes to a run directory at a time: a lock that the system lifts when its process ends, however it ends."""

import json
import os
import platform
import time
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from training.errors import UserError
from training.files.atomic import write_atomically

LOCK = "lock"
HOLDER = "lock.json"  # a file of its own: on Windows nobody else can read a locked file


def lock_run(folder: Path) -> BaseFileLock:
    """The lock of the run in `folder`, held; `release`, or the end of the process, lifts it.

    Raises:
        UserError: another run holds it, or nothing can be written there.
    """
    try:
        (folder / LOCK).open("a").close()
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error
    # No soft lock where the file system has no locks: it would outlive a killed process.
    lock = FileLock(folder / LOCK, blocking=False, thread_local=False, preserve_lock_file=True, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{folder} is in use by another run{_holder(folder)}: wait for its end or stop it first"
        ) from error
    except OSError as error:  # some network file systems have no locks
        print(f"{folder} cannot be locked ({error.strerror}): let no second run write there")
    _sign(folder)
    return lock


def _sign(folder: Path) -> None:
    """Write who holds the lock, for the run that is refused."""
    since = time.strftime("%Y-%m-%d %H:%M")
    holder = {"process": os.getpid(), "host": platform.node(), "since": since}
    write_atomically(folder / HOLDER, json.dumps(holder).encode())


def _holder(folder: Path) -> str:
    try:
        told = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f" (process {told['process']} on {told['host']} since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
