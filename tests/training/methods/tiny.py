"""A network and batches small enough to train in a test."""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from models.batch_norm import BatchNormalization
from models.catalogue import NETWORKS
from models.layers import Dropout
from models.levels import LEVELS
from training.methods.optimizers import build_optimizer
from training.settings.schedule import Optimizer

CLASSES = 3


def tiny_network(seed=0, batch_norm=False, dropout=0.0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    x = BatchNormalization(momentum=0.9)(x) if batch_norm else x
    if dropout:  # of values, and of whole images as in stochastic depth
        x = x + Dropout(dropout, noise_shape=(None, 1, 1, 1))(Dropout(dropout)(x))
    x = keras.layers.Identity(name="features")(x)
    logits = keras.layers.Conv2D(CLASSES, 1, name="head_classes")(x)
    return keras.Model(image, {"logits": logits, "features": x}, name="tiny")


def give_levels(patch, name="tiny", layer="features"):
    """Tell `with_levels` of a test's network whose features are its only level; `patch`: of pytest."""
    patch.setitem(NETWORKS, name, replace(NETWORKS["compact"], backbone=name))
    patch.setitem(LEVELS, name, (layer,))


def batch(seed, label_share=1.0):
    """Images whose brightness tells the class."""
    random = np.random.default_rng(seed)
    label = np.repeat(np.repeat(random.integers(0, CLASSES, (4, 4, 4)), 4, axis=1), 4, axis=2).astype(np.uint8)
    image = (label[..., None] * 100 + random.normal(0, 5, (4, 16, 16, 3))).astype(np.float32)
    label[random.random(label.shape) > label_share] = 255
    return {"image": tf.constant(image), "label": tf.constant(label)}


def optimizer_for(network, learning_rate=0.05, **settings):
    optimizer = build_optimizer(Optimizer(learning_rate=learning_rate, **settings), 1000, [])
    optimizer.build(network.trainable_variables)
    return optimizer


def compiled(method, learning_rate=0.05, **settings):
    method.compile(optimizer=optimizer_for(method.network, learning_rate, **settings))
    return method


def assert_weights(model, expected, **tolerance):
    for weight, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(weight, value, **tolerance)
