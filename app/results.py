"""Where the page keeps uploads and results: one folder for the life of the server, emptied as files grow old."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path

from app.limits import CLEANING_SECONDS, KEEP_SECONDS

KEPT = "kept"  # pictures the page itself needs for as long as it runs


class ResultFolder:
    """The folder that Gradio uploads into and serves from; `with ResultFolder() as folder:` removes it at the end.

    Every result gets a folder of its own with a name nobody can guess. Gradio's own cache names files by their content,
    so that two people with the same photo would write, and read half-written, the same file.
    """

    def __enter__(self) -> "ResultFolder":
        self.path = Path(tempfile.mkdtemp(prefix="streetshift-page-"))
        (self.path / KEPT).mkdir()
        self._before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(self.path)  # read by Gradio at every upload and for every component
        self._stop = threading.Event()
        threading.Thread(target=self._clean_regularly, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self._stop.set()
        shutil.rmtree(self.path, ignore_errors=True)
        if self._before is None:
            os.environ.pop("GRADIO_TEMP_DIR", None)
        else:
            os.environ["GRADIO_TEMP_DIR"] = self._before

    def new(self) -> Path:
        """A fresh folder for the files of one result."""
        folder = self.path / uuid.uuid4().hex
        folder.mkdir()
        return folder

    def kept(self, name: str) -> Path:
        """A fresh folder for files that stay as long as the server runs."""
        folder = self.path / KEPT / name
        folder.mkdir(parents=True)
        return folder

    def _clean_regularly(self) -> None:
        while not self._stop.wait(CLEANING_SECONDS):
            delete_older_than(self.path, KEEP_SECONDS)


def delete_older_than(folder: Path, seconds: float) -> int:
    """Delete uploads and results that have not changed for `seconds`, and the folders they leave empty; how many."""
    limit, deleted = time.time() - seconds, 0
    for parent, _, files in os.walk(folder, topdown=False):
        if Path(parent).is_relative_to(folder / KEPT):
            continue
        for name in files:
            deleted += _delete_if_old(Path(parent, name), limit)
        with contextlib.suppress(OSError):  # a folder with something in it stays
            if Path(parent) != folder and os.stat(parent).st_mtime < limit:
                os.rmdir(parent)
    return deleted


def _delete_if_old(path: Path, limit: float) -> bool:
    with contextlib.suppress(OSError):
        if path.lstat().st_mtime < limit:
            path.unlink()
            return True
    return False
