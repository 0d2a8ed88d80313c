"""Which sample stands at each position of a training stage's stream: a function of the seed and the position alone, so
that any part of a stream can be computed without what came before it. And: evenly spaced samples of a data set."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.errors import UserError

NO_CLASS = -1
"""The class of a position whose order chooses no class."""

_WEIGHTED, _RARE_CLASSES = 0x5745, 0x5243  # keep the random numbers of one order apart from those of another
_NUMBERS = 4  # of 64 bits each, that Philox makes at once: as many as one position may use


class SampleOrder(ABC):
    """The order of a stream's samples, as a value."""

    @abstractmethod
    def indices(self, first: int, last: int, seed: int) -> np.ndarray:
        """The samples at positions first..last-1 of the stream: int64 [last - first].

        Args:
            first, last: positions, 0 <= first <= last; the result for (k, last) is the tail of that for (0, last).
            seed: any integer >= 0.
        """

    def classes(self, first: int, last: int, seed: int) -> np.ndarray:
        """The class that each of these samples was drawn for: int64 [last - first], NO_CLASS where there is none."""
        return np.full(last - first, NO_CLASS, np.int64)

    @abstractmethod
    def check(self, samples: int) -> None:
        """Refuse a data set of this many samples if the order was not made for it: IndexError, the caller's mistake."""


@dataclass(frozen=True, eq=False)
class Permutation(SampleOrder):
    """Every epoch a fresh permutation of the chosen samples; it depends on the seed and the epoch's number only.

    chosen: int [n], sample indices, n at least 1. Raises UserError where it is empty.
    """

    chosen: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "chosen", np.asarray(self.chosen, np.int64).reshape(-1))
        if self.chosen.size == 0:
            raise UserError("There is no image to train on: the data set or the chosen part of it is empty.")

    @classmethod
    def of_all(cls, samples: int) -> "Permutation":
        """Of all samples of a data set."""
        return cls(np.arange(samples))

    def indices(self, first: int, last: int, seed: int) -> np.ndarray:
        if last <= first:
            return np.zeros(0, np.int64)
        count = len(self.chosen)
        epochs = range(first // count, (last - 1) // count + 1)
        order = np.concatenate([np.random.default_rng((seed, epoch)).permutation(count) for epoch in epochs])
        start = first - epochs[0] * count
        return self.chosen[order[start : start + last - first]]

    def check(self, samples: int) -> None:
        low, high = self.chosen.min(), self.chosen.max()
        if low < 0 or high >= samples:
            raise IndexError(f"indices {low}..{high} do not fit a data set of {samples} samples")


@dataclass(frozen=True, eq=False)
class Weighted(SampleOrder):
    """Samples drawn with replacement, each with its own probability (UPLR's soft-balance sampling draws so).

    probabilities: float [samples], each at least 0, with the sum 1. Raises UserError for anything else.
    """

    probabilities: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", np.asarray(self.probabilities, np.float64))
        values = self.probabilities
        if values.ndim != 1 or values.size == 0:
            raise UserError(f"Sampling probabilities of shape {values.shape}: expected one number per image.")
        if not (np.isfinite(values).all() and values.min() >= 0):
            wrong = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
            raise UserError(f"The sampling probability of image {wrong} is {values[wrong]}: expected 0 to 1.")
        if abs(values.sum() - 1) > 1e-6:
            raise UserError(f"The sampling probabilities of the images have the sum {values.sum():.6g}: expected 1.")

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return _cumulative(self.probabilities)

    def indices(self, first: int, last: int, seed: int) -> np.ndarray:
        return _inverse(self._cumulative, position_uniform(seed, _WEIGHTED, first, last)[:, 0])

    def check(self, samples: int) -> None:
        _check_count(len(self.probabilities), samples)


@dataclass(frozen=True, eq=False)
class RareClasses(SampleOrder):
    """Rare class sampling (DAFormer, CVPR 2022, section 3.3): first a class, then an image that shows enough of it.

    P(c) ~ exp((1 - f_c) / T); the image is drawn uniformly among those with enough pixels of c. Classes without such
    an image are left out, and the others share their probability.

    Attributes:
        frequencies: float [classes], f: each class' share of the data set's labelled pixels, 0 to 1.
        counts: int [images, classes], labelled pixels of each class in each image.
        temperature: T, above 0; the smaller, the more often the rarest class. Published: 0.01.
        least_share: an image has enough of a class if the class has more than this share of the image's labelled
            pixels, 0 to 1. The published program asks for more than 3000 pixels, which are 0.0015 of GTA5's
            1914 x 1052.

    Raises:
        UserError: a value out of its range, or no image with enough pixels of any class.
    """

    frequencies: np.ndarray
    counts: np.ndarray
    temperature: float = 0.01
    least_share: float = 0.0015

    def __post_init__(self) -> None:
        object.__setattr__(self, "frequencies", np.asarray(self.frequencies, np.float64))
        object.__setattr__(self, "counts", np.asarray(self.counts, np.int64))
        frequencies, counts = self.frequencies, self.counts
        if counts.ndim != 2 or frequencies.shape != counts.shape[1:]:
            raise UserError(
                f"Rare class sampling has frequencies of shape {frequencies.shape} and pixel counts of shape "
                f"{counts.shape}: expected [classes] and [images, classes]."
            )
        if not ((frequencies >= 0) & (frequencies <= 1)).all() or counts.min(initial=0) < 0:
            raise UserError("Rare class sampling needs class frequencies from 0 to 1 and pixel counts of at least 0.")
        if not self.temperature > 0:
            raise UserError(
                f"The temperature of rare class sampling is {self.temperature}: expected above 0, such as 0.01."
            )
        if not 0 <= self.least_share < 1:
            raise UserError(
                f"Rare class sampling asks for images with more than {self.least_share} of their pixels of a class: "
                "expected at least 0 and below 1, such as 0.0015."
            )
        if not self.class_images.any():
            raise UserError(
                f"No image shows more than {self.least_share:.2%} of any class, so rare class sampling has nothing to "
                "draw: give images with labels, or a smaller share."
            )

    @classmethod
    def from_counts(cls, counts: np.ndarray, temperature: float = 0.01, least_share: float = 0.0015) -> "RareClasses":
        """With the frequencies of these images: counts int [images, classes], labelled pixels."""
        of_class = np.asarray(counts, np.int64).sum(axis=0)
        return cls(of_class / max(of_class.sum(), 1), counts, temperature, least_share)

    @cached_property
    def class_probabilities(self) -> np.ndarray:
        """P(c), 0 for a class that no image shows enough of: float64 [classes] with the sum 1."""
        exponents = (1 - self.frequencies) / self.temperature
        exponents[self.class_images == 0] = -np.inf
        weights = np.exp(exponents - exponents.max())
        return weights / weights.sum()

    @property
    def class_images(self) -> np.ndarray:
        """How many images show enough of each class: int64 [classes]."""
        return self._images_of_class[1]

    @cached_property
    def _images_of_class(self) -> tuple[np.ndarray, np.ndarray]:
        """The images with enough of class 0, then those of class 1 and so on; and how many each class has."""
        enough = shows_enough(self.counts, self.least_share)
        return np.nonzero(enough.T)[1], np.count_nonzero(enough, axis=0)

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return _cumulative(self.class_probabilities)

    def indices(self, first: int, last: int, seed: int) -> np.ndarray:
        images, sizes = self._images_of_class
        classes, uniform = self.classes(first, last, seed), position_uniform(seed, _RARE_CLASSES, first, last)[:, 1]
        starts = np.cumsum(sizes) - sizes
        return images[starts[classes] + (uniform * sizes[classes]).astype(np.int64)]

    def classes(self, first: int, last: int, seed: int) -> np.ndarray:
        return _inverse(self._cumulative, position_uniform(seed, _RARE_CLASSES, first, last)[:, 0])

    def check(self, samples: int) -> None:
        _check_count(len(self.counts), samples)


def shows_enough(counts: np.ndarray, least_share: float) -> np.ndarray:
    """Which images show more than `least_share` of their labelled pixels of which class: int, bool [images, classes]"""
    return counts > least_share * counts.sum(axis=1, keepdims=True)


def _check_count(of_order: int, samples: int) -> None:
    if of_order != samples:
        raise IndexError(f"an order of {of_order} samples does not fit a data set of {samples} samples")


def position_uniform(seed: int, purpose: int, first: int, last: int) -> np.ndarray:
    """Uniform numbers in [0, 1) for positions first..last-1: float64 [last - first, 4].

    Philox is a function of a counter, and the position is the counter, so any part can be computed alone.
    """
    bits = np.random.Philox(key=np.array([seed, purpose], np.uint64), counter=first)
    raw = bits.random_raw(_NUMBERS * max(last - first, 0)).reshape(-1, _NUMBERS)
    return (raw >> np.uint64(11)) * 2.0**-53


def batch_uniform(seed: int, purpose: int, first: int, last: int, batch_size: int) -> np.ndarray:
    """As `position_uniform`, with the numbers of the first position of its global batch at each position."""
    starts = np.arange(first, last) // batch_size * batch_size
    begin = first // batch_size * batch_size
    return position_uniform(seed, purpose, begin, last)[starts - begin]


def _cumulative(probabilities: np.ndarray) -> np.ndarray:
    """The cumulative distribution, with 1 exactly at its end."""
    sums = np.cumsum(probabilities)
    return sums / sums[-1]


def _inverse(cumulative: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The first index whose cumulative probability is above the uniform number, so never one of probability 0."""
    return np.searchsorted(cumulative, uniform, side="right").astype(np.int64)


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Up to `most` indices below `count`, the first and the last among them, in ascending order: int64."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
