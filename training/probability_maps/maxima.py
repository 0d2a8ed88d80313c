"""The largest of all classes and which it is, for many pixels at once."""

import numpy as np


def maxima(rows: np.ndarray, score: np.ndarray, label: np.ndarray) -> None:
    """Write the maximum over classes of float32 [c, n] into `score` and its class, the lowest on ties, into `label`.

    score: float32 [n]; label: uint8 [n]. Fastest if all of `rows` fits into a core's second-level cache.
    """
    classes = len(rows)
    np.maximum.reduce(rows, axis=0, out=score)
    hits = np.equal(rows, score).view(np.uint8)
    hits *= np.arange(classes, 0, -1, dtype=np.uint8)[:, None]  # the lowest index has the highest code and wins ties
    np.maximum.reduce(hits, axis=0, out=label)
    np.subtract(np.uint8(classes), label, out=label)
