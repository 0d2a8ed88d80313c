"""Short videos in and out (OpenCV). Only self-contained containers: a playlist could name other files."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from app.limits import PHOTO_PIXELS, VIDEO_FRAMES, VIDEO_SECONDS, VIDEO_SIDE, VIDEO_SUFFIXES
from app.uploads import Upload, fitted
from export.video import frames_of
from training.data.images import resize_image
from training.errors import UserError

USUAL_RATE = 25.0


def is_video(name: str) -> bool:
    """Whether a file calls itself a video."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


class VideoReader:
    """The frames of a video, uint8 `[h, w, 3]` RGB, longer side at most `VIDEO_SIDE`; even sizes, as codecs want them.

    Raises:
        UserError: no video that can be read.
    """

    def __init__(self, upload: Upload):
        self.name = upload.name
        if not _is_container(upload.path):
            raise self._unreadable()
        self._capture = cv2.VideoCapture(str(upload.path))
        size = (self._number(cv2.CAP_PROP_FRAME_HEIGHT), self._number(cv2.CAP_PROP_FRAME_WIDTH))
        if not self._capture.isOpened() or not 0 < size[0] * size[1] <= PHOTO_PIXELS:
            self._capture.release()
            raise self._unreadable()
        self.own_size = size
        self.rate = self._rate()
        known = self._number(cv2.CAP_PROP_FRAME_COUNT)
        self.limit = min(VIDEO_FRAMES, max(1, round(VIDEO_SECONDS * self.rate)))
        self.expected = min(self.limit, known) if known > 0 else self.limit
        self.shortened = known > self.limit

    def _number(self, what: int) -> int:
        return int(self._capture.get(what))

    def _rate(self) -> float:
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        return rate if 1.0 <= rate <= 120.0 else USUAL_RATE

    def _unreadable(self) -> UserError:
        return UserError(
            f"{self.name} is no video this page can read: upload it as MP4, MOV, AVI, MKV or WebM, or upload photos."
        )

    def frames(self) -> Iterator[np.ndarray]:
        """Frame after frame, at most `limit` of them."""
        try:
            for frame in islice(frames_of(self._capture), self.limit):
                height, width = fitted(frame.shape[:2], VIDEO_SIDE)
                yield resize_image(frame, (max(2, height // 2 * 2), max(2, width // 2 * 2)))
        finally:
            self._capture.release()


def _is_container(path: Path) -> bool:
    """MP4 / MOV, Matroska / WebM or AVI, by their first bytes."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:] == b"AVI ")


class VideoWriter:
    """An MP4 of RGB frames of one size; `with VideoWriter(path, rate) as video: video.add(frame)`."""

    def __init__(self, path: Path, rate: float):
        self.path, self.rate = path, rate
        self._writer: cv2.VideoWriter | None = None

    def add(self, frame: np.ndarray) -> None:
        if self._writer is None:
            height, width = frame.shape[:2]
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.path), codec, self.rate, (width, height))
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *exception) -> None:
        if self._writer is not None:
            self._writer.release()
