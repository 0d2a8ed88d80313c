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
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            partial.unlink(missing_ok=True)
        raise UserError(f"Cannot write {path} ({error.strerror}): free space or choose another folder.") from error
