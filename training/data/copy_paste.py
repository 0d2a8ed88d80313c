"""Copy-paste of hard classes between pseudo-labelled target images: HPLA of HIAST (TPAMI 2025).

Every training image gets the hard-class pixels of up to three donors, at the same place, before the augmentation.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import cv2
import numpy as np

from training.data.donors import DonorIndex, check_draw, draw_donors, hard_classes
from training.data.frame_changes import Load
from training.data.samples import Dataset

_STREAM = 0x4850  # keeps these random numbers apart from others of the same seed and position


def _mask_of(label: np.ndarray, hard: np.ndarray) -> np.ndarray:
    """uint8 [h, w], 1 where the label is a hard class."""
    is_hard = np.zeros(256, np.uint8)
    is_hard[np.asarray(hard, np.int64)] = 1
    return is_hard[label]


def _masked(donor: np.ndarray, mask: np.ndarray, receiver: np.ndarray) -> np.ndarray:
    """A copy of the receiver with the donor's pixels where the mask is 1, in a tenth of the time of np.where."""
    return cv2.copyTo(np.ascontiguousarray(donor), mask, np.array(receiver, order="C"))


@dataclass(frozen=True, eq=False)
class HardClassPaste:
    """The change of a frame (`frame_changes.FrameChange`) that pastes the hard classes of its donors into it.

    Which donors they are depends on seed and position alone.

    Attributes:
        dataset: the pseudo-labelled target; donors are indices of its samples.
        counts: int [images, c], pixels of each class in each pseudo-label, in the order of `dataset`.
        mean_confidence: float [c], mu: running mean confidence of the selected pixels, NaN = never selected.
        hard: number of hard classes (published: 14 of 19).
        max_donors: most donors per image (published: 3; 1 is what the released program comes to).
        stop_share: share of the hard classes in (0, 1] that is enough (published: 0.5).
        seed: any integer >= 0.

    Raises:
        UserError: hard, max_donors or stop_share out of range.
        ValueError: counts of another number of images, or classes unlike mean_confidence.
    """

    dataset: Dataset
    counts: np.ndarray
    mean_confidence: np.ndarray
    hard: int = 14
    max_donors: int = 3
    stop_share: float = 0.5
    seed: int = 0

    needs_other_frames: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_draw(self.max_donors, self.stop_share)
        object.__setattr__(self, "mean_confidence", np.asarray(self.mean_confidence, np.float64))
        images, classes = len(self.dataset), len(self.mean_confidence)
        if np.shape(self.counts) != (images, classes):
            raise ValueError(f"counts {np.shape(self.counts)} for {images} images, {classes} classes")
        hard_classes(self.mean_confidence, self.hard)  # refuses a number out of range

    @cached_property
    def hard_ids(self) -> np.ndarray:
        """Ids of the hard classes, hardest first: int64 [<= hard]."""
        return hard_classes(self.mean_confidence, self.hard)

    @cached_property
    def _donors(self) -> DonorIndex:
        return DonorIndex.from_counts(self.counts)

    def donors_at(self, position: int) -> list[int]:
        """Indices of the samples that are pasted from at this position of the stream, in order."""
        rng = np.random.default_rng((self.seed, int(position), _STREAM))
        return draw_donors(rng, self._donors, self.mean_confidence, self.hard_ids, self.max_donors, self.stop_share)

    def change(self, index: int, position: int, frame: np.ndarray, load: Load) -> np.ndarray:
        """The frame with its donors' hard classes, one donor after the other; its own sample is not loaded again."""
        for donor in self.donors_at(position):
            if donor != index:
                donor_frame = load(donor)
                frame = _masked(donor_frame, _mask_of(donor_frame[..., 3], self.hard_ids), frame)
        return frame
