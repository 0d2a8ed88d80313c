"""Short videos of strangers: only self-contained containers, for a playlist could name other files; bounded work."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from app.limits import FRAME_PIXELS, VIDEO_FRAMES, VIDEO_SECONDS, VIDEO_SIDE
from app.uploads import Upload, fitted, opened
from export.video_reading import VIDEO_SUFFIXES, read_frames, read_timing
from training.data.images import resize_image
from training.errors import UserError


def is_video(name: str) -> bool:
    """Whether a file calls itself a video."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


class UploadedVideo:
    """What is used of an uploaded video: at most `VIDEO_SECONDS` and `VIDEO_FRAMES` of it.

    own_size: (height, width) of its frames. timing: of the frames that are used.

    Raises:
        UserError: no video that can be read.
    """

    def __init__(self, upload: Upload):
        self._path = upload.path
        self.own_size = _frame_size(upload.path) if _is_container(upload) else (0, 0)
        if 0 < self.own_size[0] * self.own_size[1] <= FRAME_PIXELS:
            self.timing = read_timing(upload.path, VIDEO_SECONDS, VIDEO_FRAMES)
            if self.timing.frames:
                return
        raise UserError(
            f"{upload.name} is no video this page can read: upload it as MP4, MOV, AVI, MKV or WebM, or upload photos."
        )

    def frames(self) -> Iterator[np.ndarray]:
        """Frame after frame, uint8 `[h, w, 3]` RGB, the longer side at most `VIDEO_SIDE`."""
        for frame in islice(read_frames(self._path), self.timing.frames):
            yield resize_image(frame, fitted(frame.shape[:2], VIDEO_SIDE))

    @property
    def cut_note(self) -> str:
        """A sentence where not all of the video is used, else nothing."""
        told = (
            f"Only the first {self.timing.frames} frames: a video may have {VIDEO_SECONDS:g} seconds and "
            f"{VIDEO_FRAMES} frames."
        )
        return told if self.timing.more else ""


def _frame_size(path: Path) -> tuple[int, int]:
    """(height, width) that the header tells, upright; (0, 0) where there is no video."""
    video = cv2.VideoCapture(str(path))
    try:
        return int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
    finally:
        video.release()


def _is_container(upload: Upload) -> bool:
    """MP4 / MOV, Matroska / WebM or AVI, by their first bytes; UserError where the file is deleted."""
    with opened(upload) as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:] == b"AVI ")
