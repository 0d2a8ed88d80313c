"""Mix Transformer (MiT-B0 to B5), the encoder of SegFormer (Xie et al., NeurIPS 2021), on maps `[b, h, w, c]`.

Any size, square or not: nothing depends on the number of tokens. Linear layers are 1x1 convolutions. Sizes are those of
the released code: an axis of `n` pixels gives `ceil(n / stride)` cells; the reduction of keys and values leaves out the
cells at the lower and right border that fill no whole window. An image with a side under 32 pixels, where no window
would be whole, is padded with grey.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import initializers, layers

from models.layers import Dropout, PaddedToLeast, fan_out, image_input, standardised

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)  # of keys and values, along each axis
SMALLEST = 32  # pixels: below it a stage has less than one window of keys and values
EXPANSION = 4
DROP_PATH = 0.1  # of the last block; it rises linearly from 0 at the first
# As released: PyTorch's own in the embeddings and behind the reductions, another one elsewhere.
EPSILON, EMBEDDING_EPSILON = 1e-6, 1e-5


@dataclass(frozen=True)
class Size:
    """Channels and blocks of the four stages."""

    channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]


WIDE = (64, 128, 320, 512)
SIZES = {
    "mit_b0": Size((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": Size(WIDE, (2, 2, 2, 2)),
    "mit_b2": Size(WIDE, (3, 4, 6, 3)),
    "mit_b3": Size(WIDE, (3, 4, 18, 3)),
    "mit_b4": Size(WIDE, (3, 8, 27, 3)),
    "mit_b5": Size(WIDE, (3, 6, 40, 3)),
}


def mix_transformer(name: str) -> keras.Model:
    """The encoder `name` of `SIZES`: from the image to its four stages, at strides 4, 8, 16 and 32."""
    image, size = image_input(), SIZES[name]
    x = standardised(PaddedToLeast(SMALLEST, dtype="float32", name="padded")(image))
    rates = iter(np.linspace(0, DROP_PATH, sum(size.blocks)).tolist())
    stages = []
    for index, (channels, blocks) in enumerate(zip(size.channels, size.blocks, strict=True)):
        stage, (kernel, stride) = f"stage{index + 1}", (3, 2) if index else (7, 4)
        x = patches(x, channels, kernel, stride, name=f"{stage}_embed")
        for number in range(1, blocks + 1):
            x = block(x, HEADS[index], REDUCTIONS[index], next(rates), name=f"{stage}_block{number}")
        x = normalised(x, name=f"{stage}_norm")
        stages.append(x)
    return keras.Model(image, stages)


def patches(x, channels: int, kernel: int, stride: int, *, name: str):
    """Overlapping patches: a strided convolution with as many zeros on every side ("same" would shift the grid)."""
    x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(channels, kernel, strides=stride, kernel_initializer=fan_out(), name=name)(x)
    return normalised(x, EMBEDDING_EPSILON, name=f"{name}_norm")


def block(x, heads: int, reduction: int, rate: float, *, name: str):
    """Attention, then a network of each cell and its neighbours; each is added to what it reads."""
    attended = attention(normalised(x, name=f"{name}_norm1"), heads, reduction, name=name)
    x = layers.Add(name=f"{name}_attended")([x, drop_path(attended, rate, name=f"{name}_drop1")])
    mixed = mix(normalised(x, name=f"{name}_norm2"), name=name)
    return layers.Add(name=f"{name}_mixed")([x, drop_path(mixed, rate, name=f"{name}_drop2")])


def attention(x, heads: int, reduction: int, *, name: str):
    """Every cell looks at the means of windows of `reduction` x `reduction` cells, weighted by what was learned."""
    channels, seen = x.shape[-1], x
    if reduction > 1:
        seen = layers.Conv2D(
            channels, reduction, strides=reduction, kernel_initializer=fan_out(), name=f"{name}_reduce"
        )(x)
        seen = normalised(seen, EMBEDDING_EPSILON, name=f"{name}_reduce_norm")
    query = linear(x, channels, name=f"{name}_query")
    key, value = (linear(seen, channels, name=f"{name}_{part}") for part in ("key", "value"))
    return linear(Attention(heads, name=f"{name}_attention")(query, key, value), channels, name=f"{name}_project")


def mix(x, *, name: str):
    """Mix-FFN: its 3x3 depthwise convolution also tells where a cell is (by the zeros at the border)."""
    channels = x.shape[-1]
    x = linear(x, EXPANSION * channels, name=f"{name}_expand")
    x = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=fan_out(), name=f"{name}_depthwise")(x)
    return linear(Gelu(name=f"{name}_gelu")(x), channels, name=f"{name}_shrink")


def linear(x, channels: int, *, name: str):
    return layers.Conv2D(channels, 1, kernel_initializer=initializers.TruncatedNormal(stddev=0.02), name=name)(x)


def normalised(x, epsilon: float = EPSILON, *, name: str):
    return layers.LayerNormalization(epsilon=epsilon, name=name)(x)


def drop_path(x, rate: float, *, name: str):
    """Stochastic depth (Huang et al., ECCV 2016): in training a share `rate` of the images passes the branch by."""
    return Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x) if rate else x


@keras.saving.register_keras_serializable("streetshift")
class Attention(layers.Layer):
    """Scaled dot-product attention of maps: query `[b, h, w, c]`, key and value `[b, h', w', c]` -> `[b, h, w, c]`.

    The weights, `[b, heads, h w, h' w']`, are float32 under every precision policy.
    """

    def __init__(self, heads: int, **keywords):
        super().__init__(**keywords)
        self.heads = heads

    def call(self, query, key, value):
        shape, channels = tf.shape(query), query.shape[-1]
        query, key, value = (self.split(x) for x in (query, key, value))
        scores = tf.matmul(query * (channels // self.heads) ** -0.5, key, transpose_b=True)
        weights = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), value.dtype)
        joined = tf.reshape(tf.transpose(tf.matmul(weights, value), (0, 2, 1, 3)), shape)
        joined.set_shape((None, None, None, channels))
        return joined

    def split(self, x):
        """`[b, h, w, c]` -> `[b, heads, h w, c / heads]`."""
        parts = tf.reshape(x, tf.stack([tf.shape(x)[0], -1, self.heads, x.shape[-1] // self.heads]))
        return tf.transpose(parts, (0, 2, 1, 3))

    def compute_output_shape(self, query_shape, key_shape, value_shape):
        return query_shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("streetshift")
class Gelu(layers.Layer):
    """The exact GELU, `x P(X <= x)` of a standard normal X; Keras' own cannot be exported to ONNX."""

    def call(self, x):
        return 0.5 * x * (1.0 + tf.math.erf(x / 2**0.5))  # in this form ONNX Runtime knows it

    def compute_output_shape(self, shape):
        return shape
