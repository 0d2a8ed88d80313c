"""Label-free choice of the target images that are trained on (the 505-image list of the published CBST results)."""

from collections.abc import Sequence

import numpy as np

from training.errors import UserError
from training.probability_maps.scores import best_class

PUBLISHED_SHARE = 505 / 2975


def class_balanced_score(probs: np.ndarray) -> float:
    """Mean over the classes present in the prediction of the mean confidence of each class' pixels, in 0..1.

    probs: float32 [h, w, c]. An image of confident road alone does not outrank one in which every class is confident.
    """
    confidence, label = best_class(probs)
    classes = probs.shape[-1]
    counts = np.bincount(label.reshape(-1), minlength=classes)
    sums = np.bincount(label.reshape(-1), weights=confidence.reshape(-1), minlength=classes)
    present = counts > 0
    return float((sums[present] / counts[present]).mean())


def best_images(scores: Sequence[float], share: float = PUBLISHED_SHARE) -> np.ndarray:
    """Ascending indices int64 of the round(n * share) best images, at least one; the earlier wins a tie."""
    if not 0.0 < share <= 1.0:
        raise UserError(f"The share of target images is {share}: expected above 0 and at most 1, such as 0.17.")
    number = max(1, round(len(scores) * share))
    return np.sort(np.argsort(-np.asarray(scores, np.float64), kind="stable")[:number])
