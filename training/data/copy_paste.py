"""Copy-paste of hard classes between pseudo-labelled target images: HPLA of HIAST (TPAMI 2025).

Every image that is trained on gets the hard-class pixels of up to three donors, at the same place. It comes before the
augmentation, so the pasted pixels move with the rest.
"""

from collections.abc import Callable

import cv2
import numpy as np

from training.data.classes import IGNORE
from training.data.donors import DonorIndex, check_draw, draw_donors, hard_classes
from training.data.images import resize_image, resize_label
from training.data.samples import Dataset

_STREAM = 0x4850  # keeps these draws apart from others of the same seed and position


def paste(
    image: np.ndarray, label: np.ndarray, donor_image: np.ndarray, donor_label: np.ndarray, hard: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, label and what was pasted: the donor's pixels of all hard classes, at the same coordinates.

    Args:
        image, label: uint8 [h, w, 3] and [h, w], 255 = ignore. Not changed; new arrays come back.
        donor_image, donor_label: the same of another image; brought to [h, w] if it has another size (bilinear, area
            average when shrinking; labels by the nearest pixel).
        hard: ids of the hard classes. They are pasted whatever class the donor was drawn for.

    Returns:
        `(image, label, pasted)`; pasted: uint8 [h, w], the class of each pasted pixel and 255 elsewhere.
    """
    donor_image, donor_label = resize_image(donor_image, label.shape), resize_label(donor_label, label.shape)
    mask = _mask_of(donor_label, hard)
    pasted = np.where(mask, donor_label, np.uint8(IGNORE))
    return _masked(donor_image, mask, image), _masked(donor_label, mask, label), pasted


def _mask_of(label: np.ndarray, hard: np.ndarray) -> np.ndarray:
    """uint8 [h, w], 1 where the label is a hard class."""
    is_hard = np.zeros(256, np.uint8)
    is_hard[np.asarray(hard, np.int64)] = 1
    return is_hard[label]


def _masked(donor: np.ndarray, mask: np.ndarray, receiver: np.ndarray) -> np.ndarray:
    """A copy of the receiver with the donor's pixels where the mask is 1, in a tenth of the time of np.where."""
    return cv2.copyTo(np.ascontiguousarray(donor), mask, np.array(receiver, order="C"))


class CopyPaste:
    """Pastes into frames as they are loaded. What goes into the frame at a position depends on seed and position alone.

    Args:
        dataset: the pseudo-labelled target; donors are indices of its samples.
        counts: int [images, c], pixels of each class in each pseudo-label, in the order of `dataset`.
        mean_confidence: float [c], mu: running mean confidence of the selected pixels, NaN = never selected.
        hard: number of hard classes (published: 14 of 19).
        max_donors: most donors an image (published: 3; 1 is what the released program comes to).
        stop_share: share of the hard classes in (0, 1] that is enough (published: 0.5).
        seed: any integer >= 0.

    Raises:
        UserError: hard, max_donors or stop_share out of range.
        ValueError: counts of another number of images, or classes unlike mean_confidence.
    """

    def __init__(
        self,
        dataset: Dataset,
        counts: np.ndarray,
        mean_confidence: np.ndarray,
        hard: int = 14,
        max_donors: int = 3,
        stop_share: float = 0.5,
        seed: int = 0,
    ) -> None:
        check_draw(max_donors, stop_share)
        if np.shape(counts) != (len(dataset), len(mean_confidence)):
            raise ValueError(f"counts {np.shape(counts)} for {len(dataset)} images, {len(mean_confidence)} classes")
        self.index = DonorIndex.from_counts(counts)
        self.mean_confidence = np.asarray(mean_confidence, np.float64)
        self.hard = hard_classes(self.mean_confidence, hard)
        self.max_donors, self.stop_share, self.seed = max_donors, stop_share, seed

    def donors_at(self, position: int) -> list[int]:
        """Indices of the samples that are pasted from at this position of the stream, in order."""
        rng = np.random.default_rng((self.seed, int(position), _STREAM))
        return draw_donors(rng, self.index, self.mean_confidence, self.hard, self.max_donors, self.stop_share)

    def __call__(self, index: int, position: int, frame: np.ndarray, load: Callable[[int], np.ndarray]) -> np.ndarray:
        """The frame uint8 [h, w, 4] (label in channel 3) with its donors' hard classes; `frame` is left as it is.

        Args:
            index: the sample that `frame` shows; as its own donor it is not loaded again.
            position: the sample's number in the stream.
            load: sample index -> frame of the same size; called for one donor after the other.

        Raises:
            UserError: what `load` raises for a donor's damaged file.
        """
        for donor in self.donors_at(position):
            if donor != index:
                donor_frame = load(donor)
                frame = _masked(donor_frame, _mask_of(donor_frame[..., 3], self.hard), frame)
        return frame
