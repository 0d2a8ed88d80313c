"""From the network's coarse grid to the picture's own size, and from overlapping windows to one grid (NumPy only)."""

import itertools
from collections.abc import Iterator

import numpy as np

from training.pseudo_labels.scores import best_class

VALUES_AT_ONCE = 2_000_000  # float32 numbers that enlargement holds at a time: 8 MB


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float32 [..., c] of logits [..., c]."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def enlarge(probs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 [h, w, c] bilinearly at `size` (height, width), pixel centres at halves: as `tf.image.resize`."""
    whole = np.empty((*size, probs.shape[-1]), np.float32)
    for rows, maps in enlarged_rows(probs, size):
        whole[rows] = np.moveaxis(maps, 0, -1)
    return whole


def enlarged_label(probs: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels uint8 and confidence float32, both [*size], of probabilities [h, w, c] brought to `size`.

    The arg-max and maximum of `enlarge`, a few rows at a time: all classes of a 12-megapixel photo would take 1 GB.
    Between two coarse rows that agree on the most probable class it stays the most probable, for every probability
    changes linearly; all classes are mixed only in the columns where they differ.
    """
    above, below, down = interpolation(probs.shape[0], size[0])
    columns = interpolation(probs.shape[1], size[1])
    labels, confidence = np.empty(size, np.uint8), np.empty(size, np.float32)
    for rows in stretches(above, below, max(1, VALUES_AT_ONCE // (size[1] * probs.shape[2]))):
        first, second = (widened(probs[side[rows.start]], *columns) for side in (above, below))  # [c, width]
        (most, best), (other_most, other_best) = (best_class(side.T[None]) for side in (first, second))
        weight = down[rows, None]
        labels[rows], confidence[rows] = best, most + (other_most - most) * weight
        differing = np.flatnonzero(best != other_best)
        if len(differing):
            first, second = first[:, None, differing], second[:, None, differing]
            mixed = np.moveaxis(first + (second - first) * weight, 0, -1)
            confidence[rows, differing], labels[rows, differing] = best_class(mixed)
    return labels, confidence


def stretches(above: np.ndarray, below: np.ndarray, longest: int) -> Iterator[slice]:
    """Consecutive rows between the same two neighbours, at most `longest` together."""
    changes = np.flatnonzero((np.diff(above) != 0) | (np.diff(below) != 0)) + 1
    for start, stop in itertools.pairwise((0, *changes.tolist(), len(above))):
        for first in range(start, stop, longest):
            yield slice(first, min(first + longest, stop))


def widened(row: np.ndarray, left: np.ndarray, right: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """float32 [c, width] of one coarse row [w, c], between its columns `left` and `right`."""
    by_class = np.ascontiguousarray(row.T, np.float32)
    first = by_class[:, left]
    return first + (by_class[:, right] - first) * weight


def enlarged_rows(probs: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice of rows, their maps float32 [c, rows, width]) of `probs` [h, w, c] at `size`, top to bottom."""
    above, below, down = interpolation(probs.shape[0], size[0])
    left, right, across = interpolation(probs.shape[1], size[1])
    by_class = np.ascontiguousarray(np.moveaxis(probs, -1, 0), np.float32)  # [c, h, w]
    step = max(1, VALUES_AT_ONCE // (size[1] * len(by_class)))
    for start in range(0, size[0], step):
        rows = slice(start, min(start + step, size[0]))
        coarse = by_class[:, above[rows]]
        coarse = coarse + (by_class[:, below[rows]] - coarse) * down[rows, None]
        first = coarse[:, :, left]
        yield rows, first + (coarse[:, :, right] - first) * across


def interpolation(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `new` positions the two neighbours among `old`, int [new], and the second's weight, float32 [new]."""
    position = (np.arange(new) + 0.5) * (old / new) - 0.5
    lower = np.floor(position).astype(int)
    weight = (position - lower).astype(np.float32)
    return np.maximum(lower, 0), np.minimum(lower + 1, old - 1), weight


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
