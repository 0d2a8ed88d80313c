"""The network of an experiment."""

import keras

from models.segmenter import build_segmenter
from models.weights import WeightsError
from training.errors import UserError
from training.settings import Experiment


def build_network(experiment: Experiment, classes: int) -> keras.Model:
    """The network that the experiment names, with its initial weights."""
    model = experiment.model
    try:
        return build_segmenter(
            model.network, classes, weights=model.weights, output_stride=model.output_stride, seed=experiment.seed
        )
    except WeightsError as error:
        raise UserError(str(error)) from error
