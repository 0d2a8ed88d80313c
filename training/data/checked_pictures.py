"""Which pictures of large data sets were found whole before: a run need not read 60 GB of GTA5 again."""

import contextlib
import json
import os
from pathlib import Path

from training.errors import CannotWrite, UserError
from training.files.atomic import write_atomically
from training.files.cache import cache_folder
from training.files.reading import read_json

LEAST = 1000
"""Checks of fewer pictures are not kept: they take seconds."""

Size = tuple[int, int]


class CheckedPictures:
    """Pictures by path, as they were when they were looked at; kept in `checked_pictures.json` of the cache folder.

    A file of another length or time of change is unknown. A cache that cannot be read or written costs time alone.
    """

    def __init__(self, pictures: int):
        """pictures: how many will be checked."""
        self.path = cache_folder() / "checked_pictures.json" if pictures >= LEAST else None
        self.known, self.new = self._read(), {}

    def size_of(self, path: Path) -> Size | None:
        """(height, width) of a picture that was found whole and is unchanged; else None."""
        found = self.known.get(os.path.abspath(path))
        return (found[2], found[3]) if found is not None and found[:2] == _state(path) else None

    def remember(self, path: Path, size: Size) -> None:
        """That the picture was found whole, upright of this (height, width)."""
        if self.path is not None:
            self.new[os.path.abspath(path)] = [*_state(path), *size]

    def keep(self) -> None:
        """Write what is new beside what others have written meanwhile."""
        if self.new:
            content = json.dumps({**self._read(), **self.new}) + "\n"
            with contextlib.suppress(OSError, CannotWrite):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.path, content.encode())

    def _read(self) -> dict[str, list[int]]:
        if self.path is None:
            return {}
        try:
            return {path: row for path, row in read_json(self.path).items() if _sound(row)}
        except UserError:
            return {}


def _sound(row) -> bool:
    return isinstance(row, list) and len(row) == 4 and all(type(value) is int for value in row)


def _state(path: Path) -> list[int]:
    """Length in bytes and time of the last change in nanoseconds; [] of a file that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]
