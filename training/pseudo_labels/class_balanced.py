"""CBST, class-balanced self-training (ECCV 2018): one confidence threshold per class.

Every class keeps the same portion of the pixels it is predicted for, and the label is the arg-max of probability over
threshold. JSON: kind, portion, stride, compat, prior (packed; only where one is used), thresholds, pixels,
ranked_pixels, images.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from training.pseudo_labels.thresholds import ThresholdSelector


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassBalancedSelector(ThresholdSelector):
    """prior: float32 [h, w, c], brought to the size of each image, or None (CBST-SP, section 4.2)."""

    kind: ClassVar = "class_balanced"
    short: ClassVar = "cbst"
    meaning: ClassVar = "class-balanced self-training: one threshold per class, re-weighted arg-max"
    prior: np.ndarray | None = None
