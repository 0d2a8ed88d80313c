"""Figures of a network on labelled images: every label at its own full resolution, one confusion matrix."""

import numpy as np

from training.data.datasets import Dataset
from training.data.input_pipeline import evaluation_stream
from training.distribution.devices import share_of_this_process
from training.distribution.workers import sum_over_workers
from training.evaluation.confusion import Confusion, scores
from training.prediction.predictor import Predictor, enlarged_label
from training.progress import Meter


def confusion_of(predictor: Predictor, dataset: Dataset, size, batch_size: int, title: str) -> Confusion:
    """Confusion of `dataset`'s labels with the predictions on its images brought to `size`, enlarged to each label.

    Several workers predict every n-th batch each and add up their counts.
    """
    dataset = dataset.subset(share_of_this_process().in_batches(len(dataset), batch_size))
    confusion = Confusion(dataset.label_space.count)
    with Meter(title, len(dataset)) as meter:
        for batch in evaluation_stream(dataset, size, batch_size):
            probs = predictor.coarse_probs(batch["image"])
            for position, index in enumerate(batch["index"].numpy()):
                label = dataset.read_label(int(index))
                prediction = enlarged_label(probs[position : position + 1], label.shape)
                confusion.add(label, prediction.numpy()[0])
            meter.advance(len(probs))
    counts = (sum_over_workers(confusion.matrix), sum_over_workers(confusion.unpredicted))
    return Confusion(dataset.label_space.count, *counts)


def score(predictor: Predictor, dataset: Dataset, size, batch_size: int, title: str) -> dict:
    """`scores` of the confusion, with the matrix itself under "matrix" (rows = truth)."""
    confusion = confusion_of(predictor, dataset, size, batch_size, title)
    return scores(confusion.matrix, dataset.label_space) | {"matrix": np.asarray(confusion.matrix).tolist()}
