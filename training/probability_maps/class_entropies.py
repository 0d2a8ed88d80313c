"""How uncertain a network is of each class: the mean entropy of the pixels that it predicts as the class (UPLR)."""

from collections.abc import Iterable

import numpy as np

from training.distribution.shares import Workers
from training.errors import UserError
from training.probability_maps.enlarging import Enlarged
from training.probability_maps.entropy import Uncertainty, measure_uncertainty


class ClassEntropies:
    """Sums and counts over the pixels of each arg-max class: `sums` float64 [c], `pixels` int64 [c].

    Those of parts of the images add up to those of all.
    """

    def __init__(self, classes: int):
        self.sums, self.pixels = np.zeros(classes), np.zeros(classes, np.int64)

    @classmethod
    def of_maps(
        cls, maps: Iterable[np.ndarray | Enlarged], classes: int, workers: Workers | None = None
    ) -> "ClassEntropies":
        """Of probability maps [h, w, c] or arrays [n, h, w, c]; with `workers` those of all of them.

        Raises:
            UserError: NaN or negative values, or another number of classes.
        """
        entropies = cls(classes)
        for found_classes, found in measure_uncertainty(maps):
            if found_classes != classes:
                raise UserError(f"A probability map has {found_classes} classes: expected {classes}.")
            entropies.add(found)
        if workers is not None:
            entropies.sums, entropies.pixels = (workers.add_up(each) for each in (entropies.sums, entropies.pixels))
        return entropies

    def add(self, found: Uncertainty) -> None:
        """Count one more image."""
        labels, classes = found.label.ravel(), len(self.sums)
        self.sums += np.bincount(labels, found.entropy.ravel().astype(np.float64), minlength=classes)
        self.pixels += np.bincount(labels, minlength=classes)

    @property
    def means(self) -> np.ndarray:
        """Mean entropy of each class, float64 [c]; inf where no pixel is predicted as it: the network has lost it."""
        lost = np.full(len(self.sums), np.inf)
        return np.divide(self.sums, self.pixels, out=lost, where=self.pixels > 0)

    def most_uncertain(self, count: int, among: np.ndarray) -> np.ndarray:
        """Which `count` classes have the largest mean, lost ones first: bool [c]; of equal ones the first.

        among: bool [c], the classes that may be chosen; all of them where there are no more than `count`.
        """
        ranked = np.argsort(-self.means, kind="stable")
        chosen = np.zeros(len(ranked), bool)
        chosen[ranked[among[ranked]][:count]] = True
        return chosen
