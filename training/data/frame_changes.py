"""A change of a frame before its augmentation, as a value: pixels of other images pasted in, another domain's style."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.data.classes import OUTSIDE

Load = Callable[[int], np.ndarray]
"""Sample index -> its frame uint8 [h, w, 4] as it was decoded, RGB and the label in channel 3."""


class FrameChange(Protocol):
    """Changes the frame at one position of a stream: a function of seed and position, whatever came before.

    needs_other_frames: whether it loads frames of samples that the stream itself may not show; all frames of the data
    set are decoded ahead then.
    """

    needs_other_frames: bool

    def change(self, index: int, position: int, frame: np.ndarray, load: Load) -> np.ndarray:
        """The changed frame, uint8 [h, w, 4] as `frame`, which is left as it is.

        Args:
            index: the sample that `frame` shows.
            position: the sample's position in the stage's stream.
            frame: uint8 [h, w, 4], RGB and the label in channel 3, perhaps changed by another change before.
            load: gives the frame of any sample of the same data set, at the same size and without any change.

        Raises:
            UserError: a damaged file.
        """


def changed(changes: Sequence[FrameChange], index: int, position: int, load: Load) -> np.ndarray:
    """The frame of sample `index` at `position`, uint8 [h, w, 4], after all changes in their order."""
    frame = load(index)
    for change in changes:
        frame = change.change(index, position, frame, load)
    return frame


@dataclass(frozen=True)
class LeftOutMargins:
    """Marks the margins of each frame as beyond the frame in its label, so that no teacher labels them.

    top, bottom, left, right: shares of the frame's height and width, such as those of a car's own bonnet.
    """

    top: float = 0.0
    bottom: float = 0.0
    left: float = 0.0
    right: float = 0.0
    needs_other_frames = False

    def change(self, index: int, position: int, frame: np.ndarray, load: Load) -> np.ndarray:
        height, width = frame.shape[:2]
        first, last = round(self.top * height), height - round(self.bottom * height)
        left, right = round(self.left * width), width - round(self.right * width)
        changed_frame = frame.copy()
        changed_frame[..., 3] = OUTSIDE
        changed_frame[first:last, left:right, 3] = frame[first:last, left:right, 3]
        return changed_frame
