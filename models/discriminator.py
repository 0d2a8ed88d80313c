"""The discriminator that tells source from target by their output maps (AdaptSegNet, AdvEnt, IAST, HIAST)."""

import keras
import tensorflow as tf
from keras import layers

from models.segmenter import seeded

SMALLEST = 32
"""Height and width below which the input is padded with zeros: five halvings of 32 leave one score."""


def build_discriminator(classes: int, channels: int = 64, first_kernel: int = 4, seed: int = 0) -> keras.Model:
    """Five convolutions of stride 2 with LeakyReLU 0.2 between them, no batch-norm, no sigmoid; fully convolutional.

    Input: float `[batch, height, width, classes]`, a soft-max or self-information map of any size (smaller than 32 is
    padded). Output: scores float32 `[batch, height // 32, width // 32, 1]` (up to one more with `first_kernel=3`).

    Args:
        channels: of the first convolution; the next have 2, 4 and 8 times as many, the last has one.
        first_kernel: 3 in IAST, 4 in HIAST; the other kernels are 4.
        seed: of the weights, uniform within `1 / sqrt(fan in)`.
    """
    maps = keras.Input((None, None, classes), name="maps")
    x = PadToAtLeast(SMALLEST, name="pad_small")(maps)
    widths = (channels, 2 * channels, 4 * channels, 8 * channels)
    with seeded(seed):
        for number, width in enumerate(widths, start=1):
            x = halved(x, width, first_kernel if number == 1 else 4, name=f"convolution_{number}")
            x = layers.Activation(leaky_relu, name=f"leaky_{number}")(x)
        x = halved(x, 1, 4, name="scores")
    scores = layers.Activation("linear", dtype="float32", name="scores_float32")(x)
    return keras.Model(maps, scores, name="discriminator")


@keras.saving.register_keras_serializable("streetshift")
def leaky_relu(x):
    """LeakyReLU with slope 0.2 by two operations: the fused one makes TensorFlow 2.21's graph optimiser complain."""
    return keras.ops.maximum(x, 0.2 * x)


def halved(x, filters: int, kernel: int, *, name: str):
    """A convolution of stride 2 after one row and column of zeros on each side, also of odd sizes (unlike "same")."""
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    uniform = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
    return layers.Conv2D(filters, kernel, strides=2, kernel_initializer=uniform, name=name)(x)


@keras.saving.register_keras_serializable("streetshift")
class PadToAtLeast(layers.Layer):
    """Pads zeros below and to the right of `[b, h, w, c]` until h and w are at least `size`."""

    def __init__(self, size: int, **keywords):
        super().__init__(**keywords)
        self.size = size

    def call(self, x):
        missing = tf.maximum(self.size - tf.shape(x)[1:3], 0)
        padded = tf.pad(x, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])
        return tf.ensure_shape(padded, self.compute_output_shape(x.shape))

    def compute_output_shape(self, shape):
        height, width = (None if side is None else max(side, self.size) for side in shape[1:3])
        return shape[0], height, width, shape[3]

    def get_config(self):
        return {**super().get_config(), "size": self.size}
