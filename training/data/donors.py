"""The choice of donors of HPLA, HIAST's copy-paste (TPAMI 2025): images whose hard classes are pasted into another."""

from dataclasses import dataclass

import numpy as np

from training.errors import UserError

DROPPED_SHARE = 0.1  # of the images with a class: those with the fewest pixels of it are no donors


def hard_classes(mean_confidence: np.ndarray, count: int) -> np.ndarray:
    """The `count` classes with the smallest running mean confidence, hardest first (lowest id first on ties): int64.

    mean_confidence: float [c], mu of the selector. A class that was never selected (NaN, or infinite) is no candidate:
    there is nothing of it to paste. So fewer than `count` may come. Published: 14 of 19 classes.
    """
    if count < 1:
        raise UserError(f"The number of hard classes is {count}: expected at least 1; published are 14 of 19.")
    order = np.argsort(mean_confidence, kind="stable")
    return order[np.isfinite(np.asarray(mean_confidence)[order])][:count]


@dataclass(frozen=True, eq=False)
class DonorIndex:
    """Which images can be donors of each class.

    Attributes:
        counts: int64 [images, c], selected pixels of each class in each image.
        donors: per class its donors, int64 [n], fewest pixels first: the n images with a selected pixel of the class,
            without the round(0.1 n) that have the fewest (a half is rounded to even).
    """

    counts: np.ndarray
    donors: tuple[np.ndarray, ...]

    @classmethod
    def from_counts(cls, counts: np.ndarray) -> "DonorIndex":
        """counts: int [images, c], pixels of each class in each image's pseudo-label."""
        counts = np.asarray(counts, np.int64)
        return cls(counts, tuple(_donors_of(of_class) for of_class in counts.T))


def _donors_of(counts: np.ndarray) -> np.ndarray:
    ascending = np.argsort(counts, kind="stable")
    present = ascending[counts[ascending] > 0]
    return present[round(DROPPED_SHARE * len(present)) :]


def draw_donors(
    rng: np.random.Generator,
    index: DonorIndex,
    mean_confidence: np.ndarray,
    hard: np.ndarray,
    max_donors: int = 3,
    stop_share: float = 0.5,
) -> list[int]:
    """Indices of the images to paste from, in this order; a function of the generator's state alone (HIAST, HPLA).

    mean_confidence: float [c], mu; hard: ids of the hard classes. max_donors: at least 1 (the released program stops
    after one, whatever it is set to). stop_share: in (0, 1]. No donor is drawn twice; the receiving image may be drawn.
    Raises UserError for max_donors and stop_share outside their ranges.

    1. Stop after max_donors, when stop_share of the hard classes are covered, or when no class is left to draw.
    2. Draw a class among the hard ones that are not covered and have donors, with weight (1 - mu)^2.
    3. Draw one of its donors uniformly. It covers the classes that it has a pixel of.
    """
    check_draw(max_donors, stop_share)
    hard = np.asarray(hard, np.int64)
    has_donors = np.array([len(index.donors[class_id]) > 0 for class_id in hard], bool)
    covered = np.zeros(len(hard), bool)
    chosen: list[int] = []
    while len(chosen) < max_donors and covered.sum() < stop_share * len(hard):
        open_classes = hard[has_donors & ~covered]
        if open_classes.size == 0:
            break
        class_id = rng.choice(open_classes, p=_shares(mean_confidence[open_classes]))
        donor = int(rng.choice(index.donors[class_id]))
        chosen.append(donor)
        covered |= index.counts[donor, hard] > 0
    return chosen


def check_draw(max_donors: int, stop_share: float) -> None:
    """Raise UserError unless max_donors is at least 1 and 0 < stop_share <= 1."""
    if max_donors < 1:
        raise UserError(f"The largest number of donors is {max_donors}: expected at least 1; published are 3.")
    if not 0 < stop_share <= 1:
        raise UserError(
            f"Drawing donors stops at {stop_share} of the hard classes: expected above 0 and at most 1, such as 0.5."
        )


def _shares(mean_confidence: np.ndarray) -> np.ndarray:
    """(1 - mu)^2, normalised; equal shares where every class is certain."""
    weights = (1 - mean_confidence) ** 2
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(weights), 1 / len(weights))
