"""From probability maps to what thresholds are made of: the ranked confidences of each image and their classes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from training.distribution.threads import in_order
from training.errors import UserError
from training.probability_maps.enlarging import Enlarged
from training.probability_maps.sampling import sample_per_class
from training.probability_maps.scores import best_class, check_shapes

MakeBatches = Callable[[], Iterable[np.ndarray | Enlarged]]
PriorAt = Callable[[tuple[int, int]], np.ndarray | None]  # float32 [h, w, c] for the height and width of a map


@dataclass(frozen=True)
class Measured:
    """One image: confidence float32 [m], class uint8 [m] and pool uint8 [m] (of `pools`) of its sampled pixels.

    The pool is the ranking a pixel takes part in: that of its class, or the one of all classes. counts:
    int64 [c], all pixels per arg-max class.
    """

    confidence: np.ndarray
    label: np.ndarray
    pool: np.ndarray
    pools: int
    counts: np.ndarray


def measure_images(
    make_batches: MakeBatches, stride: int, prior_at: PriorAt, one_pool: bool, every_row: int = 1
) -> Iterator[Measured]:
    """Measure every image once, on a few threads, while the caller's generator makes the next one.

    make_batches: yields maps [h, w, c] or arrays [n, h, w, c]. stride: every stride-th pixel of each arg-max class of
    an image is measured. prior_at: of a height and width, what the probabilities are multiplied by. one_pool: one
    ranking of all classes. every_row = 7 reads each seventh row only.
    """

    def measure(probs: np.ndarray | Enlarged, number: int) -> Measured:
        prior = prior_at(probs.shape[:2])
        score, label = best_class(probs[::every_row], None if prior is None else prior[::every_row])
        if not score.min() >= 0:
            raise UserError(f"Probability map {number} holds NaN or negative values: expected probabilities in 0..1.")
        sampled, counts = sample_per_class(label, probs.shape[-1], stride)
        confidence, label = score.reshape(-1)[sampled], label.reshape(-1)[sampled]
        if one_pool:
            return Measured(confidence, label, np.zeros_like(label), 1, counts)
        return Measured(confidence, label, label, len(counts), counts)

    def numbered() -> Iterator[tuple[np.ndarray | Enlarged, int]]:
        for number, probs in enumerate(single_images(make_batches())):
            check_shapes(probs, None)
            check_shapes(probs, prior_at(probs.shape[:2]))
            yield probs, number

    return in_order(measure, numbered())


def single_images(batches: Iterable[np.ndarray | Enlarged]) -> Iterator[np.ndarray | Enlarged]:
    """Single images [h, w, c], all with the class count of the first."""
    classes = None
    for batch in batches:
        maps = batch if isinstance(batch, Enlarged) else np.asarray(batch)
        for probs in maps if len(maps.shape) == 4 else [maps]:
            classes = probs.shape[-1] if classes is None else classes
            if probs.shape[-1] != classes:
                raise UserError(
                    f"A probability map has {probs.shape[-1]} classes, the first has {classes}: expected the same."
                )
            yield probs
