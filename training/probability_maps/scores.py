"""The most likely class of every pixel and its score, computed in cache-sized pieces without large temporaries."""

from collections.abc import Iterator

import numpy as np

from training.errors import UserError
from training.probability_maps.enlarging import PIXELS_AT_ONCE, Enlarged
from training.probability_maps.maxima import maxima

MAX_CLASSES = 255  # ids 0..254; 255 marks ignored pixels


def best_class(
    probs: np.ndarray | Enlarged,
    prior: np.ndarray | None = None,
    thresholds: np.ndarray | None = None,
    least: float = -np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Maximum over classes of prior * probs / thresholds, and the class that reaches it (lowest index on ties).

    probs: float [h, w, c]; prior: float [h, w, c], same shape, or None for 1; thresholds: float32 [c] or None for 1;
    least: a pixel whose maximum is below may be given any other class and its score, also below.
    Returns score float32 [h, w] and label uint8 [h, w]. Products and ratios are rounded to float32, as published.
    Fastest when the class axis is the slowest in memory: pass `np.moveaxis(maps, 0, -1)` of a [c, h, w] array; and of
    a map that is enlarged from a coarse grid, without a prior.
    """
    check_shapes(probs, prior)
    if isinstance(probs, Enlarged) and prior is None:
        return probs.best_class(thresholds, least)
    height, width, _ = probs.shape
    score = np.empty(height * width, np.float32)
    label = np.empty(height * width, np.uint8)
    for piece, rows in score_rows(probs, prior, thresholds):
        maxima(rows, score[piece], label[piece])
    return score.reshape(height, width), label.reshape(height, width)


def score_rows(
    probs: np.ndarray | Enlarged, prior: np.ndarray | None = None, thresholds: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice of row-major pixels, prior * probs / thresholds as float32 [c, pixels]) piece by piece.

    Arguments as in `best_class`. The yielded array may be a view of `probs` or a buffer that the next piece reuses.
    """
    _, width, classes = probs.shape
    prior_pixels = None if prior is None else _pixel_rows(prior)
    divisor = None if thresholds is None else np.asarray(thresholds, np.float32)[:, None]
    buffer = np.empty((classes, max(PIXELS_AT_ONCE, width)), np.float32)
    for piece, rows in probs.pieces() if isinstance(probs, Enlarged) else _pieces(probs):
        out = buffer[:, : rows.shape[1]]
        if prior_pixels is not None:
            rows = np.multiply(rows, prior_pixels[:, piece], out=out, casting="same_kind")
        if divisor is not None:
            rows = np.divide(rows, divisor, out=out, casting="same_kind")
        if rows is not out and rows.strides[-1] != rows.itemsize:
            np.copyto(out, rows)
            rows = out
        yield piece, rows


def _pieces(probs: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """As `Enlarged.pieces`, of a map that is there; views."""
    pixels = _pixel_rows(probs.astype(np.float32, copy=False))
    for start in range(0, pixels.shape[1], PIXELS_AT_ONCE):
        piece = slice(start, min(start + PIXELS_AT_ONCE, pixels.shape[1]))
        yield piece, pixels[:, piece]


def check_shapes(probs: np.ndarray | Enlarged, prior: np.ndarray | None) -> None:
    """Raise UserError unless probs is [h, w, c] with 1..255 classes and the prior, if any, has the same shape."""
    if len(probs.shape) != 3 or not 1 <= probs.shape[-1] <= MAX_CLASSES or 0 in probs.shape:
        raise UserError(
            f"A probability map has shape {probs.shape}: expected [height, width, classes] "
            f"with 1 to {MAX_CLASSES} classes, none of them empty."
        )
    if prior is not None and prior.shape != probs.shape:
        raise UserError(
            f"The spatial prior has shape {prior.shape} but the probability maps have {probs.shape}: expected the same "
            "[height, width, classes]; make a prior of these classes and this size."
        )


def _pixel_rows(maps: np.ndarray) -> np.ndarray:
    """[h, w, c] -> [c, h * w], a view where the memory layout allows it."""
    return np.moveaxis(maps, -1, 0).reshape(maps.shape[-1], -1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float32 [..., c] of logits [..., c]."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
