"""What the watch sees of one state of the network: one pass over target images, one over held-out source images."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.images import resize_label
from training.data.input_pipeline import evaluation_stream
from training.distribution.workers import sum_over_workers
from training.errors import UserError
from training.evaluation.confusion import Confusion
from training.evaluation.label_free import (
    ConfidenceCounts,
    LinearHead,
    ProbabilityTotals,
    estimated_accuracy,
    estimated_class_accuracy,
    miou_in_truth,
)
from training.files.atomic import write_atomically
from training.files.npy import npz_array
from training.prediction.predictor import Predictor, enlarged_label, images_at_once

VIEW_SCALE = 0.75
MEASURED = (
    *("confidence", "entropy", "diversity", "nuclear_norm", "estimated_accuracy", "estimated_class_accuracy"),
    *("reverse_miou", "source_miou"),
)
"""What is measured of one state alone; see `watch.py`."""


@dataclass(frozen=True)
class Observation:
    """What one state of the network says of the watched images.

    prediction: uint8 `[n, h, w]` labels; view: uint8 `[n, h, w]` labels predicted from the mirrored smaller view, in
    the same places; measured: a number for each name of `MEASURED`, NaN where it could not be measured.
    """

    prediction: np.ndarray
    view: np.ndarray
    measured: dict[str, float]

    def save(self, path: Path) -> None:
        """Keep it for the stages to come."""
        buffer = io.BytesIO()
        measured = np.array([self.measured[name] for name in MEASURED])
        np.savez_compressed(buffer, prediction=self.prediction, view=self.view, measured=measured)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Observation":
        """UserError if the file is damaged or another's."""
        prediction, view, measured = (npz_array(path, name) for name in ("prediction", "view", "measured"))
        if prediction.dtype != np.uint8 or prediction.shape != view.shape or measured.shape != (len(MEASURED),):
            raise UserError(f"{path} is not what the watch wrote: start a new run")
        return cls(prediction, view, dict(zip(MEASURED, measured.tolist(), strict=True)))


@dataclass(frozen=True)
class TargetPass:
    """Of the watched target images: labels of both views as in `Observation`, and sums over their pixels.

    head: fitted on the labels that the network gives its own features.
    """

    prediction: np.ndarray
    view: np.ndarray
    totals: ProbabilityTotals
    confidences: ConfidenceCounts
    head: LinearHead


def second_view(predictor: Predictor) -> Predictor:
    """What consistency compares the plain prediction with: the mirrored image at three quarters of its size."""
    return predictor.with_views(scales=(VIEW_SCALE,), flips=(True,))


def target_pass(predictor: Predictor, other: Predictor, dataset, size, images: int) -> TargetPass:
    """Predict `images` evenly spaced images of `dataset` with `predictor`, and with `second_view` of its network."""
    classes = dataset.label_space.count
    totals, confidences, head = ProbabilityTotals(classes), ConfidenceCounts(classes), LinearHead(classes)
    predictions, views = [], []
    stream = evaluation_stream(dataset.evenly_spaced(images), size, images_at_once(size))
    for batch in stream.shown("watching the target"):
        probs, (label, features) = predictor.probs_and_cells(batch["image"])
        probs = probs.numpy()
        predictions.append(np.argmax(probs, axis=-1).astype(np.uint8))
        views.append(enlarged_label(other.coarse_probs(batch["image"]), probs.shape[1:3]).numpy())
        totals.add(probs)
        confidences.add(probs)
        head.add(features.numpy(), label.numpy())
    return TargetPass(np.concatenate(predictions), np.concatenate(views), totals, confidences, head.fit())


class SourceWatcher:
    """What is measured on the held-out source images while they are scored (`scoring.Watcher`).

    head: of the target pass; it labels the same features.
    """

    def __init__(self, head: LinearHead):
        self.confidences, self.head = ConfidenceCounts(head.classes), head
        self.answers = Confusion(head.classes)

    def add(self, probs: np.ndarray, features: np.ndarray, label: np.ndarray) -> None:
        self.confidences.add(probs, resize_label(label, probs.shape[:2]))
        self.answers.add(resize_label(label, features.shape[:2]), self.head.label(features))

    def over_workers(self) -> "SourceWatcher":
        """With the counts of all workers, each of whom saw other images."""
        whole = SourceWatcher(self.head)
        for mine, total in zip(self.confidences.arrays(), whole.confidences.arrays(), strict=True):
            total += sum_over_workers(mine)
        whole.answers = Confusion(self.head.classes, sum_over_workers(self.answers.matrix))
        return whole


def observation_of(target: TargetPass, source: SourceWatcher, source_miou: float | None) -> Observation:
    """Both passes together; source_miou: in percent, None without a labelled pixel."""
    measured = {
        "confidence": target.totals.confidence,
        "entropy": target.totals.entropy,
        "diversity": target.totals.diversity,
        "nuclear_norm": target.totals.nuclear_norm,
        "estimated_accuracy": estimated_accuracy(source.confidences, target.confidences),
        "estimated_class_accuracy": estimated_class_accuracy(source.confidences, target.confidences),
        "reverse_miou": miou_in_truth(source.answers),
        "source_miou": np.nan if source_miou is None else source_miou,
    }
    return Observation(target.prediction, target.view, measured)


def predicted_shares(predictor, dataset, size, classes: int) -> np.ndarray:
    """`class_shares` of what a predictor says of all images of `dataset`."""
    batches = evaluation_stream(dataset, size, images_at_once(size)).shown("predicting class shares of the target")
    labels = [np.argmax(predictor.coarse_probs(batch["image"]), axis=-1).ravel() for batch in batches]
    return class_shares(np.concatenate(labels), classes)


def class_shares(prediction: np.ndarray, classes: int) -> np.ndarray:
    """Share of the pixels of each class, float64 `[classes]`, summing to 1."""
    counts = np.bincount(prediction.ravel(), minlength=classes)[:classes]
    return counts / max(counts.sum(), 1)
