"""The folder of what can be made again, and is kept to save time."""

import os
from pathlib import Path


def cache_folder(chosen: Path | str | None = None) -> Path:
    """`chosen`, else $STREETSHIFT_CACHE, else ~/.cache/streetshift."""
    return Path(chosen or os.environ.get("STREETSHIFT_CACHE") or "~/.cache/streetshift").expanduser()
