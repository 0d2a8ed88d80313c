"""Files of unknown origin: what is read is a regular file of bounded size, or one sentence says why not."""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from training.errors import UserError

MOST_JSON_BYTES = 1 << 28  # a manifest names every image of a round


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading. Pipes and devices, which may never end, are refused before they are opened.

    Raises:
        UserError: there is no such file, it may not be read, or it is something else than a file.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UserError(f"Cannot read {path}: {getattr(error, 'strerror', error)}.") from error
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
    raise UserError(f"Cannot read {path}: it is {kind}, where a file was expected.")


def read_file(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes; UserError as `open_file`, or if it is larger."""
    try:
        with open_file(path) as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    if len(content) > most:
        raise UserError(f"{path} is larger than {most / 1e6:.0f} MB, which such a file never is: is it the right one?")
    return content


def read_json(path: Path, most: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file; UserError if it cannot be read, is too large, or holds something else."""
    return parsed_json(read_file(path, most), str(path))


def parsed_json(text: str | bytes, place: str) -> dict[str, Any]:
    """The JSON object in `text`; UserError, saying `place`, if it holds something else."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is damaged or no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise UserError(f'{place} holds {type(content).__name__}, where a JSON object {{"name": ...}} was expected.')
    return content
