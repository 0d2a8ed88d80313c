"""Modes of classes from embeddings, outside of training steps: where they start, how they are used, how far apart.

NumPy arrays: `values` float32 `[n, D]` with `label` integer `[n]`, `modes` float32 `[classes, M, D]`.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist, pdist

ITERATIONS = 50  # of k-means
LEAST_SHARE = 0.05  # of the samples of its class that a mode in use has


def least_share(modes: int) -> float:
    """Of a mode in use; with so many modes that this is much to ask for, half of what each would have of equal ones."""
    return min(LEAST_SHARE, 0.5 / modes)


def started_modes(values: np.ndarray, label: np.ndarray, modes: np.ndarray, seed: int) -> np.ndarray:
    """The means that k-means (k-means++, Arthur and Vassilvitskii 2007) finds for each class; equal in every call.

    Args:
        modes: gives the number of modes per class, and of N(0, 1): those of a class without a sample, as many standard
            deviations from the mean of all samples.
    """
    found = (values.mean(axis=0) + values.std(axis=0) * modes).astype(modes.dtype) if len(values) else modes.copy()
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


def usage_by_name(shares: Sequence[np.ndarray | None], names: Sequence[str]) -> dict[str, list[float] | None]:
    """For figures: {class: share of each mode, in the order of the modes, or None}."""
    return {name: None if each is None else each.tolist() for name, each in zip(names, shares, strict=True)}


def mode_distances(modes: np.ndarray) -> list[tuple[float | None, float | None]]:
    """Per class the mean distance between two of its modes, and that from it to the nearest mode of another class; None
    where there is no other one."""
    count, found = modes.shape[1], []
    for number, mine in enumerate(modes):
        others = np.delete(modes, number, axis=0).reshape(-1, modes.shape[2])
        within = float(pdist(mine).mean()) if count > 1 else None
        found.append((within, float(cdist(mine, others).min()) if len(others) else None))
    return found
