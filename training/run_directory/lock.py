"""One run writes to a run directory at a time: a lock that the kernel lifts when its process ends, however it ends."""

import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import TextIO

from training.errors import UserError

LOCK = "lock"


def lock_run(folder: Path) -> TextIO:
    """The open file that holds the lock of the run in `folder`; closing it, or the end of the process, lifts it.

    Raises:
        UserError: another run holds it, or nothing can be written there.
    """
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(file)
        file.close()
        raise UserError(f"{folder} is in use by another run{holder}: wait for its end or stop it first") from error
    except OSError as error:  # some network file systems know no locks
        print(f"{folder} cannot be locked ({error.strerror}): let no second run write there")
    _sign(file)
    return file


def _sign(file: TextIO) -> None:
    """Say who holds the lock, for the one who is refused."""
    since = time.strftime("%Y-%m-%d %H:%M")
    file.truncate(0)
    json.dump({"process": os.getpid(), "host": platform.node(), "since": since}, file)
    file.flush()


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        told = json.load(file)
        return f" (process {told['process']} on {told['host']} since {told['since']})"
    except (ValueError, KeyError, TypeError):
        return ""
