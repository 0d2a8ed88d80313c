"""Files that are whole or not there: every file of a run goes through here."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from training.errors import CannotWrite

PARTIAL = ".partial-"  # how the name of a file begins that is not whole yet
_CHUNK = 1 << 20


@contextlib.contextmanager
def whole_file(path: Path, lasting: bool = False) -> Iterator[Path]:
    """A path beside `path`, of the same suffix, to write to; at the end it takes the place of `path` in one step.

    A reader sees the old file or the whole new one. A killed process leaves a file that `remove_leftovers` knows.

    Args:
        lasting: wait until the disk has it, so that it survives a power cut and not only a kill.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full; the old file is as it was.
    """
    partial = path.with_name(PARTIAL + os.fsdecode(os.fsencode(path.name)[-240:]))  # a name may have 255 bytes
    try:
        partial.unlink(missing_ok=True)  # left by a killed run; were it a link, writing would follow it
        yield partial
        if lasting:
            with partial.open("r+b") as file:  # open for writing: Windows waits for no other file
                os.fsync(file.fileno())
        os.replace(partial, path)
        if lasting:
            _wait_for_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            partial.unlink(missing_ok=True)
        reason = error.strerror or error
        raise CannotWrite(f"Cannot write {path} ({reason}): free space or choose another folder.") from error


def check_room(path: Path, size: int) -> None:
    """Write `size` bytes to `path` that whoever writes it next overwrites: for writers that a full disk crashes.

    Raises:
        OSError: there is no room.
    """
    with path.open("wb") as file:
        for start in range(0, size, _CHUNK):
            file.write(bytes(min(_CHUNK, size - start)))


def write_atomically(path: Path, content: bytes, lasting: bool = False) -> None:
    """Write `content` to `path` as `whole_file` does."""
    with whole_file(path, lasting) as partial:
        partial.write_bytes(content)


def _wait_for_folder(folder: Path) -> None:
    """Wait until the disk has the new name of a file in `folder`."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder; its file systems keep a journal of names themselves
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what writes that were killed have left in `folder` and below."""
    for path in folder.rglob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
