"""Files that are whole or not there: every file of a run goes through here."""

import contextlib
import os
from pathlib import Path

from training.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, then move it there in one step: a reader sees the old file or the whole new one.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    beginning = os.fsdecode(os.fsencode(path.name)[:240])  # a name may have 255 bytes
    partial = path.with_name(f".{beginning}.partial")
    try:
        partial.unlink(missing_ok=True)  # left by a killed run; were it a link, writing would follow it
        with open(partial, "xb") as file:
            file.write(content)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            partial.unlink(missing_ok=True)
        raise UserError(f"Cannot write {path} ({error.strerror}): free space or choose another folder.") from error
