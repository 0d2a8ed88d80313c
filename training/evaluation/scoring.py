"""Figures of a network on labelled images: every label at its own full resolution, one confusion matrix."""

from typing import Protocol

import numpy as np

from training.data.datasets import Dataset
from training.data.input_pipeline import evaluation_stream
from training.distribution.devices import share_of_this_process
from training.distribution.workers import sum_over_workers
from training.evaluation.confusion import Confusion, scores
from training.prediction.predictor import Predictor
from training.probability_maps.enlarging import Enlarged
from training.probability_maps.scores import best_class
from training.progress import Meter


class Watcher(Protocol):
    """What looks at the predictions on labelled images while they are scored."""

    def add(self, probs: np.ndarray, features: np.ndarray, label: np.ndarray) -> None:
        """One image: what `Predictor.probs_and_cells` gives of it, and its label uint8 `[h, w]` at its own size."""


def confusion_of(
    predictor: Predictor,
    dataset: Dataset,
    size,
    batch_size: int,
    title: str,
    watcher: Watcher | None = None,
) -> Confusion:
    """Confusion of `dataset`'s labels with the predictions on its images brought to `size`, enlarged to each label.

    Several workers predict every n-th batch each and add up their counts.

    Args:
        watcher: sees the same predictions, of the image as it is, with its features.
    """
    dataset = dataset.subset(share_of_this_process().in_batches(len(dataset), batch_size))
    confusion = Confusion(dataset.label_space.count)
    with Meter(title, len(dataset)) as meter:
        for batch in evaluation_stream(dataset, size, batch_size):
            image = batch["image"]
            if watcher is None:
                probs = predictor.coarse_probs(image)
            else:
                probs, (_, features) = predictor.probs_and_cells(image)
            for position, index in enumerate(batch["index"].numpy()):
                label = dataset.read_label(int(index))
                cells = probs[position].numpy()
                # In pieces: whole, the probabilities of a photo of 12 megapixels take 1 GB.
                confusion.add(label, best_class(Enlarged(cells, label.shape))[1])
                if watcher is not None:
                    watcher.add(cells, features[position].numpy(), label)
            meter.advance(len(probs))
    counts = (sum_over_workers(confusion.matrix), sum_over_workers(confusion.unpredicted))
    return Confusion(dataset.label_space.count, *counts)


def score(
    predictor: Predictor, dataset: Dataset, size, batch_size: int, title: str, watcher: Watcher | None = None
) -> dict:
    """`scores` of the confusion, with the matrix itself under "matrix" (rows = truth). watcher: see `confusion_of`."""
    confusion = confusion_of(predictor, dataset, size, batch_size, title, watcher=watcher)
    return scores(confusion.matrix, dataset.label_space) | {"matrix": np.asarray(confusion.matrix).tolist()}
