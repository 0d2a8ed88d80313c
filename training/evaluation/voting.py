"""Which of several models to trust, without labels: the vote of HIAST (TPAMI 2025, figure 6). NumPy only.

1. Each candidate labels every target image by arg-max.
2. At each pixel the majority of the candidates gives the voted label; on ties the lowest class.
3. A candidate's score is the mIoU of its labels against the voted ones; the highest wins, on ties the first given.

The vote favours what most candidates have in common: give an odd number of them, at least three, whose values lie on
both sides of the expected best one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

IGNORE = 255
SMALL_GAP = 0.1  # points of mIoU between the first two below which the vote decides nothing


@dataclass(frozen=True)
class Candidate:
    """name; score: mIoU against the voted labels in percent; agreement: share of equal pixels, 0 .. 1."""

    name: str
    score: float
    agreement: float


def majority(labels: np.ndarray, classes: int) -> np.ndarray:
    """Pixel-wise majority of uint8 `[candidates, ...]`: uint8 `[...]`.

    255 does not vote; a pixel without votes stays 255; on ties the lowest class wins.
    """
    winner, most = np.full(labels.shape[1:], IGNORE, np.uint8), np.zeros(labels.shape[1:], np.int64)
    for class_id in range(classes):
        votes = np.count_nonzero(labels == class_id, axis=0)
        winner[votes > most] = class_id
        most = np.maximum(most, votes)
    return winner


def vote(names: list[str], label_maps: Iterable[np.ndarray], classes: int) -> list[Candidate]:
    """The candidates, best first.

    Args:
        names: one a candidate.
        label_maps: for each image uint8 `[candidates, height, width]`, the candidates in the order of `names`.

    Raises:
        ValueError: fewer than two candidates.
    """
    if len(names) < 2:
        raise ValueError("a vote needs at least two candidates")
    pairs = np.zeros((len(names), classes, classes), np.int64)
    for labels in label_maps:
        voted = majority(labels, classes)
        for index, label in enumerate(labels):
            both = (voted != IGNORE) & (label != IGNORE)
            codes = voted[both].astype(np.int64) * classes + label[both]
            pairs[index] += np.bincount(codes, minlength=classes**2).reshape(classes, classes)
    ranked = [Candidate(name, *_scores(matrix)) for name, matrix in zip(names, pairs, strict=True)]
    return sorted(ranked, key=lambda candidate: -candidate.score)


def _scores(matrix: np.ndarray) -> tuple[float, float]:
    """mIoU in percent over the classes of the voted labels (rows), and the share of equal pixels."""
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    voted = matrix.sum(1) > 0
    iou = hits[voted] / np.maximum(union[voted], 1)
    return float(100 * iou.mean()) if voted.any() else 0.0, float(hits.sum() / max(matrix.sum(), 1))
