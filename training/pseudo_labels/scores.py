"""The most likely class of every pixel and its score, computed in cache-sized pieces without large temporaries."""

from collections.abc import Iterator

import numpy as np

from training.errors import UserError

# Pixels worked on at once: 19 classes of float32 stay inside a core's second-level cache.
CHUNK = 8192
MAX_CLASSES = 255  # ids 0..254; 255 marks ignored pixels


def best_class(
    probs: np.ndarray, prior: np.ndarray | None = None, thresholds: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Maximum over classes of prior * probs / thresholds, and the class that reaches it (lowest index on ties).

    probs: float [h, w, c]; prior: float [h, w, c], same shape, or None for 1; thresholds: float32 [c] or None for 1.
    Returns score float32 [h, w] and label uint8 [h, w]. Products and ratios are rounded to float32, as published.
    Fastest when the class axis is the slowest in memory: pass `np.moveaxis(maps, 0, -1)` of a [c, h, w] array.
    """
    check_shapes(probs, prior)
    height, width, classes = probs.shape
    score = np.empty(height * width, np.float32)
    label = np.empty(height * width, np.uint8)
    codes = np.arange(classes, 0, -1, dtype=np.uint8)[:, None]  # the lowest index has the highest code and wins ties
    buffer = np.empty((classes, CHUNK), np.bool_)
    for piece, rows in score_rows(probs, prior, thresholds):
        best = np.maximum.reduce(rows, axis=0, out=score[piece])
        hits = np.equal(rows, best, out=buffer[:, : best.size]).view(np.uint8)
        np.multiply(hits, codes, out=hits)
        np.maximum.reduce(hits, axis=0, out=label[piece])
    np.subtract(np.uint8(classes), label, out=label)
    return score.reshape(height, width), label.reshape(height, width)


def score_rows(
    probs: np.ndarray, prior: np.ndarray | None = None, thresholds: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice of row-major pixels, prior * probs / thresholds as float32 [c, pixels]) piece by piece.

    Arguments as in `best_class`. The yielded array may be a view of `probs` or a buffer that the next piece reuses.
    """
    classes = probs.shape[-1]
    pixels = _pixel_rows(probs.astype(np.float32, copy=False))
    prior_pixels = None if prior is None else _pixel_rows(prior)
    divisor = None if thresholds is None else np.asarray(thresholds, np.float32)[:, None]
    buffer = np.empty((classes, CHUNK), np.float32)
    for start in range(0, pixels.shape[1], CHUNK):
        piece = slice(start, min(start + CHUNK, pixels.shape[1]))
        rows = pixels[:, piece]
        out = buffer[:, : piece.stop - start]
        if prior_pixels is not None:
            rows = np.multiply(rows, prior_pixels[:, piece], out=out, casting="same_kind")
        if divisor is not None:
            rows = np.divide(rows, divisor, out=out, casting="same_kind")
        if rows is not out and rows.strides[-1] != rows.itemsize:
            np.copyto(out, rows)
            rows = out
        yield piece, rows


def check_shapes(probs: np.ndarray, prior: np.ndarray | None) -> None:
    """Raise UserError unless probs is [h, w, c] with 1..255 classes and the prior, if any, has the same shape."""
    if probs.ndim != 3 or not 1 <= probs.shape[-1] <= MAX_CLASSES or 0 in probs.shape:
        raise UserError(
            f"A probability map has shape {probs.shape}: expected [height, width, classes] "
            f"with 1 to {MAX_CLASSES} classes, none of them empty."
        )
    if prior is not None and prior.shape != probs.shape:
        raise UserError(
            f"The spatial prior has shape {prior.shape} but the probability maps have {probs.shape}: expected the same "
            "[height, width, classes]; resize the prior or make one at this size."
        )


def _pixel_rows(maps: np.ndarray) -> np.ndarray:
    """[h, w, c] -> [c, h * w], a view where the memory layout allows it."""
    return np.moveaxis(maps, -1, 0).reshape(maps.shape[-1], -1)
