"""Untrained networks that are as hard to export as trained ones."""

import keras
import numpy as np

from models.batch_norm import batch_norm_layers
from models.segmenter import build_segmenter


def lively_network(name: str, classes: int, seed: int = 0) -> keras.Model:
    """A network with random normalisations and no zero weights: a forgotten one would show in the logits.

    Logits are scaled to a standard deviation of 3 on noise, so that the labels of most pixels are decided.
    """
    network, random = build_segmenter(name, classes, seed=seed), np.random.default_rng(seed)
    for layer in batch_norm_layers(network):
        channels = layer.moving_mean.shape
        layer.moving_mean.assign(random.normal(0, 0.1, channels))
        layer.moving_variance.assign(random.uniform(0.5, 1.5, channels))
        layer.gamma.assign(random.uniform(0.7, 1.3, channels))
        layer.beta.assign(random.normal(0, 0.1, channels))
    for layer in (layer for layer in network.layers if isinstance(layer, keras.layers.LayerNormalization)):
        layer.gamma.assign(random.uniform(0.7, 1.3, layer.gamma.shape))
        layer.beta.assign(random.normal(0, 0.1, layer.beta.shape))
    head = [layer for layer in network.layers if layer.name.startswith("head_") and layer.weights]
    for variable in (variable for layer in head for variable in layer.trainable_variables):
        if not np.any(variable.numpy()):
            variable.assign(random.normal(0, 0.01, variable.shape))
    logits = network(random.integers(0, 256, (1, 96, 128, 3), dtype=np.uint8))["logits"].numpy()
    summed = name.startswith(("compact", "deeplab_v2_", "fcn8s_"))  # the logits are a sum of the head's layers
    last = head if summed else head[-1:]
    for variable in (variable for layer in last for variable in layer.trainable_variables):
        variable.assign(variable * (3 / logits.std()))
    return network
