"""Rare classes of the pseudo-labels, which training crops are centred on (CBST, section 4.3; CRST)."""

import numpy as np


def rare_classes(counts: np.ndarray, number: int = 3) -> np.ndarray:
    """The `number` classes with the fewest pixels, rarest first (lowest id first on ties): int64 [<= number].

    counts: int [c], pixels per arg-max class. Absent classes are the rarest. (CBST's mine_id: five in
    its paper, three in its program.)
    """
    return np.argsort(np.asarray(counts), kind="stable")[:number]


def priority_classes(counts: np.ndarray, share: float = 1e-3) -> np.ndarray:
    """All classes with less than `share` of the pixels, rarest first: int64 [k] (CBST's priority, CRST's mine_id).

    counts: int [c] with a positive sum; the result is empty for an all-zero vector.
    """
    counts = np.asarray(counts)
    total = counts.sum()
    if total == 0:
        return np.zeros(0, np.int64)
    below = np.count_nonzero(counts / total < share)
    return rare_classes(counts, below)
