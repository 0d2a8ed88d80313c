"""Videos as frames, and the rate at which they are shown. OpenCV is imported only when a video is read."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import ModuleType

import numpy as np

from training.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
USUAL_RATE = 25.0  # frames per second, of a file that says nothing and whose frames carry no times
PLAUSIBLE_RATE = 1000.0  # a file that claims more is not believed
UNEVEN = 0.25  # of the mean interval: intervals that differ by more make the rate a variable one
ROUNDING = 0.003  # seconds: Matroska and WebM round times to milliseconds


@dataclass(frozen=True)
class Timing:
    """What one pass over a video tells.

    frames: how many can be read, up to the caller's limit. more: whether others follow. rate: frames per second, the
    mean over them. variable: whether they come at uneven intervals.
    """

    frames: int
    more: bool
    rate: float
    variable: bool

    @property
    def note(self) -> str:
        """A sentence where the result cannot keep the times of the source, else nothing."""
        told = f"Variable frame rate: the result has the mean rate, {self.rate:.4g} frames per second."
        return told if self.variable else ""


def opencv() -> ModuleType:
    """OpenCV, or UserError where it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise UserError("Videos need OpenCV: pip install opencv-python-headless (pictures work without it).") from error
    return cv2


def read_timing(file: Path, seconds: float = inf, frames: int | None = None) -> Timing:
    """Decode `file` once for the times of its frames: those of the first `seconds`, at most `frames` of them.

    The rate that a file claims is wrong in many: a browser's recording claims 1000 frames per second. It is taken where
    it fits the times, for it counts how long the last frame is shown.
    """
    cv2 = opencv()
    video = cv2.VideoCapture(str(file))
    times, more = [], False
    try:
        claimed = video.get(cv2.CAP_PROP_FPS)
        while video.grab():
            time = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if len(times) == frames or (times and time - times[0] >= seconds):
                more = True
                break
            times.append(time)
    finally:
        video.release()
    return Timing(len(times), more, *mean_rate(np.sort(times), claimed))


def mean_rate(times: np.ndarray, claimed: float) -> tuple[float, bool]:
    """(frames per second, whether the intervals are uneven) of frames at `times`, seconds in rising order."""
    believable = 0 < claimed <= PLAUSIBLE_RATE
    span = float(times[-1] - times[0]) if len(times) else 0.0
    if span <= 0:
        return (claimed if believable else USUAL_RATE), False
    intervals = np.diff(times)
    measured = len(intervals) / span
    spread = float(intervals.max() - intervals.min())
    variable = spread > max(UNEVEN / measured, ROUNDING)
    # The claim holds if it leaves a duration that is possible to the last frame.
    last = len(times) / claimed - span if believable else -inf
    if not -ROUNDING <= last <= 2 * intervals.max() + ROUNDING:
        return measured, variable
    return claimed, variable or abs(claimed / measured - 1) > UNEVEN


def read_frames(file: Path) -> Iterator[np.ndarray]:
    """The frames of a video as RGB uint8 [h, w, 3], one after the other, upright."""
    video = opencv().VideoCapture(str(file))
    try:
        there, frame = video.read()
        while there:
            yield np.ascontiguousarray(frame[:, :, ::-1])
            there, frame = video.read()
    finally:
        video.release()
