"""IAS, the instance-adaptive selector of IAST (Mei et al., ECCV 2020, section 3.2) and HIAST (TPAMI 2025, the same).

Each class has a threshold theta, at first `initial`. One batch of images after the other, in their order:

1. a pixel's class and confidence are arg-max and maximum of its probabilities;
2. a class' pool: its pixels' confidences rounded to float16, and the old theta as one more value;
3. psi = quantile of the pool at 1 - alpha * theta^gamma, linearly interpolated, rounded to float32;
4. theta <- beta * theta + (1 - beta) * psi; what reaches 1 becomes 0.999;
5. the *new* theta labels this same batch: a pixel keeps its class where its float32 confidence reaches theta, else 255.

So labels depend on the order of the images and on the batch size (published: 2 images); the caller chooses both.
A hard class gets a low theta because its confidences are low. gamma works the other way: alpha * theta^gamma is the
share of a class above its psi, so a class with a small theta keeps a smaller share, which keeps noise out.

JSON: kind, alpha, beta, gamma, initial, batch_size, thresholds (the last theta), pixels, images.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from training.distribution.shares import Workers
from training.errors import UserError
from training.probability_maps.scores import best_class
from training.pseudo_labels.selector import (
    IGNORE,
    Fitted,
    Labelling,
    Maps,
    Probs,
    Selector,
    no_maps,
    parameter,
    read_common,
)

CAP = 0.999  # what a threshold of 1 or more becomes: otherwise nothing would ever be kept again
MEAN_DECAY = 0.99  # of the running mean confidence of what is selected (HIAST)
HIGHEST = 1.01  # float16 probabilities may exceed 1 a little
MOST_IMAGES = 4096  # that move thresholds together


@dataclass(frozen=True, eq=False)
class InstanceAdaptiveFitted(Fitted):
    """The last theta of a labelling.

    thresholds: float64 [c]. running_mean: float64 [c], see `MovingThresholds.mean_confidence`. trajectory: float64
    [batches + 1, c], the thresholds at the start and after each batch. Both are None of what was read from JSON.
    """

    running_mean: np.ndarray | None = None
    trajectory: np.ndarray | None = None

    def label(self, probs: Probs) -> np.ndarray:
        """The arg-max class where its probability reaches theta, which no longer moves."""
        return keep_confident(*best_class(probs), self.thresholds)

    @property
    def mean_confidence(self) -> np.ndarray | None:
        return self.running_mean

    def figures(self) -> dict[str, Any]:
        return {} if self.trajectory is None else {"threshold_trajectory": self.trajectory.tolist()}


@dataclass(frozen=True, eq=False, kw_only=True)
class InstanceAdaptiveSelector(Selector):
    kind: ClassVar = "instance_adaptive"
    short: ClassVar = "ias"
    meaning: ClassVar = "IAST's instance-adaptive selector: thresholds follow the images in their order, plain arg-max"
    shown: ClassVar = ("alpha",)
    ordered: ClassVar = True
    alpha: float = parameter(
        0.5, "Share of a class that sets its threshold, at theta = 1: above 0, at most 1 (IAST 0.2 to 0.3, HIAST 0.5)."
    )
    beta: float = parameter(0.9, "How much of the old threshold stays from batch to batch, 0 to 1; 1: it never moves.")
    gamma: float = parameter(
        8.0, "The share is alpha * threshold^gamma, so that hard classes keep fewer pixels; 0: the same for all."
    )
    initial: float = parameter(0.9, "The first threshold of every class, from 0 to below 1.")
    batch_size: int = parameter(
        2, "Images that move the thresholds together, in the order of their names; labels depend on both."
    )

    def __post_init__(self) -> None:
        self.refuse(
            {
                "alpha": (0 < self.alpha <= 1, "above 0 and at most 1, such as 0.5"),
                "beta": (0 <= self.beta <= 1, "from 0 to 1, such as 0.9"),
                "gamma": (0 <= self.gamma < np.inf, "a number from 0 up, such as 8"),
                "initial": (0 <= self.initial < 1, "from 0 to below 1, such as 0.9"),
                "batch_size": (1 <= self.batch_size <= MOST_IMAGES, f"1 to {MOST_IMAGES} images, such as 2"),
            }
        )

    def fit(self, maps: Maps, workers: Workers | None = None) -> InstanceAdaptiveFitted:
        """As `Selector.fit`: the thresholds after the last batch of one pass. The maps must be those of all images:
        with workers one of them does it for all."""
        labelling = self.label_all(maps, workers)
        for _ in labelling:
            pass
        return labelling.fitted

    def label_all(self, maps: Maps, workers: Workers | None = None) -> "LabellingInOrder":
        if workers is not None:
            raise ValueError("an ordered selector labels all images in one process")
        return LabellingInOrder(self, maps)

    @classmethod
    def in_round(cls, settings: Any, number: int) -> dict[str, Any]:
        """IAST's alpha grows by a step per round."""
        return {"alpha": settings.alpha + (number - 1) * settings.alpha_step}

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> InstanceAdaptiveFitted:
        return InstanceAdaptiveFitted(cls.from_json(content), **read_common(content, 0.0))


class LabellingInOrder(Labelling):
    """Labels batch after batch; each batch first moves the thresholds."""

    def __init__(self, selector: InstanceAdaptiveSelector, maps: Maps):
        self._selector, self._maps = selector, maps
        self._moving: MovingThresholds | None = None

    @property
    def fitted(self) -> InstanceAdaptiveFitted:
        if self._moving is None:
            raise no_maps()
        return self._moving.fitted()

    def __iter__(self) -> Iterator[tuple[Probs, Callable[[Probs], np.ndarray]]]:
        for batch in in_batches(self._maps(), self._selector.batch_size):
            if self._moving is None:
                self._moving = MovingThresholds(self._selector, batch[0].shape[-1])
            for probs, label in zip(batch, self._moving.label_batch(batch), strict=True):
                yield probs, lambda _, known=label: known


class MovingThresholds:
    """Thresholds that follow the images, and what is counted on the way.

    Attributes:
        mean_confidence: float64 [c], running mean of the confidence of selected pixels (HIAST's mu): that of the first
            batch that has some, then 0.99 of the old and 0.01 of the batch's; NaN = none was ever selected.
        predicted: int64 [c], pixels per arg-max class.
        images: how many were labelled.
    """

    def __init__(self, selector: InstanceAdaptiveSelector, classes: int):
        self.selector, self.classes = selector, classes
        self.mean_confidence = np.full(classes, np.nan)
        self.predicted = np.zeros(classes, np.int64)
        self.images = 0
        self._trajectory = [np.full(classes, selector.initial, np.float64)]

    @property
    def theta(self) -> np.ndarray:
        """The thresholds after the last batch, float64 [c]."""
        return self._trajectory[-1]

    @property
    def trajectory(self) -> np.ndarray:
        """The thresholds at the start and after each batch, float64 [batches + 1, c]."""
        return np.array(self._trajectory)

    def fitted(self) -> InstanceAdaptiveFitted:
        """The thresholds as they are now."""
        return InstanceAdaptiveFitted(
            self.selector, self.theta, self.predicted.copy(), self.images, self.mean_confidence, self.trajectory
        )

    def label_batch(self, probs: np.ndarray | Sequence[Probs]) -> np.ndarray:
        """Pseudo-labels uint8 [n, h, w] of the next batch, 255 = not selected; moves the thresholds (IAST, 3.2).

        probs: float32 [n, h, w, c] in 0..1, or n maps [h, w, c] of one size, n >= 1.
        Raises UserError for NaN and values outside 0..1, and for another number of classes.
        """
        # Step 1, of the whole batch before anything moves: a refused batch changes nothing.
        measured = [_measure(single, self.classes, self.images + offset) for offset, single in enumerate(probs)]
        confidence, label = (np.stack(each) for each in zip(*measured, strict=True))
        self._move_thresholds(confidence, label)
        # Step 5, with the thresholds that the batch has moved.
        pseudo_label = keep_confident(confidence, label, self.theta)
        self._count(confidence, label, pseudo_label)
        return pseudo_label

    def _move_thresholds(self, confidence: np.ndarray, label: np.ndarray) -> None:
        """Steps 2 to 4."""
        beta, quantile = self.selector.beta, 1 - self.selector.alpha * self.theta**self.selector.gamma
        local = pooled_quantiles(confidence.reshape(-1), label.reshape(-1), self.theta, quantile)
        theta = beta * self.theta + (1 - beta) * local  # the second product in float32, as published
        self._trajectory.append(np.where(theta >= 1, CAP, theta))

    def _count(self, confidence: np.ndarray, label: np.ndarray, pseudo_label: np.ndarray) -> None:
        """What the batch adds to the counts and the running means."""
        self.images += len(label)
        self.predicted += np.bincount(label.reshape(-1), minlength=self.classes)
        counts = np.bincount(pseudo_label.reshape(-1), minlength=256)[: self.classes]
        sums = np.bincount(pseudo_label.reshape(-1), weights=confidence.reshape(-1), minlength=256)[: self.classes]
        means = sums / np.maximum(counts, 1)
        moved = MEAN_DECAY * self.mean_confidence + (1 - MEAN_DECAY) * means
        updated = np.where(np.isnan(self.mean_confidence), means, moved)
        self.mean_confidence = np.where(counts > 0, updated, self.mean_confidence)


def keep_confident(confidence: np.ndarray, label: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """uint8, `label` where the confidence reaches the threshold of its class, else 255 (IAST, section 3.2).

    confidence: float32 and label: uint8, of one shape; thresholds: float [c]. NaN is never selected.
    """
    return np.where(confidence >= thresholds[label], label, np.uint8(IGNORE))


def pooled_quantiles(confidence: np.ndarray, label: np.ndarray, extra: np.ndarray, quantile: np.ndarray) -> np.ndarray:
    """Of each class, the linear quantile of its confidences, rounded to float16, and one extra value: float32 [c].

    confidence: float32 [m] from 0 up; label: uint8 [m], ids below c; extra, quantile: float64 [c].
    Equal to np.quantile of the pool in float64. Nothing is sorted: from 0 to 1 float16 has 15361 values, ordered like
    their bit patterns, so a histogram over them holds the exact ranking of any number of pixels.
    """
    codes = np.abs(confidence).astype(np.float16).view(np.uint16)  # -0 has a large bit pattern
    width = int(codes.max()) + 1
    keys = label.astype(np.int64) * width + codes
    histogram = np.bincount(keys, minlength=len(extra) * width).reshape(len(extra), width)
    at_most = histogram.cumsum(axis=1)  # pixels of a class with at most this value
    values = np.arange(width, dtype=np.uint16).view(np.float16).astype(np.float64)
    counts = at_most[:, -1]
    smaller = np.searchsorted(values, extra)
    extra_rank = np.where(smaller > 0, at_most[np.arange(len(extra)), smaller - 1], 0)

    def ranked(rank: np.ndarray) -> np.ndarray:
        """The value of this rank (0 = smallest) in each class' pool."""
        among_pixels = rank - (rank > extra_rank)
        code = np.minimum((at_most <= among_pixels[:, None]).sum(axis=1), width - 1)
        return np.where(rank == extra_rank, extra, values[code])

    place = quantile * counts  # a pool has counts + 1 values, the ranks are 0..counts
    lower = np.floor(place).astype(np.int64)
    return _between(ranked(lower), ranked(np.minimum(lower + 1, counts)), place - lower).astype(np.float32)


def in_batches(maps: Iterable[Probs], batch_size: int) -> Iterator[list[Probs]]:
    """Consecutive maps [h, w, c] of one size, `batch_size` at a time where sizes allow it, in their order.

    A map whose neighbours have other sizes goes alone. At most one batch is held.
    """
    batch: list[Probs] = []
    for single in maps:
        if batch and (len(batch) == batch_size or single.shape != batch[0].shape):
            yield batch
            batch = []
        batch.append(single)
    if batch:
        yield batch


def _measure(probs: Probs, classes: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and class of every pixel of one map, which must hold probabilities of so many classes."""
    confidence, label = best_class(probs)
    if probs.shape[-1] != classes:
        raise UserError(f"Probability map {number} has {probs.shape[-1]} classes: expected {classes}, as before.")
    if not (confidence.min() >= 0 and confidence.max() <= HIGHEST):
        raise UserError(
            f"Probability map {number} holds NaN, negative values or values above 1: expected probabilities in 0..1."
        )
    return confidence, label


def _between(low: np.ndarray, high: np.ndarray, part: np.ndarray) -> np.ndarray:
    """low + part * (high - low), rounded as np.quantile rounds: from the nearer end."""
    step = high - low
    return np.where(part >= 0.5, high - step * (1 - part), low + step * part)
