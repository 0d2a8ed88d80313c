"""Thresholds lambda_c = exp(-k_c) over all target images, exact and in bounded memory (CBST, algorithm 1).

`ThresholdSelector` and `ThresholdFitted` are what the selectors of CBST and CRST share: rank the confidences of all
images, take the value that a portion of them reaches, keep the pixels whose ratio to it reaches 1.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import numpy as np

from training.distribution.shares import Workers
from training.probability_maps.measuring import Measured, measure_images
from training.probability_maps.order_statistics import NO_BIN, ConfidenceHistogram, FewValues, WindowHistogram
from training.probability_maps.scores import best_class
from training.pseudo_labels.portion import check_portion, portion_at
from training.pseudo_labels.selector import (
    IGNORE,
    Fitted,
    Maps,
    Probs,
    Selector,
    no_maps,
    parameter,
    read_common,
    read_counts,
)
from training.pseudo_labels.spatial_prior import PriorAtSizes

SAMPLED_ROWS = 7  # the estimate reads every seventh row: prime, so that it meets every phase of an enlarged grid
MOST_STRIDE = 10**9
WINDOW = 8  # bins counted exactly around the estimate: at confidences above a half they span 0.03, in 2 MB per class
COMPATIBLE = "mxnet"  # the original CBST program


@dataclass(frozen=True, eq=False)
class ThresholdFitted(Fitted):
    """Thresholds that label by the ratio of probability to threshold (CBST, equation 6).

    thresholds: float32 [c]. ranked_pixels: int64 [c], the pixels that were ranked, every stride-th of `pixels`.
    """

    ranked_pixels: np.ndarray

    def label(self, probs: Probs) -> np.ndarray:
        """The arg-max over classes of prior * probs / threshold, lowest index on ties, kept where that ratio is at
        least 1 (the paper's inequality is strict, its programs keep equality)."""
        score, label = best_class(probs, self.selector.prior_at(probs.shape[:2]), self.thresholds, least=1.0)
        label[~(score >= 1.0)] = IGNORE
        return label

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "ranked_pixels": self.ranked_pixels.tolist()}


@dataclass(frozen=True, eq=False, kw_only=True)
class ThresholdSelector(Selector):
    """Selects the most confident portion of the pixels; a class with none of that rank gets threshold 1, as published,
    and +inf where a prior is used: prior times probability can exceed 1, and such a class must not be selected."""

    shown: ClassVar = ("portion",)
    one_pool: ClassVar[bool] = False  # one ranking of all classes' pixels, or one per class
    fitted_type: ClassVar[type[ThresholdFitted]] = ThresholdFitted
    portion: float = parameter(0.2, "Share of the pixels to select, the most confident ones: above 0, at most 1.")
    stride: int = parameter(4, "Rank every n-th pixel of each class; 1 ranks all. Every pixel can be selected.")
    compat: Literal["mxnet"] | None = parameter(
        None, "Reproduce the original CBST program, with the stray zero in each of its rankings."
    )

    def __post_init__(self) -> None:
        check_portion(self.portion)
        all_or_some = f"1 to {MOST_STRIDE} (1 ranks all pixels, 4 every fourth)"
        self.refuse(
            {
                "stride": (1 <= self.stride <= MOST_STRIDE, all_or_some),
                "compat": (self.compat in (None, COMPATIBLE), f"{COMPATIBLE} or none"),
            }
        )

    @cached_property
    def prior_at(self) -> PriorAtSizes:
        """The spatial prior at the size of an image."""
        return PriorAtSizes(self.prior)

    def fit(self, maps: Maps, workers: Workers | None = None) -> ThresholdFitted:
        """As `Selector.fit`. `maps` is called one to three times, `maps.some`, if there is one, once.

        1. Read some rows: they tell about where each threshold lies.
        2. Count all images: the high bits of all ranked confidences, and every value in a window around the estimate.
        3. Only if a rank lies outside its window: count the values in the bins that hold the ranks.
        """
        measure = partial(measure_images, stride=self.stride, prior_at=self.prior_at, one_pool=self.one_pool)
        # 1. An estimate of each threshold.
        pools = None if workers is None else 1 if self.one_pool else workers.classes
        sampled = _sampled_histogram(measure(getattr(maps, "some", maps), every_row=SAMPLED_ROWS), pools, workers)
        estimate, _ = sampled.locate(_ranks(sampled.counts, self.portion))
        # 2. All images.
        counts = _Counts(estimate)
        for measured in measure(maps):
            counts.add(measured)
        if workers is not None:
            counts.add_up(workers)
        if counts.images == 0:
            raise ValueError("the maps gave no images the second time: they must start afresh at each call")
        # 3. The values of the ranks; a class without one is not selected.
        ranks = _ranks(counts.histogram.counts, self.portion, self._stray_zeros(len(counts.pixels)))
        values = _kth_largest(counts, ranks, partial(measure, maps), workers)
        values = _usable(values, np.inf if self.prior is not None and self.compat is None else 1.0)
        values = np.broadcast_to(values, counts.pixels.shape).copy()
        return self.fitted_type(self, values, counts.pixels, counts.images, counts.ranked_pixels)

    @classmethod
    def in_round(cls, settings: Any, number: int) -> dict[str, Any]:
        """The self-paced schedule: the portion grows by a step per round, where the settings have one."""
        if not hasattr(settings, "portion_step"):
            return {}
        return {"portion": portion_at(number - 1, settings.portion, settings.portion_step, settings.portion_max)}

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> ThresholdFitted:
        selector = cls.from_json(content)
        common = read_common(content, np.finfo(np.float32).tiny)
        ranked = read_counts(content["ranked_pixels"])
        if len(ranked) != len(common["pixels"]) or (
            selector.prior is not None and selector.prior.shape[2] != len(ranked)
        ):
            raise ValueError("expected thresholds, counts of pixels and prior of the same classes")
        with np.errstate(over="ignore"):  # beyond float32: never reached, as infinity
            common["thresholds"] = common["thresholds"].astype(np.float32)
        return cls.fitted_type(selector, **common, ranked_pixels=ranked)

    def _stray_zeros(self, classes: int) -> int:
        """The original CBST starts each class' pool with one zero, and the pool of all with one more than classes."""
        if self.compat is None:
            return 0
        return classes + 1 if self.one_pool else 1


def _sampled_histogram(
    measured_images: Iterable[Measured], pools: int | None, workers: Workers | None
) -> ConfidenceHistogram:
    """Step 1. Its histogram has as many rows as there are pools; None: as the first image says."""
    histogram = None if pools is None else ConfidenceHistogram(pools)
    for measured in measured_images:
        histogram = histogram or ConfidenceHistogram(measured.pools)
        histogram.add(measured.confidence, measured.pool)
    if histogram is None:
        raise no_maps()
    if workers is not None:
        histogram.add_up(workers.add_up)
    return histogram


class _Counts:
    """Step 2. pixels and ranked_pixels are those of ThresholdFitted; the tables have a row for each pool."""

    def __init__(self, estimate: np.ndarray):
        first_bins = np.where(estimate == NO_BIN, NO_BIN, np.maximum(estimate - WINDOW // 2, 0))
        self.histogram = ConfidenceHistogram(len(estimate))
        self.window = WindowHistogram(first_bins, WINDOW)
        self.few = FewValues(len(estimate))
        self.pixels: np.ndarray | int = 0
        self.ranked_pixels: np.ndarray | int = 0
        self.images = 0

    def add(self, measured: Measured) -> None:
        for table in (self.histogram, self.window, self.few):
            table.add(measured.confidence, measured.pool)
        self.pixels = self.pixels + measured.counts
        self.ranked_pixels = self.ranked_pixels + np.bincount(measured.label, minlength=len(measured.counts))
        self.images += 1

    def add_up(self, workers: Workers) -> None:
        """Make them the counts of all workers; few values are left out: there is no sum of them."""
        self.histogram.add_up(workers.add_up)
        self.window.add_up(workers.add_up)
        none = np.zeros(workers.classes, np.int64)
        self.pixels, self.ranked_pixels = (workers.add_up(none + each) for each in (self.pixels, self.ranked_pixels))
        self.images = int(workers.add_up(np.array([self.images]))[0])
        self.few = FewValues(len(self.histogram.counts), limit=-1)  # no class is complete


def _kth_largest(
    counts: _Counts, ranks: np.ndarray, measure: Callable[[], Iterable[Measured]], workers: Workers | None
) -> np.ndarray:
    """The ranks[c]-th largest value of each pool, float32; NaN for rank 0. Takes step 3 if it must."""
    bins, ranks_inside = counts.histogram.locate(ranks)
    few, covered = counts.few.complete, counts.window.covers(bins)
    values = counts.window.kth_largest(np.where(covered, bins, NO_BIN), ranks_inside)
    values = np.where(few, counts.few.kth_largest(ranks), values)
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


def _usable(values: np.ndarray, missing: float) -> np.ndarray:
    """Put `missing` for NaN, and the smallest float32 for zero, by which nothing can be divided."""
    return np.where(np.isnan(values), np.float32(missing), np.maximum(values, np.finfo(np.float32).tiny))
