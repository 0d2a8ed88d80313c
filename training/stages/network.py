"""The network of an experiment."""

import keras

from models.catalogue import NETWORKS
from models.segmenter import build_segmenter
from models.weights import LoadedWeights, WeightsError, load_weights
from training.distribution.workers import on_chief
from training.errors import UserError
from training.progress import console
from training.settings.experiment import Experiment, Model

LAST_STRIDES = {"compact": 16, "vgg16": 32}
"""By backbone: image pixels per cell of the last level, where that is not the network's output stride."""


def level_stride(model: Model) -> int:
    """Image pixels per cell of the encoder's last level, along a side."""
    network = NETWORKS[model.network]
    return LAST_STRIDES.get(network.backbone) or model.output_stride or network.default_stride


def build_network(experiment: Experiment, classes: int) -> keras.Model:
    """The network that the experiment names, with its initial weights; prints what was loaded.

    Raises:
        UserError: weights that cannot be had or do not fit.
    """
    network, loaded = network_and_weights(experiment, classes)
    on_chief(lambda: console.print(f"{experiment.model.network}: {loaded}."))
    return network


def initial_network(experiment: Experiment, classes: int) -> keras.Model:
    """A second copy of it, without a message."""
    return network_and_weights(experiment, classes)[0]


def network_and_weights(experiment: Experiment, classes: int) -> tuple[keras.Model, LoadedWeights]:
    """The network with its initial weights, and what of them was loaded."""
    model = experiment.model
    network = build_segmenter(model.network, classes, output_stride=model.output_stride, seed=experiment.seed)
    try:
        return network, load_weights(network, model.weights)
    except WeightsError as error:
        raise UserError(str(error)) from error
