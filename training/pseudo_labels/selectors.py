"""Which pixels may teach, and what, given the thresholds: the selectors of CBST, CRST, IAST and HIAST."""

from typing import TYPE_CHECKING

import numpy as np

from training.errors import UserError
from training.probability_maps.enlarging import Enlarged
from training.probability_maps.scores import best_class, check_shapes, score_rows

if TYPE_CHECKING:
    from training.pseudo_labels.thresholds import Thresholds

IGNORE = 255

SELECTORS = {
    "st": "self-training: one threshold for all classes",
    "cbst": "class-balanced self-training: one threshold per class, re-weighted arg-max",
    "st_sp": "st on probabilities weighted by a spatial prior",
    "cbst_sp": "cbst on probabilities weighted by a spatial prior",
    "lrent": "cbst thresholds with CRST's entropy-regularised soft labels",
    "ias": "IAST's instance-adaptive selector: thresholds follow the images in their order, plain arg-max",
}
GLOBAL_SELECTORS = frozenset({"st", "st_sp"})
PRIOR_SELECTORS = frozenset({"st_sp", "cbst_sp"})
ORDERED_SELECTORS = frozenset({"ias"})  # thresholds move from batch to batch: see instance_adaptive


def select(probs: np.ndarray | Enlarged, thresholds: "Thresholds", prior: np.ndarray | None = None) -> np.ndarray:
    """Pseudo-label of one image: uint8 [h, w], 255 = not selected (CBST, equation 6).

    probs: float32 [h, w, c]; prior: float32 [h, w, c] exactly when the thresholds were made with one.
    The label is the arg-max over classes of prior * probs / threshold, lowest index on ties, kept where that ratio is
    at least 1 (the paper's inequality is strict, its programs keep equality). Thresholds of `ias`, which stand for
    where its labelling ended, do not move the arg-max: a pixel keeps it where its probability reaches the threshold.
    """
    check_selector(thresholds.selector, prior)
    if thresholds.selector in ORDERED_SELECTORS:
        return keep_confident(*best_class(probs), thresholds.values)
    score, label = best_class(probs, prior, thresholds.values, least=1.0)
    label[~(score >= 1.0)] = IGNORE
    return label


def keep_confident(confidence: np.ndarray, label: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """uint8, `label` where the confidence reaches the threshold of its class, else 255 (IAST, section 3.2).

    confidence: float32 and label: uint8, of one shape; thresholds: float [c]. NaN is never selected.
    """
    return np.where(confidence >= thresholds[label], label, np.uint8(IGNORE))


def lrent_select(
    probs: np.ndarray | Enlarged, thresholds: "Thresholds", alpha: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Hard and soft pseudo-labels of one image under label entropy regularisation (CRST, section 4.2).

    probs: float32 [h, w, c]; alpha > 0: strength of the regulariser, a temperature (published: 0.25).
    With r = probs / threshold the soft label is r^(1/alpha), normalised over classes; a pixel is selected iff
    sum_k r_k^(1/alpha) > 1, the closed form of the published inequality. Returns label uint8 [h, w] (255 = not
    selected) and soft float32 [h, w, c], given for every pixel: mask it with the label. Recompute it, never store it.
    """
    if not alpha > 0:
        raise UserError(f"alpha is {alpha}: expected a number above 0, such as 0.25.")
    check_selector(thresholds.selector, None)
    check_shapes(probs, None)
    height, width, classes = probs.shape
    label = np.empty(height * width, np.uint8)
    soft = np.empty((height * width, classes), np.float32)
    exponent = np.float32(1.0 / alpha)
    for piece, ratio in score_rows(probs, thresholds=thresholds.values):
        top = ratio.max(axis=0)
        # Dividing by the largest ratio first keeps the power inside float32, whatever alpha.
        weight = (ratio / np.where(top > 0, top, 1)) ** exponent
        total = weight.sum(axis=0)
        soft[piece] = (weight / np.where(total > 0, total, 1)).T
        with np.errstate(divide="ignore"):
            log_sum = np.log(top) * exponent + np.log(total)
        label[piece] = np.where(log_sum > 0, ratio.argmax(axis=0), IGNORE)
    return label.reshape(height, width), soft.reshape(height, width, classes)


def check_selector(selector: str, prior: np.ndarray | None) -> None:
    """Raise UserError for an unknown selector, for one that lacks its spatial prior, and for a prior it cannot use."""
    if selector not in SELECTORS:
        raise UserError(f"There is no selector {selector!r}: expected one of {', '.join(SELECTORS)}.")
    if selector in PRIOR_SELECTORS and prior is None:
        raise UserError(f"The selector {selector} weights by a spatial prior and none was given: give one (--prior).")
    if selector not in PRIOR_SELECTORS and prior is not None:
        raise UserError(
            f"The selector {selector} uses no spatial prior but one was given: leave it out or choose one of "
            f"{', '.join(sorted(PRIOR_SELECTORS))}."
        )
