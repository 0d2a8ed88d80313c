"""Modes of classes from embeddings, outside of training steps: where they start, how they are used, which are dead.

NumPy arrays: `values` float32 `[n, D]` with `label` integer `[n]`, `modes` float32 `[classes, M, D]`.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

ITERATIONS = 50  # of k-means
DEAD_SHARE = 0.01  # of the samples of its class, below which a mode is dead
LEAST_SAMPLES = 100  # of a class, to say so


def started_modes(values: np.ndarray, label: np.ndarray, modes: np.ndarray, seed: int) -> np.ndarray:
    """The means that k-means (k-means++, Arthur and Vassilvitskii 2007) finds for each class; equal in every call.

    Args:
        modes: gives the number of modes per class; those of a class without a sample stay as they are.
    """
    found = modes.copy()
    for number in np.unique(label):
        mine = values[label == number].astype(np.float64)
        mine = np.resize(mine, (max(len(mine), modes.shape[1]), mine.shape[1]))  # fewer samples than modes: again
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # all samples may be one point
            warnings.simplefilter("ignore", UserWarning)  # of a mode without samples
            random = np.random.default_rng([seed, int(number)])
            found[number] = kmeans2(mine, modes.shape[1], iter=ITERATIONS, minit="++", rng=random)[0]
    return found


def usage(values: np.ndarray, label: np.ndarray, modes: np.ndarray) -> list[np.ndarray | None]:
    """Per class the share of its samples that each of its modes is the nearest to, `[M]`; None without a sample."""
    shares: list[np.ndarray | None] = []
    for number, of_class in enumerate(modes):
        mine = values[label == number]
        nearest = cdist(mine, of_class, "sqeuclidean").argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(of_class))
        shares.append(counts / len(mine) if len(mine) else None)
    return shares


def restarted(values: np.ndarray, label: np.ndarray, modes: np.ndarray, seed: int) -> tuple[np.ndarray, list[int]]:
    """The modes with the dead ones moved, and how many were moved per class; equal in every call.

    A dead mode moves to a sample of its class, drawn with a probability in proportion to the squared distance from the
    nearest mode that lives (the rule of k-means++).
    """
    modes, moved = modes.copy(), [0] * len(modes)
    for number, shares in enumerate(usage(values, label, modes)):
        mine = values[label == number]
        if len(mine) < LEAST_SAMPLES:
            continue
        alive, random = list(np.flatnonzero(shares >= DEAD_SHARE)), np.random.default_rng([seed, number])
        for dead in np.flatnonzero(shares < DEAD_SHARE):
            distances = cdist(mine, modes[number][alive], "sqeuclidean").min(axis=1)
            if distances.max() <= 1e-9:  # all samples are one point
                break
            modes[number, dead] = mine[random.choice(len(mine), p=distances / distances.sum())]
            moved[number] += 1
            alive.append(dead)
    return modes, moved


def usage_by_name(shares: Sequence[np.ndarray | None], names: Sequence[str]) -> dict[str, list[float] | None]:
    """For figures: {class: share of each mode, the largest first, or None}."""
    return {
        name: None if each is None else sorted(each.tolist(), reverse=True)
        for name, each in zip(names, shares, strict=True)
    }
