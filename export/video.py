"""A video through the model, frame by frame."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from export.progress import Progress, time_left
from export.results import Results, Shares
from export.segmenter import OnnxSegmenter
from export.video_reading import read_frames, read_timing
from training.errors import UserError


def segment_video(
    segmenter: OnnxSegmenter, file: Path, name: str, results: Results, progress: Progress
) -> tuple[Shares, str]:
    """Write what `results` wants of `file`: a video of overlays, and the maps of each frame as name/000001 and on.

    Returns the mean shares over its frames, and a sentence on its frame rate where the user has to know.

    Raises:
        UserError: OpenCV is not installed, the video cannot be read, or a result cannot be written.
    """
    timing = read_timing(file)
    if not timing.frames:
        raise UserError(f"{file} is damaged or no video that OpenCV reads: convert it to .mp4.")
    size, shares, confidences = (0, 0), [], []
    writer = None if results.opacity is None else results.video(name, timing.rate)
    with writer or nullcontext():
        for number, image in enumerate(tracked(read_frames(file), file.name, timing.frames, progress), start=1):
            segmentation = segmenter(image)
            if writer is not None:
                writer.add(segmentation.overlay(results.opacity))
            results.write_maps(f"{name}/{number:06d}", segmentation)
            size = image.shape[:2]
            shares.append(list(segmentation.class_shares().values()))
            confidences.append(segmentation.confidence.mean())
    if not shares:
        raise UserError(f"{file} holds no frame that can be read: convert it to .mp4.")
    by_class = dict(zip(segmenter.names, np.mean(shares, axis=0), strict=True))
    note = "" if writer is None else timing.note
    return Shares(size, float(np.mean(confidences)), by_class), note


def tracked(frames: Iterator[np.ndarray], name: str, total: int, progress: Progress) -> Iterator[np.ndarray]:
    """The frames, telling how far they are; `total` is how many there will be."""
    started = time.monotonic()
    for number, frame in enumerate(frames, start=1):
        yield frame
        progress.say(f"{name}: frame {number}/{total}, {time_left(started, number, total)}")
