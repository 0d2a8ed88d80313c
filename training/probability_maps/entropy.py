"""Normalised entropy of every pixel, with its most likely class and that class' probability."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from training.distribution.threads import in_order
from training.errors import UserError
from training.probability_maps.enlarging import Enlarged
from training.probability_maps.maxima import maxima
from training.probability_maps.measuring import single_images
from training.probability_maps.scores import check_shapes, score_rows

_TINY = np.finfo(np.float32).tiny


class Uncertainty(NamedTuple):
    """Of each pixel of one map [h, w, c]: entropy float32 in 0..1, the arg-max class uint8 and its probability float32.

    All are [h, w]. The entropy is -(1 / log c) sum_k p_k log p_k, with 0 log 0 = 0 (UPLR, ICCV 2021): 0 = certain,
    1 = all classes are equally likely. Of one class it is 0.
    """

    entropy: np.ndarray
    label: np.ndarray
    confidence: np.ndarray

    @property
    def sound(self) -> bool:
        """Whether no pixel's class has NaN or a negative number as its probability."""
        return bool(self.confidence.min() >= 0)


def uncertainty(probs: np.ndarray | Enlarged) -> Uncertainty:
    """Measure one map, float [h, w, c] in 0..1; the result does not depend on its layout in memory."""
    check_shapes(probs, None)
    height, width, classes = probs.shape
    entropy, confidence = (np.empty(height * width, np.float32) for _ in range(2))
    label = np.empty(height * width, np.uint8)
    scale = np.float32(-1 / np.log(max(classes, 2)))
    for piece, rows in score_rows(probs):
        maxima(rows, confidence[piece], label[piece])
        terms = np.log(np.maximum(rows, _TINY))
        terms *= rows
        # One class after the other: the sum of a pixel is the same in a piece of any length.
        total = terms[0].copy()
        for term in terms[1:]:
            total += term
        np.multiply(total, scale, out=entropy[piece])
    np.minimum(label, classes - 1, out=label)  # NaN is none of the classes
    entropy.clip(0, 1, out=entropy)  # probabilities of float16 add up to 1 only nearly
    return Uncertainty(*(each.reshape(height, width) for each in (entropy, label, confidence)))


def measure_uncertainty(maps: Iterable[np.ndarray | Enlarged]) -> Iterator[tuple[int, Uncertainty]]:
    """Yield (number of classes, uncertainty) of each map, on a few threads, while the next is made.

    maps: [h, w, c] or arrays [n, h, w, c], all of as many classes. Raises UserError for NaN and negative values.
    """

    def measured(number: int, probs: np.ndarray | Enlarged) -> tuple[int, Uncertainty]:
        found = uncertainty(probs)
        if not found.sound:
            raise UserError(f"Probability map {number} holds NaN or negative values: expected probabilities in 0..1.")
        return probs.shape[-1], found

    return in_order(measured, enumerate(single_images(maps)))
