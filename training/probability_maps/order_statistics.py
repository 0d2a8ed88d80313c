"""The exact K-th largest confidence of each class in bounded memory, whatever the number of images.

Non-negative float32 values are ordered like their bit patterns. Counts of their high 16 bits tell the bin that holds
the K-th largest value; counts of all bits of the values in that bin tell the value. Each table has classes * 65536
counts (10 MB for 19 classes). They do not depend on the order of the values, and those of several workers merge by
addition. Two passes are always enough:

    histogram = ConfidenceHistogram(classes)
    histogram.add(confidence, label)                # for all values
    bins, ranks_inside = histogram.locate(ranks)
    window = WindowHistogram(bins)
    window.add(confidence, label)                   # for all values again
    window.kth_largest(bins, ranks_inside)

Who can guess the bins counts both at once in wider windows, and needs the second pass only where `covers` says no.
"""

from collections.abc import Callable

import numpy as np

BINS = 1 << 16
NO_BIN = -1
_INFINITY_BITS = np.float32(np.inf).view(np.uint32)


class ConfidenceHistogram:
    """First pass: counts of the high 16 bits of the confidences of each class."""

    def __init__(self, classes: int):
        self._high = np.zeros((classes, BINS), np.int64)

    @property
    def counts(self) -> np.ndarray:
        """Number of values added, int64 [classes]."""
        return self._high.sum(axis=1)

    def add(self, confidence: np.ndarray, label: np.ndarray) -> None:
        """Add values. confidence: float32 [n], at least 0, not NaN (ValueError otherwise); label: int [n] < classes."""
        keys = (ordered_bits(confidence) >> 16).astype(np.intp)
        keys += np.multiply(label, BINS, dtype=np.intp)
        np.add.at(self._high.reshape(-1), keys, 1)

    def add_up(self, over_workers: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replace the counts by their sum over all workers."""
        self._high = over_workers(self._high)

    def locate(self, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bin that holds the ranks[c]-th largest value of each class, and its rank inside that bin; int64 [classes].

        ranks: int [classes], 0 = no value is asked for: bin NO_BIN, rank 0. ValueError if a rank exceeds the count.
        """
        ranks = np.asarray(ranks, np.int64)
        if (ranks > self.counts).any() or (ranks < 0).any():
            raise ValueError(f"ranks {ranks.tolist()} do not fit the counts {self.counts.tolist()}")
        bins, above = _bin_of_rank(self._high, ranks)
        bins[ranks == 0] = NO_BIN
        return bins, np.where(ranks == 0, 0, ranks - above)


class WindowHistogram:
    """Second pass: counts of every float32 value inside `width` neighbouring bins of each class (NO_BIN: none)."""

    def __init__(self, first_bins: np.ndarray, width: int = 1):
        self._first_bins = np.array(first_bins, np.int64)
        self._width = width
        self._counts = np.zeros((len(self._first_bins), width * BINS), np.uint32)
        # Without a bin the window starts among the patterns of NaN, which no value reaches.
        self._starts = (np.where(self._first_bins < 0, BINS - 1, self._first_bins) << 16).astype(np.uint32)

    def add(self, confidence: np.ndarray, label: np.ndarray) -> None:
        """Add values in any order and grouping; arguments as for the first pass."""
        offsets = ordered_bits(confidence) - self._starts.take(label)  # wraps round below the window
        inside = np.flatnonzero(offsets < self._counts.shape[1])
        keys = offsets[inside].astype(np.intp)
        keys += np.multiply(label[inside], self._counts.shape[1], dtype=np.intp)
        np.add.at(self._counts.reshape(-1), keys, np.uint32(1))  # a Python int would be converted slowly

    def add_up(self, over_workers: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replace the counts by their sum over all workers."""
        self._counts = over_workers(self._counts)

    def covers(self, bins: np.ndarray) -> np.ndarray:
        """Whether the windows contain the bins, bool [classes]; NO_BIN always is."""
        inside = (self._first_bins >= 0) & (bins >= self._first_bins) & (bins < self._first_bins + self._width)
        return inside | (bins == NO_BIN)

    def kth_largest(self, bins: np.ndarray, ranks_inside: np.ndarray) -> np.ndarray:
        """The exact values that `locate` described, float32 [classes]; NaN for NO_BIN. The windows must cover the bins.

        Should the second pass have seen slightly other values (inference need not be deterministic), the rank is taken
        as far as the bin's content goes: the result stays inside the bin, within 1 % of the exact value.
        """
        values = np.full(len(bins), np.nan, np.float32)
        for class_id in np.flatnonzero(bins != NO_BIN):
            start = (bins[class_id] - self._first_bins[class_id]) * BINS
            counts = self._counts[class_id : class_id + 1, start : start + BINS].astype(np.int64)
            low, _ = _bin_of_rank(counts, np.clip(ranks_inside[class_id : class_id + 1], 1, max(1, counts.sum())))
            bits = (bins[class_id] << 16) + max(0, low[0])
            values[class_id] = np.uint32(bits).view(np.float32)
        return values


class FewValues:
    """The values themselves, for every class that has no more than `limit` of them."""

    def __init__(self, classes: int, limit: int = BINS):
        self._limit = limit
        self._sizes = np.zeros(classes, np.int64)
        self._values: list[list[np.ndarray]] = [[] for _ in range(classes)]

    @property
    def complete(self) -> np.ndarray:
        """Which classes have all their values here, bool [classes]."""
        return self._sizes <= self._limit

    def add(self, confidence: np.ndarray, label: np.ndarray) -> None:
        """Keep values; arguments as for ConfidenceHistogram. A class that exceeds the limit is forgotten."""
        for class_id in np.flatnonzero(self.complete & (np.bincount(label, minlength=len(self._sizes)) > 0)):
            values = confidence[label == class_id]
            self._sizes[class_id] += values.size
            self._values[class_id].append(values)
            if self._sizes[class_id] > self._limit:
                self._values[class_id].clear()

    def kth_largest(self, ranks: np.ndarray) -> np.ndarray:
        """The exact ranks[c]-th largest values, float32 [classes]; NaN for rank 0 and incomplete classes."""
        result = np.full(len(ranks), np.nan, np.float32)
        for class_id in np.flatnonzero(self.complete & (ranks > 0)):
            values = np.concatenate(self._values[class_id])
            position = values.size - ranks[class_id]
            result[class_id] = np.partition(values, position)[position]
        return result


def ordered_bits(confidence: np.ndarray) -> np.ndarray:
    """Bit patterns uint32 [n] of non-negative float32 values, which are ordered as the values are.

    Raises ValueError for NaN and negative values, whose patterns lie beyond that of infinity.
    """
    bits = np.add(confidence, np.float32(0.0), dtype=np.float32).view(np.uint32)  # the sum turns -0.0 into 0.0
    if bits.size and bits.max() > _INFINITY_BITS:
        raise ValueError("a confidence is NaN or negative")
    return bits


def _bin_of_rank(histogram: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bin of the ranks[c]-th largest entry of row c (-1 if there are fewer), and how many entries lie above it."""
    at_least = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]  # entries in this bin or a higher one
    bins = np.count_nonzero(at_least >= ranks[:, None], axis=1) - 1
    rows = np.arange(len(ranks))
    return bins, at_least[rows, bins] - histogram[rows, bins]
