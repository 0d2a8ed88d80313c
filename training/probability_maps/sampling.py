"""Every n-th pixel of every class, in row-major order: how the published methods thin out their confidence pools."""

import numpy as np

LONG_RUN = 20  # mean length of one-class runs from which sorting runs pays; street scenes have 50 to 100
CHUNK = 65536  # the sorting indices of this many pixels stay inside a core's second-level cache


def sample_per_class(label: np.ndarray, classes: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Row-major indices of pixels 0, stride, 2 * stride, ... among the pixels of each class, and the class sizes.

    label: uint8 [h, w] with ids below `classes`. Returns index int64 [m] (in no particular order) and counts
    int64 [classes] of *all* pixels per class. ceil(count / stride) pixels are sampled of each class.
    """
    flat = label.reshape(-1)
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    if starts.size * LONG_RUN < flat.size:
        return _sample_runs(flat, starts, classes, stride)
    return _sample_pixels(flat, classes, stride)


def _sample_runs(flat: np.ndarray, starts: np.ndarray, classes: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """The sample of a label map given by where its runs start: not the pixels are sorted by class, but the runs."""
    run_class = flat[starts]
    order = np.argsort(run_class, kind="stable")
    lengths = np.diff(starts, append=flat.size)[order]
    run_class, starts = run_class[order], starts[order]
    counts = np.bincount(run_class, weights=lengths, minlength=classes).astype(np.int64)
    rank = np.cumsum(lengths) - lengths - (np.cumsum(counts) - counts)[run_class]  # of a run's first pixel in its class
    skipped = -rank % stride
    sampled = (lengths - skipped + stride - 1) // stride
    base = starts + skipped - stride * (np.cumsum(sampled) - sampled)
    return np.repeat(base, sampled) + stride * np.arange(sampled.sum()), counts


def _sample_pixels(flat: np.ndarray, classes: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """The sample of a noisy label map: its pixels are sorted by class, in chunks."""
    edges = np.arange(classes + 1, dtype=np.uint8)
    counts = np.zeros(classes, np.int64)
    sampled = []
    for start in range(0, flat.size, CHUNK):
        chunk = flat[start : start + CHUNK]
        order = np.argsort(chunk, kind="stable")  # for uint8 a counting sort: linear time
        bounds = np.searchsorted(chunk.take(order), edges)
        first = bounds[:-1] + (-counts) % stride  # each class is counted on from the last chunk
        ranges = zip(first.tolist(), bounds[1:].tolist(), strict=True)
        sampled += [order[begin:end:stride] + start for begin, end in ranges if begin < end]
        counts += np.diff(bounds)
    return np.concatenate(sampled), counts
