"""Our dilated convolution: one operator with the numbers and gradients of Keras' rearrangement."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from models.layers import Conv2D


@pytest.mark.parametrize("dilation", [2, 4, 24])
@pytest.mark.parametrize("size", [(17, 23), (32, 8)])
def test_a_dilated_convolution_and_its_gradients_are_keras(dilation, size):
    image = tf.constant(np.random.default_rng(0).normal(size=(2, *size, 5)), tf.float32)
    answers = []
    for kind in (Conv2D, layers.Conv2D):
        layer = kind(3, 3, padding="same", dilation_rate=dilation)
        layer.build(image.shape)
        kernel = np.random.default_rng(1).normal(size=layer.kernel.shape)
        layer.set_weights([kernel, np.ones(3)])
        with tf.GradientTape() as tape:
            tape.watch(image)
            output = layer(image)
            loss = tf.reduce_sum(output**2)
        gradients = tape.gradient(loss, [image, *layer.trainable_variables])
        answers.append([output, *gradients])
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_a_processor_without_onednn_trains_dilated_convolutions(pytestconfig):
    code = """
import tensorflow as tf
from models.layers import Conv2D, dilates

layer = Conv2D(3, 3, padding="same", dilation_rate=2)
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(layer(tf.ones((1, 9, 9, 4))) ** 2)
print(dilates(), tape.gradient(loss, layer.kernel).shape)
"""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, cwd=pytestconfig.rootpath, env=environment)
    assert run.stdout == "False (3, 3, 4, 3)\n", run.stderr
