"""What the page computes from one photo: the classes, and the difference between two models. No Gradio here."""

import time
from dataclasses import dataclass

import numpy as np

from app.loaded_model import LoadedModel
from app.uploads import Photo
from export.segmenter import Segmentation

CHANGES_LISTED = 8


@dataclass(frozen=True)
class Segmented:
    """A photo and what the model sees in it, at its working size.

    shares: (class id, share of the pixels) of the classes present, the largest first.
    """

    photo: Photo
    segmentation: Segmentation
    shares: tuple[tuple[int, float], ...]
    milliseconds: float


def segment(model: LoadedModel, photo: Photo) -> Segmented:
    """Run the model on a photo."""
    started = time.perf_counter()
    result = model.segmenter(photo.image)
    milliseconds = 1000 * (time.perf_counter() - started)
    return Segmented(photo, result, class_shares(result.labels), milliseconds)


def class_shares(labels: np.ndarray) -> tuple[tuple[int, float], ...]:
    """(class id, share) of the classes present in uint8 [h, w], the largest first."""
    counts = np.bincount(labels.reshape(-1), minlength=256)
    present = np.flatnonzero(counts)
    order = present[np.argsort(-counts[present], kind="stable")]
    return tuple((int(class_id), float(counts[class_id] / labels.size)) for class_id in order)


@dataclass(frozen=True)
class Comparison:
    """The same photo before and after adaptation. changed: share of the pixels whose class differs; changes:
    (class before, class after, share of all pixels), the largest first."""

    before: Segmented
    after: Segmented
    changed: float
    changes: tuple[tuple[int, int, float], ...]


def compare(source: LoadedModel, adapted: LoadedModel, photo: Photo) -> Comparison:
    """Run both models on a photo and count what changed."""
    before, after = segment(source, photo), segment(adapted, photo)
    changes = class_changes(before.segmentation.labels, after.segmentation.labels)
    return Comparison(before, after, sum(share for _, _, share in changes), changes[:CHANGES_LISTED])


def class_changes(before: np.ndarray, after: np.ndarray) -> tuple[tuple[int, int, float], ...]:
    """(class before, class after, share of all pixels) of every kind of change between two uint8 [h, w]."""
    differs = before != after
    pairs = before[differs].astype(np.int64) * 256 + after[differs]
    kinds, counts = np.unique(pairs, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tuple((int(kinds[k] // 256), int(kinds[k] % 256), float(counts[k] / before.size)) for k in order)
