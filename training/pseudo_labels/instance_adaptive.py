"""The instance-adaptive selector of IAST (Mei et al., ECCV 2020, section 3.2) and HIAST (TPAMI 2025, the same IAS).

Each class has a threshold theta, at first `initial`. One batch of images after the other, in their order:

1. a pixel's class and confidence are arg-max and maximum of its probabilities;
2. a class' pool: its pixels' confidences rounded to float16, and the old theta as one more value;
3. psi = quantile of the pool at 1 - alpha * theta^gamma, linearly interpolated, rounded to float32;
4. theta <- beta * theta + (1 - beta) * psi; what reaches 1 becomes 0.999;
5. the *new* theta labels this same batch: a pixel keeps its class where its float32 confidence reaches theta, else 255.

So labels depend on the order of the images and on the batch size (published: 2 images); the caller chooses both.
A hard class gets a low theta because its confidences are low. gamma works the other way: alpha * theta^gamma is the
share of a class above its psi, so a class with a small theta keeps a smaller share, which keeps noise out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from training.errors import UserError
from training.probability_maps.scores import best_class
from training.pseudo_labels.selectors import keep_confident
from training.pseudo_labels.thresholds import Thresholds

SELECTOR = "ias"
BATCH_SIZE = 2  # images, as published: the "instance" of the instance-adaptive selector
CAP = 0.999  # what a threshold of 1 or more becomes: otherwise nothing would ever be kept again
MEAN_DECAY = 0.99  # of the running mean confidence of what is selected (HIAST)
HIGHEST = 1.01  # float16 probabilities may exceed 1 a little


class InstanceAdaptiveSelector:
    """Labels batch after batch and remembers what the next batch, the manifest and copy-paste need.

    Args:
        classes: number of classes c.
        alpha: share of a class at theta = 1, in (0, 1]. HIAST 0.5 (default); IAST 0.2, 0.25 and 0.3 in rounds 1 to 3.
        beta: how much of theta stays, 0..1. 1 keeps it constant for ever (HIAST's policy CT).
        gamma: exponent of theta in the share, at least 0; 0 makes the share alpha for every class.
        initial: the first theta of every class, from 0 to below 1.

    Attributes:
        mean_confidence: float64 [c], running mean of the confidence of selected pixels (HIAST's mu): that of the first
            batch that has some, then 0.99 of the old and 0.01 of the batch's; NaN = none was ever selected.
        predicted: int64 [c], pixels per arg-max class.

    Raises:
        UserError: a parameter outside its range.
    """

    def __init__(
        self, classes: int, alpha: float = 0.5, beta: float = 0.9, gamma: float = 8.0, initial: float = 0.9
    ) -> None:
        _check_parameters(alpha, beta, gamma, initial)
        self.classes, self.alpha, self.beta, self.gamma, self.initial = classes, alpha, beta, gamma, initial
        self.mean_confidence = np.full(classes, np.nan)
        self.predicted = np.zeros(classes, np.int64)
        self._trajectory = [np.full(classes, initial, np.float64)]
        self._local: list[np.ndarray] = []
        self._image_counts: list[np.ndarray] = []

    @property
    def theta(self) -> np.ndarray:
        """The thresholds after the last batch, float64 [c]."""
        return self._trajectory[-1]

    @property
    def trajectory(self) -> np.ndarray:
        """The thresholds at the start and after each batch, float64 [batches + 1, c]."""
        return np.array(self._trajectory)

    @property
    def local_thresholds(self) -> np.ndarray:
        """psi of each batch, float32 [batches, c]."""
        return np.array(self._local, np.float32).reshape(-1, self.classes)

    @property
    def image_counts(self) -> np.ndarray:
        """Selected pixels of each image and class, int64 [images, c]."""
        return np.array(self._image_counts, np.int64).reshape(-1, self.classes)

    @property
    def kept(self) -> np.ndarray:
        """Selected pixels of each class, int64 [c]."""
        return self.image_counts.sum(axis=0)

    def label_batch(self, probs: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Pseudo-labels uint8 [n, h, w] of the next batch, 255 = not selected; moves the thresholds (IAST, 3.2).

        probs: float32 [n, h, w, c] in 0..1, or n maps [h, w, c] of one size, n >= 1.
        Raises UserError for NaN and values outside 0..1, and for another number of classes.
        """
        confidence, label = self._measure(probs)
        self._move_thresholds(confidence, label)
        pseudo_label = keep_confident(confidence, label, self.theta)
        self._count(confidence, label, pseudo_label)
        return pseudo_label

    def thresholds(self) -> Thresholds:
        """What a manifest tells: the last theta as values, alpha as portion, and that every pixel was ranked."""
        return Thresholds(
            selector=SELECTOR,
            portion=self.alpha,
            stride=1,
            compat=None,
            values=self.theta.astype(np.float32),
            counts=self.predicted.copy(),
            pool_counts=self.predicted.copy(),
            images=len(self._image_counts),
        )

    def manifest_entries(self) -> dict[str, Any]:
        """What a manifest tells besides `thresholds()`: parameters, mu (None = never selected) and trajectory."""
        return {
            "alpha": self.alpha,
            "beta": self.beta,
            "gamma": self.gamma,
            "initial": self.initial,
            "mean_confidence": [None if np.isnan(mean) else mean for mean in self.mean_confidence.tolist()],
            "threshold_trajectory": self.trajectory.tolist(),
        }

    def state(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays (for np.savez): `from_state` goes on with the next batch as if never stopped."""
        return {
            "parameters": np.array([self.alpha, self.beta, self.gamma, self.initial], np.float64),
            "trajectory": self.trajectory,
            "local_thresholds": self.local_thresholds,
            "image_counts": self.image_counts,
            "predicted": self.predicted.copy(),
            "mean_confidence": self.mean_confidence.copy(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> "InstanceAdaptiveSelector":
        """The selector whose `state()` this is."""
        selector = cls(len(state["predicted"]), *np.asarray(state["parameters"]).tolist())
        selector.predicted, selector.mean_confidence = state["predicted"].copy(), state["mean_confidence"].copy()
        selector._trajectory = list(state["trajectory"])
        selector._local = list(state["local_thresholds"])
        selector._image_counts = list(state["image_counts"])
        return selector

    def _measure(self, probs: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Step 1: confidence float32 and label uint8, both [n, h, w]."""
        first = len(self._image_counts)
        measured = [_measure(single, self.classes, first + offset) for offset, single in enumerate(probs)]
        confidences, labels = zip(*measured, strict=True)
        return np.stack(confidences), np.stack(labels)

    def _move_thresholds(self, confidence: np.ndarray, label: np.ndarray) -> None:
        """Steps 2 to 4."""
        quantile = 1 - self.alpha * self.theta**self.gamma
        local = pooled_quantiles(confidence.reshape(-1), label.reshape(-1), self.theta, quantile)
        theta = self.beta * self.theta + (1 - self.beta) * local  # the second product in float32, as published
        self._trajectory.append(np.where(theta >= 1, CAP, theta))
        self._local.append(local)

    def _count(self, confidence: np.ndarray, label: np.ndarray, pseudo_label: np.ndarray) -> None:
        """What the batch adds to the counts and the running means."""
        self.predicted += np.bincount(label.reshape(-1), minlength=self.classes)
        per_image = [np.bincount(single.reshape(-1), minlength=256)[: self.classes] for single in pseudo_label]
        self._image_counts += per_image
        counts = np.sum(per_image, axis=0)
        sums = np.bincount(pseudo_label.reshape(-1), weights=confidence.reshape(-1), minlength=256)[: self.classes]
        means = sums / np.maximum(counts, 1)
        moved = MEAN_DECAY * self.mean_confidence + (1 - MEAN_DECAY) * means
        updated = np.where(np.isnan(self.mean_confidence), means, moved)
        self.mean_confidence = np.where(counts > 0, updated, self.mean_confidence)


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


def in_batches(maps: Iterable[np.ndarray], batch_size: int = BATCH_SIZE) -> Iterator[list[np.ndarray]]:
    """Consecutive maps [h, w, c] of one size, `batch_size` at a time where sizes allow it, in their order.

    A map whose neighbours have other sizes goes alone. At most one batch is held. Raises UserError, at once, for
    batch_size < 1.
    """
    if batch_size < 1:
        raise UserError(f"The batch size is {batch_size}: expected at least 1 image; published are {BATCH_SIZE}.")
    return _in_batches(maps, batch_size)


def _in_batches(maps: Iterable[np.ndarray], batch_size: int) -> Iterator[list[np.ndarray]]:
    batch: list[np.ndarray] = []
    for single in maps:
        if batch and (len(batch) == batch_size or single.shape != batch[0].shape):
            yield batch
            batch = []
        batch.append(single)
    if batch:
        yield batch


def _measure(probs: np.ndarray, classes: int, number: int) -> tuple[np.ndarray, np.ndarray]:
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


def _check_parameters(alpha: float, beta: float, gamma: float, initial: float) -> None:
    if not 0 < alpha <= 1:
        raise UserError(f"The selector {SELECTOR} has alpha {alpha}: expected above 0 and at most 1, such as 0.5.")
    if not 0 <= beta <= 1:
        raise UserError(f"The selector {SELECTOR} has beta {beta}: expected from 0 to 1, such as 0.9.")
    if not 0 <= gamma < np.inf:
        raise UserError(f"The selector {SELECTOR} has gamma {gamma}: expected a number from 0 up, such as 8.")
    if not 0 <= initial < 1:
        raise UserError(f"The selector {SELECTOR} has initial {initial}: expected from 0 to below 1, such as 0.9.")
