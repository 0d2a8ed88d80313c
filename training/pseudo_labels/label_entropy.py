"""LRENT, label entropy regularisation (CRST, ICCV 2019, section 4.2): CBST's thresholds and soft labels.

With r = probs / threshold the soft label is r^(1/alpha), normalised over classes. JSON: that of `class_balanced`
without a prior, and alpha.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from training.probability_maps.scores import check_shapes, score_rows
from training.pseudo_labels.selector import IGNORE, Probs, Soft, parameter
from training.pseudo_labels.thresholds import ThresholdFitted, ThresholdSelector


@dataclass(frozen=True, eq=False)
class LabelEntropyFitted(ThresholdFitted):
    """CBST's thresholds with a temperature."""

    def label(self, probs: Probs) -> np.ndarray:
        return self.labels(probs)[0]

    @property
    def soft(self) -> Soft:
        return Soft(self.thresholds, self.selector.alpha)

    def labels(self, probs: Probs) -> tuple[np.ndarray, np.ndarray]:
        """Hard and soft pseudo-labels of one image.

        A pixel is selected iff sum_k r_k^(1/alpha) > 1, the closed form of the published inequality. Returns label
        uint8 [h, w] (255 = not selected) and soft float32 [h, w, c], given for every pixel: mask it with the label.
        """
        check_shapes(probs, None)
        height, width, classes = probs.shape
        label = np.empty(height * width, np.uint8)
        soft = np.empty((height * width, classes), np.float32)
        exponent = np.float32(1.0 / self.selector.alpha)
        for piece, ratio in score_rows(probs, thresholds=self.thresholds):
            top = ratio.max(axis=0)
            # Dividing by the largest ratio first keeps the power inside float32, whatever alpha.
            weight = (ratio / np.where(top > 0, top, 1)) ** exponent
            total = weight.sum(axis=0)
            soft[piece] = (weight / np.where(total > 0, total, 1)).T
            with np.errstate(divide="ignore"):
                log_sum = np.log(top) * exponent + np.log(total)
            label[piece] = np.where(log_sum > 0, ratio.argmax(axis=0), IGNORE)
        return label.reshape(height, width), soft.reshape(height, width, classes)


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelEntropySelector(ThresholdSelector):
    kind: ClassVar = "label_entropy"
    short: ClassVar = "lrent"
    meaning: ClassVar = "cbst thresholds with CRST's entropy-regularised soft labels"
    gives_soft_labels: ClassVar = True
    fitted_type: ClassVar = LabelEntropyFitted
    alpha: float = parameter(0.25, "Temperature of the soft labels: above 0; towards 0 they become cbst's.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse({"alpha": (self.alpha > 0, "a number above 0, such as 0.25")})
