"""Videos in and out, where OpenCV is installed; everything else works without it."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from export.progress import Progress, time_left
from export.results import USUAL_OPACITY, Shares
from export.segmenter import OnnxSegmenter
from training.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
USUAL_SPEED = 25.0  # frames a second, of a file that does not say


def segment_video(segmenter: OnnxSegmenter, file: Path, out: Path, opacity: float | None, progress: Progress) -> Shares:
    """Write `file` with the classes' colours over every frame to `out` (.mp4); the mean shares over its frames.

    Raises:
        UserError: OpenCV is not installed, the video cannot be read, or the result cannot be written.
    """
    cv2 = opencv()
    video = cv2.VideoCapture(str(file))
    partial = out.with_name(f".{out.name}")
    opacity = USUAL_OPACITY if opacity is None else opacity
    writer, size, shares, confidences = None, (0, 0), [], []
    try:
        for image in tracked(frames_of(video), file.name, int(video.get(cv2.CAP_PROP_FRAME_COUNT)), progress):
            if writer is None:
                size, speed = image.shape[:2], video.get(cv2.CAP_PROP_FPS) or USUAL_SPEED
                writer = cv2.VideoWriter(str(partial), cv2.VideoWriter_fourcc(*"mp4v"), speed, size[::-1])
            segmentation = segmenter(image)
            writer.write(np.ascontiguousarray(segmentation.overlay(opacity)[:, :, ::-1]))
            shares.append(list(segmentation.class_shares().values()))
            confidences.append(segmentation.confidence.mean())
    finally:
        video.release()
        if writer is not None:
            writer.release()
    if writer is None:
        raise UserError(f"{file} is damaged or no video that OpenCV reads: convert it to .mp4.")
    if not partial.exists():
        raise UserError(f"OpenCV cannot write {out}: choose another --out, or install an OpenCV with FFmpeg.")
    partial.replace(out)
    return Shares(size, float(np.mean(confidences)), dict(zip(segmenter.names, np.mean(shares, axis=0), strict=True)))


def tracked(frames: Iterator[np.ndarray], name: str, total: int, progress: Progress) -> Iterator[np.ndarray]:
    """The frames, telling how far they are; `total` is what the file claims, and may be 0."""
    started = time.monotonic()
    for number, frame in enumerate(frames, start=1):
        yield frame
        left = f"/{total}, {time_left(started, number, total)}" if number <= total else ""
        progress.say(f"{name}: frame {number}{left}")


def opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise UserError("Videos need OpenCV: pip install opencv-python-headless (pictures work without it).") from error
    return cv2


def frames_of(video) -> Iterator[np.ndarray]:
    """The frames of a `cv2.VideoCapture` as RGB uint8 [h, w, 3], one after the other."""
    there, frame = video.read()
    while there:
        yield np.ascontiguousarray(frame[:, :, ::-1])
        there, frame = video.read()
