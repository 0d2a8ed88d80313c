"""Figures of a data set: several workers count the matrix of one."""

import keras
import numpy as np

from tests.training.data import published_layouts as layouts
from tests.training.distribution.worker_threads import WorkerThreads
from training.data import datasets
from training.data.classes import LABEL_SPACES
from training.evaluation import scoring
from training.prediction.predictor import Predictor


def test_workers_count_the_matrix_of_one_process(tmp_path, monkeypatch):
    data = datasets.folders(layouts.write_folders(tmp_path / "data", 5), LABEL_SPACES["cityscapes19"])
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    logits = keras.layers.Conv2D(19, 3, strides=4, padding="same")(keras.layers.Rescaling(1 / 60)(image))
    predictor = Predictor(keras.Model(image, {"logits": logits}))

    def matrix():
        return scoring.confusion_of(predictor, data, (24, 48), 2, "scoring").matrix

    alone, threads = matrix(), WorkerThreads(2)
    assert alone.sum() > 0
    monkeypatch.setattr(scoring, "share_of_this_process", threads.share)
    monkeypatch.setattr(scoring, "sum_over_workers", threads.add_up)
    for together in threads.run(matrix):
        np.testing.assert_array_equal(together, alone)
