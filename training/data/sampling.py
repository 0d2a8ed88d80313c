"""Which samples: at each position of a training stage, a pure function of the seed, so that any part of a stage can be
computed without what came before it; and evenly spaced over a data set."""

import numpy as np

from training.errors import UserError


def sample_order(count: int, first: int, last: int, seed: int) -> np.ndarray:
    """Sample indices (int64 [last - first]) at positions first..last-1 of an endless shuffled stream.

    Every run of `count` positions (an epoch) is a fresh permutation of all samples; it depends on the seed and the
    epoch's number only, so the order from position k on is the tail of the order from 0 on.

    Args:
        count: number of samples, at least 1.
        first, last: positions, 0 <= first <= last.
        seed: any integer >= 0.
    """
    if last <= first:
        return np.zeros(0, np.int64)
    epochs = range(first // count, (last - 1) // count + 1)
    order = np.concatenate([np.random.default_rng((seed, epoch)).permutation(count) for epoch in epochs])
    start = first - epochs[0] * count
    return order[start : start + last - first]


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Up to `most` indices below `count`, the first and the last among them, in ascending order: int64."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def checked_indices(indices: np.ndarray | None, count: int) -> np.ndarray:
    """The subset to draw from as int64 indices of a data set of `count` samples; None means all.

    Raises:
        UserError: nothing to draw from.
        IndexError: an index outside the data set (a mistake of the caller, not of the user).
    """
    chosen = np.arange(count) if indices is None else np.asarray(indices, np.int64).reshape(-1)
    if chosen.size == 0:
        raise UserError("There is no image to train on: the data set or the chosen part of it is empty.")
    if chosen.min() < 0 or chosen.max() >= count:
        raise IndexError(f"indices {chosen.min()}..{chosen.max()} do not fit a data set of {count} samples")
    return chosen
