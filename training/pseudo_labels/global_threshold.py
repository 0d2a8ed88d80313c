"""ST, self-training with one confidence threshold for all classes (CBST, ECCV 2018, the baseline of its tables).

Confidences of all classes are ranked together, so classes of high confidence are kept first. JSON: kind, portion,
stride, compat, prior (packed; only where one is used), thresholds (the same for each class), pixels, ranked_pixels,
images.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from training.pseudo_labels.thresholds import ThresholdSelector


@dataclass(frozen=True, eq=False, kw_only=True)
class GlobalThresholdSelector(ThresholdSelector):
    """prior: float32 [h, w, c], brought to the size of each image, or None."""

    kind: ClassVar = "global_threshold"
    short: ClassVar = "st"
    meaning: ClassVar = "self-training: one threshold for all classes"
    one_pool: ClassVar = True
    prior: np.ndarray | None = None
