"""Per-class thresholds lambda_c = exp(-k_c) over all target images, exact and in bounded memory (CBST, algorithm 1)."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from training.errors import UserError
from training.probability_maps.measuring import MakeBatches, Measured, measure_images
from training.probability_maps.order_statistics import NO_BIN, ConfidenceHistogram, FewValues, WindowHistogram
from training.probability_maps.scores import MAX_CLASSES
from training.pseudo_labels.portion import check_portion
from training.pseudo_labels.selectors import GLOBAL_SELECTORS, ORDERED_SELECTORS, SELECTORS, check_selector

LOOK_ROWS = 7  # the first look takes every seventh row: prime, so that it meets every phase of an upsampled grid
MOST_STRIDE = 10**9
WINDOW = 8  # bins counted exactly around the guess: at confidences above a half they span 0.03, in 2 MB a class


@dataclass(frozen=True)
class Workers:
    """Other processes that measure other images of the same set, for the thresholds of all.

    add_up: gives the sum of an integer array over all workers, who call it equally often and in the same order.
    classes: of the maps, for a worker may have none.
    """

    add_up: Callable[[np.ndarray], np.ndarray]
    classes: int


@dataclass(frozen=True)
class Thresholds:
    """What selection needs, and what the manifest tells.

    values: float32 [c], a pixel is selected where its (prior-weighted) probability divided by these reaches 1; +inf =
    the class is never selected. counts: int64 [c], all pixels per arg-max class. pool_counts: int64 [c], those of them
    that were ranked (every stride-th).
    """

    selector: str
    portion: float
    stride: int
    compat: str | None
    values: np.ndarray
    counts: np.ndarray
    pool_counts: np.ndarray
    images: int


def thresholds_from_json(content: Mapping[str, Any], counts: str, pool_counts: str) -> Thresholds:
    """Thresholds as a manifest or a model's metadata tell them; `counts`, `pool_counts`: what the two are called there.

    Raises:
        KeyError, TypeError, ValueError: something is missing or of another kind; the caller knows where.
    """
    values = [np.inf if value is None else value for value in content["thresholds"]]
    numbers = (*content[counts], *content[pool_counts], content["stride"], content["images"])
    same_length = 0 < len(values) == len(content[counts]) == len(content[pool_counts]) <= MAX_CLASSES
    if not same_length or not all(type(value) in (int, float) and value > 0 for value in values):
        raise ValueError("expected a positive threshold, or null, for each class")
    if not all(type(number) is int and 0 <= number < 2**62 for number in numbers):
        raise ValueError("expected counts of pixels and images, and a stride")
    selector, portion, compat = content["selector"], content["portion"], content["compat"]
    if selector not in SELECTORS or not 0 < portion <= 1 or compat not in (None, "mxnet"):
        raise ValueError(f"expected one of the selectors {', '.join(SELECTORS)} with a portion in 0..1")
    with np.errstate(over="ignore"):  # beyond float32: never reached, as infinity
        thresholds = np.array(values, np.float32)
    pools = (np.array(content[name], np.int64) for name in (counts, pool_counts))
    return Thresholds(selector, portion, content["stride"], compat, thresholds, *pools, content["images"])


def thresholds_from_batches(
    make_batches: MakeBatches,
    selector: str,
    portion: float,
    stride: int = 4,
    prior: np.ndarray | None = None,
    compat: str | None = None,
    workers: Workers | None = None,
    some_batches: MakeBatches | None = None,
) -> Thresholds:
    """The thresholds that select the most confident `portion` of the pixels (of each class; `st`: of all classes).

    make_batches: called one to three times, each time yielding the same float arrays [h, w, c] or [n, h, w, c], or
      `Enlarged` coarse maps, from the start (an inference pass); sizes may differ between images. An array must not be
      changed after it was yielded.
    portion: in (0, 1]. stride: every stride-th pixel of each arg-max class of each image is ranked (published: 4).
    prior: float32 [h, w, c] for st_sp and cbst_sp. compat="mxnet" adds the original CBST's stray zeros to the pools
      and selects absent classes at 1, for comparison with it only.
    workers: make_batches yields this worker's images only; the result is that of all, to the bit.
    some_batches: the same of some images, spread over all, that cost less; None = look at all of them. The result does
      not depend on it.
    A class whose rank floor(count * portion) is 0 gets threshold 1, as published, and +inf where a prior is used: prior
    times probability can exceed 1, and a class absent from the predictions must not be selected.
    Raises UserError for bad arguments, maps of different class counts and NaN or negative confidences.

    1. Look at some rows: they tell about where each threshold lies.
    2. Count all images: the high bits of all ranked confidences, and every value in a window around the guess.
    3. Only if a rank lies outside its window: count the values in the bins that hold the ranks.
    """
    _check_arguments(selector, portion, stride, prior, compat)
    measure = partial(measure_images, stride=stride, prior=prior, one_pool=selector in GLOBAL_SELECTORS)
    pools = None if workers is None else 1 if selector in GLOBAL_SELECTORS else workers.classes
    look = _look(measure(some_batches or make_batches, every_row=LOOK_ROWS), pools, workers)
    guess, _ = look.locate(_ranks(look.counts, portion))
    census = _Census(guess)
    for measured in measure(make_batches):
        census.add(measured)
    if workers is not None:
        census.add_up(workers)
    if census.images == 0:
        raise ValueError("make_batches gave no images the second time: it must start afresh at each call")
    ranks = _ranks(census.histogram.counts, portion, _stray_zeros(selector, len(census.counts)) if compat else 0)
    values = _kth_largest(census, ranks, partial(measure, make_batches), workers)
    values = _usable(values, np.inf if prior is not None and compat is None else 1.0)
    values = np.broadcast_to(values, census.counts.shape).copy()
    return Thresholds(selector, portion, stride, compat, values, census.counts, census.pool_counts, census.images)


def _look(measured_images: Iterable[Measured], pools: int | None, workers: Workers | None) -> ConfidenceHistogram:
    """Step 1. Its histogram has as many rows as there are pools; None: as the first image says."""
    histogram = None if pools is None else ConfidenceHistogram(pools)
    for measured in measured_images:
        histogram = histogram or ConfidenceHistogram(measured.pools)
        histogram.add(measured.confidence, measured.pool)
    if histogram is None:
        raise UserError("There are no probability maps to find thresholds from: expected at least one image.")
    if workers is not None:
        histogram.add_up(workers.add_up)
    return histogram


class _Census:
    """Step 2. counts and pool_counts are those of Thresholds; the tables have a row for each pool."""

    def __init__(self, guess: np.ndarray):
        self.histogram = ConfidenceHistogram(len(guess))
        self.window = WindowHistogram(np.where(guess == NO_BIN, NO_BIN, np.maximum(guess - WINDOW // 2, 0)), WINDOW)
        self.few = FewValues(len(guess))
        self.counts: np.ndarray | int = 0
        self.pool_counts: np.ndarray | int = 0
        self.images = 0

    def add(self, measured: Measured) -> None:
        for table in (self.histogram, self.window, self.few):
            table.add(measured.confidence, measured.pool)
        self.counts = self.counts + measured.counts
        self.pool_counts = self.pool_counts + np.bincount(measured.label, minlength=len(measured.counts))
        self.images += 1

    def add_up(self, workers: Workers) -> None:
        """Make it the census of all workers; few values are left out: there is no sum of them."""
        self.histogram.add_up(workers.add_up)
        self.window.add_up(workers.add_up)
        none = np.zeros(workers.classes, np.int64)
        self.counts, self.pool_counts = workers.add_up(none + self.counts), workers.add_up(none + self.pool_counts)
        self.images = int(workers.add_up(np.array([self.images]))[0])
        self.few = FewValues(len(self.histogram.counts), limit=-1)  # no class is complete


def _kth_largest(
    census: _Census, ranks: np.ndarray, measure: Callable[[], Iterable[Measured]], workers: Workers | None
) -> np.ndarray:
    """The ranks[c]-th largest value of each pool, float32; NaN for rank 0. Takes step 3 if it must."""
    bins, ranks_inside = census.histogram.locate(ranks)
    few, covered = census.few.complete, census.window.covers(bins)
    values = census.window.kth_largest(np.where(covered, bins, NO_BIN), ranks_inside)
    values = np.where(few, census.few.kth_largest(ranks), values)
    missing = ~few & ~covered
    if missing.any():
        bins = np.where(missing, bins, NO_BIN)
        window = WindowHistogram(bins)
        for measured in measure():
            window.add(measured.confidence, measured.pool)
        if workers is not None:
            window.add_up(workers.add_up)
        values = np.where(missing, window.kth_largest(bins, ranks_inside), values)
    return values


def _ranks(pool_sizes: np.ndarray, portion: float, stray_zeros: int = 0) -> np.ndarray:
    """K = floor(size * portion) of each pool, 0 where no value of the pool has that rank.

    Stray zeros raise the size; a rank that falls on one of them finds no threshold.
    """
    ranks = [math.floor((size + stray_zeros) * portion) for size in pool_sizes.tolist()]
    return np.where(np.array(ranks) > pool_sizes, 0, ranks)


def _stray_zeros(selector: str, classes: int) -> int:
    """The original CBST starts each class' pool with one zero, and the pool of all with one more than classes."""
    return classes + 1 if selector in GLOBAL_SELECTORS else 1


def _usable(values: np.ndarray, missing: float) -> np.ndarray:
    """Put `missing` for NaN, and the smallest float32 for zero, by which nothing can be divided."""
    return np.where(np.isnan(values), np.float32(missing), np.maximum(values, np.finfo(np.float32).tiny))


def _check_arguments(selector: str, portion: float, stride: int, prior: np.ndarray | None, compat: str | None) -> None:
    check_selector(selector, prior)
    if selector in ORDERED_SELECTORS:
        raise UserError(
            f"The selector {selector} has no thresholds over all images: label in batches (InstanceAdaptiveSelector)."
        )
    check_portion(portion)
    if not 1 <= stride <= MOST_STRIDE:
        raise UserError(f"The stride is {stride}: expected 1 to {MOST_STRIDE} (1 ranks all pixels, 4 every fourth).")
    if compat not in (None, "mxnet"):
        raise UserError(f"There is no compatibility mode {compat!r}: expected mxnet or none.")
