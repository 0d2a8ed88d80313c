"""The networks of CycleGAN (Zhu et al., ICCV 2017): ResNet generators, and discriminators of 70 x 70 patches.

Instance normalisation has no parameters, and the convolutions before it have a bias all the same, as in the authors'
program: with 64 channels a generator of 9 blocks has 11,378,179 parameters, a discriminator 2,764,737.
"""

import keras
import tensorflow as tf
from keras import layers

from models.discriminator import leaky_relu
from models.layers import CroppedLike, image_input, scaled_to_unit
from models.segmenter import seeded

EPSILON = 1e-5
STRIDE = 4  # of the generator's blocks
LEAST_SIDE = 24  # of an image that the discriminator has a score for


def build_generator(channels: int = 64, blocks: int = 9, seed: int = 0) -> keras.Model:
    """Images of one domain to images of the other, both float32 RGB `[batch, height, width, 3]` in [0, 255].

    Any size from 16 x 16 on: a side that is no multiple of 4 is padded by reflection, and cropped in the end.

    Args:
        channels: of the first convolution (published 64); the blocks have four times as many.
        blocks: published 6 for images of 128 x 128, 9 for larger ones.
        seed: of the weights, normal with the standard deviation 0.02.
    """
    image = image_input()
    x = ReflectedToMultiple(STRIDE, name="pad_to_multiple")(scaled_to_unit(image))
    with seeded(seed):
        # 1. To a quarter of the size.
        x = _normalised(_convolution(_reflected(x, 3, "first"), channels, 7, name="first"), "first")
        for number, factor in enumerate((2, 4), start=1):
            x = layers.ZeroPadding2D(1, name=f"down_{number}_pad")(x)
            x = _convolution(x, factor * channels, 3, stride=2, name=f"down_{number}")
            x = _normalised(x, f"down_{number}")
        # 2. The residual blocks.
        for number in range(1, blocks + 1):
            x = _block(x, 4 * channels, f"block_{number}")
        # 3. Back to the whole size.
        for number, factor in enumerate((2, 1), start=1):
            x = _normalised(_doubled(x, factor * channels, name=f"up_{number}"), f"up_{number}")
        x = _convolution(_reflected(x, 3, "last"), 3, 7, name="last")
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    x = layers.Rescaling(127.5, offset=127.5, dtype="float32", name="pixels")(x)
    return keras.Model(image, CroppedLike(1, dtype="float32", name="cropped")(x, image), name="generator")


def build_patch_discriminator(channels: int = 64, seed: int = 0) -> keras.Model:
    """Images float32 RGB `[batch, height, width, 3]` in [0, 255] to scores float32 `[batch, ~h / 8, ~w / 8, 1]`.

    Each score sees a patch of 70 x 70; 1 stands for a photo of the domain, 0 for a translated image. Sides of
    `LEAST_SIDE` at least.

    Args:
        channels: of the first convolution (published 64).
        seed: of the weights, normal with the standard deviation 0.02.
    """
    image = image_input()
    x = scaled_to_unit(image)
    with seeded(seed):
        for number, (factor, stride) in enumerate(((1, 2), (2, 2), (4, 2), (8, 1)), start=1):
            name = f"convolution_{number}"
            x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
            x = _convolution(x, factor * channels, 4, stride=stride, name=name)
            if number > 1:
                x = InstanceNormalization(name=f"{name}_norm")(x)
            x = layers.Activation(leaky_relu, name=f"leaky_{number}")(x)
        x = _convolution(layers.ZeroPadding2D(1, name="scores_pad")(x), 1, 4, name="scores")
    scores = layers.Activation("linear", dtype="float32", name="scores_float32")(x)
    return keras.Model(image, scores, name="patch_discriminator")


@keras.saving.register_keras_serializable("streetshift")
class InstanceNormalization(layers.Layer):
    """Each channel of each image to mean 0 and variance 1; no parameters; computed in float32."""

    def call(self, x):
        values = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(values, [1, 2], keepdims=True)
        return tf.cast((values - mean) * tf.math.rsqrt(variance + EPSILON), x.dtype)

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("streetshift")
class Reflected(layers.Layer):
    """`pad` rows and columns on each side of `[b, h, w, c]`, reflected at the border, which is not repeated."""

    def __init__(self, pad: int, **keywords):
        super().__init__(**keywords)
        self.pad = pad

    def call(self, x):
        sides = (self.pad, self.pad)
        return tf.pad(x, ((0, 0), sides, sides, (0, 0)), mode="REFLECT")

    def compute_output_shape(self, shape):
        height, width = (side and side + 2 * self.pad for side in shape[1:3])
        return shape[0], height, width, shape[3]

    def get_config(self):
        return {**super().get_config(), "pad": self.pad}


@keras.saving.register_keras_serializable("streetshift")
class ReflectedToMultiple(layers.Layer):
    """`[b, h, w, c]`, padded by reflection below and to the right to multiples of `multiple`."""

    def __init__(self, multiple: int, **keywords):
        super().__init__(**keywords)
        self.multiple = multiple

    def call(self, x):
        missing = -tf.shape(x)[1:3] % self.multiple
        padded = tf.pad(x, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]], mode="REFLECT")
        return tf.ensure_shape(padded, self.compute_output_shape(x.shape))

    def compute_output_shape(self, shape):
        height, width = (side and side + -side % self.multiple for side in shape[1:3])
        return shape[0], height, width, shape[3]

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


def _convolution(x, filters: int, kernel: int, *, stride: int = 1, name: str):
    """Without padding, with bias; weights normal with the standard deviation 0.02."""
    start = keras.initializers.RandomNormal(stddev=0.02)
    return layers.Conv2D(filters, kernel, strides=stride, kernel_initializer=start, name=name)(x)


def _reflected(x, pad: int, name: str):
    return Reflected(pad, name=f"{name}_reflected")(x)


def _normalised(x, name: str):
    """Instance normalisation, then ReLU."""
    return layers.ReLU(name=f"{name}_relu")(InstanceNormalization(name=f"{name}_norm")(x))


def _block(x, filters: int, name: str):
    """Two convolutions 3 x 3 with reflection padding, added to what they are given."""
    y = _normalised(_convolution(_reflected(x, 1, f"{name}_1"), filters, 3, name=f"{name}_1"), f"{name}_1")
    y = _convolution(_reflected(y, 1, f"{name}_2"), filters, 3, name=f"{name}_2")
    return layers.Add(name=f"{name}_add")([x, InstanceNormalization(name=f"{name}_2_norm")(y)])


def _doubled(x, filters: int, *, name: str):
    """A transposed convolution 3 x 3 of stride 2 to twice the size, the adjoint of a convolution with padding 1."""
    start = keras.initializers.RandomNormal(stddev=0.02)
    x = layers.Conv2DTranspose(filters, 3, strides=2, kernel_initializer=start, name=name)(x)
    return layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(x)
