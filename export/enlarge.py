"""From the network's coarse grid to the picture's own size, and from overlapping windows to one grid (NumPy only)."""

import numpy as np

from training.probability_maps.enlarging import Enlarged
from training.probability_maps.scores import best_class


def enlarge(probs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 [h, w, c] bilinearly at `size` (height, width), pixel centres at halves: as `tf.image.resize`."""
    return Enlarged(probs, size).whole()


def enlarged_label(probs: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels uint8 and confidence float32, both [*size], of probabilities [h, w, c] brought to `size`.

    The arg-max and maximum of `enlarge`, without it: all classes of a 12-megapixel photo would take 1 GB.
    """
    confidence, labels = best_class(Enlarged(probs, size))
    return labels, confidence


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows of `window` pixels begin so that they cover `length`, neighbours sharing about a quarter or more.

    All starts are multiples of `stride`, so that the windows' coarse grids fall onto one grid. The last window may be
    shorter than the others by less than a stride.
    """
    if length <= window:
        return [0]
    last = -(-(length - window) // stride)  # in strides
    count = -(-last // max(1, window * 3 // 4 // stride)) + 1
    return [round(index * last / (count - 1)) * stride for index in range(count)]


def window_weight(height: int, width: int) -> np.ndarray:
    """float32 [height, width, 1]: 1 in the middle of a window, falling to its borders, never 0."""
    rows, columns = (1 - np.abs(2 * np.arange(n) + 1 - n) / (n + 1) for n in (height, width))
    return (rows[:, None] * columns)[:, :, None].astype(np.float32)
