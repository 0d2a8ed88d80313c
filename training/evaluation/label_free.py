"""What a network's answers say about its mIoU on images without labels: sums over pixels, and figures from them.

Each class takes batches with `add` and keeps sums or counts only, so the memory does not grow with the images. NumPy
only. Probabilities are float `[..., classes]`, labels integers of the leading shape with 255 = none.

* `ProbabilityTotals`: entropy of the pixels and of their mean (information maximisation, Krause et al., NeurIPS 2010;
  SHOT, ICML 2020), and the nuclear norm of the matrix of all probabilities (Cui et al., CVPR 2020; Deng et al., ICML
  2023).
* `ConfidenceCounts`: average thresholded confidence (ATC, Garg et al., ICLR 2022), over all pixels and per class.
* `LinearHead`: reverse validation (Zhong et al., ECML 2010; Ganin et al., JMLR 2016) with a linear classifier.
"""

import numpy as np

from training.data.classes import IGNORE
from training.evaluation.confusion import Confusion, iou

BINS = 2000  # of confidences in 0..1
CHANNELS = 256  # features with more are projected to so many
SHRINKAGE = 0.1  # share of the mean variance that is added to every direction of the covariance


class ProbabilityTotals:
    """Sums over the pixels of the target from which entropies and the nuclear norm follow."""

    def __init__(self, classes: int):
        self.pixels, self.entropies, self.largest = 0, 0.0, 0.0
        self.gram = np.zeros((classes, classes))
        self.sums = np.zeros(classes)

    def add(self, probs: np.ndarray) -> None:
        rows = probs.reshape(-1, probs.shape[-1]).astype(np.float64)
        self.pixels += len(rows)
        self.entropies += _entropy(rows).sum()
        self.largest += rows.max(axis=-1).sum()
        self.gram += rows.T @ rows
        self.sums += rows.sum(axis=0)

    @property
    def confidence(self) -> float:
        """Mean of the largest probability, 0..1."""
        return float(self.largest / self.pixels)

    @property
    def entropy(self) -> float:
        """Mean entropy of a pixel's probabilities, 0 (sure) to 1 (all classes alike)."""
        return float(self.entropies / self.pixels / np.log(len(self.sums)))

    @property
    def diversity(self) -> float:
        """Entropy of the mean probabilities, 0 (one class) to 1 (all classes alike)."""
        return float(_entropy(self.sums[None] / self.pixels)[0] / np.log(len(self.sums)))

    @property
    def nuclear_norm(self) -> float:
        """Sum of the singular values of the matrix `[pixels, classes]`, divided by its bound: 0 to 1.

        1: every pixel is sure and all classes are equally frequent.
        """
        singular = np.sqrt(np.maximum(np.linalg.eigvalsh(self.gram), 0))
        return float(singular.sum() / np.sqrt(self.pixels * len(self.sums)))


def _entropy(rows: np.ndarray) -> np.ndarray:
    return -(rows * np.log(np.maximum(rows, 1e-12))).sum(axis=-1)


class ConfidenceCounts:
    """Histograms of the largest probability by predicted class; with labels, how many of the answers are right."""

    def __init__(self, classes: int):
        self.counts = np.zeros((classes, BINS), np.int64)
        self.right = np.zeros(classes, np.int64)
        self.shown = np.zeros(classes, np.int64)

    def add(self, probs: np.ndarray, label: np.ndarray | None = None) -> None:
        """Count pixels; those without a label are left out where labels are given."""
        classes = len(self.counts)
        answer, confidence = probs.argmax(axis=-1).ravel(), probs.max(axis=-1).ravel()
        if label is not None:
            truth = label.ravel()
            known = truth != IGNORE
            answer, confidence, truth = answer[known], confidence[known], truth[known]
            self.right += np.bincount(answer[answer == truth], minlength=classes)
            self.shown += np.bincount(truth, minlength=classes)
        place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        self.counts += np.bincount(answer * BINS + place, minlength=classes * BINS).reshape(classes, BINS)

    def arrays(self) -> list[np.ndarray]:
        """What several workers add up."""
        return [self.counts, self.right, self.shown]


def estimated_accuracy(source: ConfidenceCounts, target: ConfidenceCounts) -> float:
    """ATC: the share of target pixels above the confidence that as many source pixels exceed as are right; 0..1.

    source: of labelled images. NaN where the source has no labelled pixel.
    """
    return _above(source.counts.sum(axis=0), target.counts.sum(axis=0), source.right.sum())


def estimated_class_accuracy(source: ConfidenceCounts, target: ConfidenceCounts) -> float:
    """ATC with a threshold per predicted class, mean over the classes that the source's labels show; 0..1.

    A class that the target's predictions or the source's never show counts as 0. NaN where the source has no labelled
    pixel.
    """
    each = [
        _above(mine, theirs, right)
        for mine, theirs, right, shown in zip(source.counts, target.counts, source.right, source.shown, strict=True)
        if shown
    ]
    return float(np.mean(np.nan_to_num(each))) if each else np.nan


def _above(source: np.ndarray, target: np.ndarray, right: int) -> float:
    """Share of `target` above the threshold that `right` of `source` exceed; both int `[BINS]`. NaN: one is empty."""
    if not source.sum() or not target.sum():
        return np.nan
    over, shares = np.cumsum(source[::-1]), np.cumsum(target[::-1]) / target.sum()
    place = int(np.searchsorted(over, right))
    if place == BINS or right == 0:
        return float(right > 0)
    below = over[place - 1] if place else 0
    part = (right - below) / max(over[place] - below, 1)  # linear within a bin
    start = shares[place - 1] if place else 0.0
    return float(start + part * (shares[place] - start))


class LinearHead:
    """Linear discriminant analysis of features, from sums: `add` pixels with their labels, then `fit`.

    Features of more than `CHANNELS` channels are projected by a fixed random matrix.
    """

    def __init__(self, classes: int):
        self.classes = classes
        self.projection: np.ndarray | None = None
        self.weights: np.ndarray | None = None
        self._counts = np.zeros(classes, np.int64)
        self._sums = self._squares = None

    def add(self, features: np.ndarray, label: np.ndarray) -> None:
        """features: float `[..., channels]`; label: integers of the leading shape, 255 = none."""
        rows, label = self._projected(features), label.ravel()
        rows, label = rows[label != IGNORE], label[label != IGNORE]
        if self._sums is None:
            self._sums, self._squares = np.zeros((self.classes, rows.shape[1])), np.zeros((rows.shape[1],) * 2)
        self._counts += np.bincount(label, minlength=self.classes)
        self._sums += np.eye(self.classes)[label].T @ rows
        self._squares += rows.T @ rows

    def fit(self) -> "LinearHead":
        """Solve for the weights `[channels + 1, classes]`; the classes without a pixel are never answered."""
        counts = self._counts
        shown, total = counts > 0, counts.sum()
        means = self._sums / np.maximum(counts, 1)[:, None]
        within = (self._squares - (self._sums.T * (1 / np.maximum(counts, 1))) @ self._sums) / total
        ridge = SHRINKAGE * np.trace(within) / len(within) + 1e-9
        directions = np.linalg.solve(within + ridge * np.eye(len(within)), means.T)
        offsets = np.log(np.maximum(counts, 1) / total) - (means.T * directions).sum(axis=0) / 2
        self.weights = np.vstack([directions, np.where(shown, offsets, -np.inf)])
        return self

    def label(self, features: np.ndarray) -> np.ndarray:
        """uint8 labels `[...]` of features `[..., channels]`."""
        rows = self._projected(features)
        return (
            (rows @ self.weights[:-1] + self.weights[-1]).argmax(axis=1).reshape(features.shape[:-1]).astype(np.uint8)
        )

    def _projected(self, features: np.ndarray) -> np.ndarray:
        rows = features.reshape(-1, features.shape[-1]).astype(np.float64)
        if rows.shape[1] <= CHANNELS:
            return rows
        if self.projection is None:
            shape = (rows.shape[1], CHANNELS)
            self.projection = np.random.default_rng(0).standard_normal(shape) / np.sqrt(CHANNELS)
        return rows @ self.projection


def miou_in_truth(confusion: Confusion) -> float:
    """Mean IoU over the classes that the truth shows, in percent; NaN where it shows none."""
    shown = confusion.matrix.sum(axis=1) + confusion.unpredicted > 0
    return float(100 * iou(confusion.matrix, confusion.unpredicted)[shown].mean()) if shown.any() else np.nan
