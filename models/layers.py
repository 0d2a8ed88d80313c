"""Small layers that Keras lacks, or that fail there with unknown sizes."""

import functools

import keras
import tensorflow as tf
from keras import initializers, layers

from models.batch_norm import BatchNormalization
from models.replicas import replica_number, replicas


@functools.cache
def dilates() -> bool:
    """Does this machine's dilated convolution have a gradient? TensorFlow's own on a CPU, without oneDNN, has none."""
    with tf.init_scope():  # which records no gradients: the gradient's operator is called itself
        image = tf.ones((1, 5, 5, 1))
        try:
            tf.raw_ops.Conv2DBackpropFilter(
                input=image,
                filter_sizes=(3, 3, 1, 1),
                out_backprop=image,
                strides=(1, 1, 1, 1),
                padding="SAME",
                dilations=(1, 2, 2, 1),
            )
        except tf.errors.OpError:
            return False
    return True


@keras.saving.register_keras_serializable("streetshift")
class Conv2D(layers.Conv2D):
    """Keras' convolution, with one operator where it is dilated.

    Keras rearranges the input into a batch of small maps, which takes up to four times as long.
    """

    def convolution_op(self, inputs, kernel):
        if max(self.dilation_rate) == 1 or self.groups > 1 or not dilates():
            return super().convolution_op(inputs, kernel)
        return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate)


@keras.saving.register_keras_serializable("streetshift")
class ResizeLike(layers.Layer):
    """Bilinearly resizes `x` `[b, h, w, c]` to the height and width of `reference`; the sizes may be unknown.

    `keras.ops.image.resize` fails on unknown sizes in graph mode (Keras 3.15).
    """

    def call(self, x, reference):
        return tf.cast(tf.image.resize(x, tf.shape(reference)[1:3]), x.dtype)

    def compute_output_shape(self, x_shape, reference_shape):
        return (*reference_shape[:3], x_shape[-1])


def scaled(image, scale: float | tuple[float, float]):
    """Images `[b, h, w, c]`, `scale` times as large, bilinearly; at scale 1 as they are. A pair: (height, width)."""
    factors = scale if isinstance(scale, tuple) else (scale, scale)
    if factors == (1, 1):
        return image
    size = tf.cast(tf.round(tf.cast(tf.shape(image)[1:3], tf.float32) * factors), tf.int32)
    return tf.image.resize(image, size, antialias=min(factors) < 1)


def padded_with_grey(image, size):
    """Images `[b, h, w, 3]` in [0, 255], padded with grey below and to the right to `size` (height, width)."""
    grey = 128  # a whole number, so that uint8 images can be padded too
    missing = size - tf.shape(image)[1:3]
    paddings = tf.stack([tf.zeros(4, tf.int32), tf.concat([[0], missing, [0]], 0)], axis=1)
    padded = tf.pad(image, paddings, constant_values=grey)
    padded.set_shape((None, None, None, image.shape[3]))  # with unknown channels Keras would give a convolution to XLA
    return padded


@keras.saving.register_keras_serializable("streetshift")
class PaddedToMultiple(layers.Layer):
    """Images `[b, h, w, 3]` in [0, 255], padded with grey below and to the right to multiples of `multiple`.

    After it every halving of the size is exact, so that a plain doubling undoes it.
    """

    def __init__(self, multiple: int, **keywords):
        super().__init__(**keywords)
        self.multiple = multiple

    def call(self, image):
        return padded_with_grey(image, (tf.shape(image)[1:3] + self.multiple - 1) // self.multiple * self.multiple)

    def compute_output_shape(self, shape):
        return shape[0], None, None, shape[3]

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable("streetshift")
class PaddedToLeast(layers.Layer):
    """Images `[b, h, w, 3]` in [0, 255], padded with grey below and to the right where a side is under `least`."""

    def __init__(self, least: int, **keywords):
        super().__init__(**keywords)
        self.least = least

    def call(self, image):
        return padded_with_grey(image, tf.maximum(tf.shape(image)[1:3], self.least))

    def compute_output_shape(self, shape):
        return shape[0], *(size and max(size, self.least) for size in shape[1:3]), shape[3]

    def get_config(self):
        return {**super().get_config(), "least": self.least}


@keras.saving.register_keras_serializable("streetshift")
class Doubled(layers.Layer):
    """`[b, h, w, c]` bilinearly resized to `[b, 2 h, 2 w, c]`."""

    def call(self, x):
        return tf.cast(tf.image.resize(x, 2 * tf.shape(x)[1:3]), x.dtype)

    def compute_output_shape(self, shape):
        height, width = (size and 2 * size for size in shape[1:3])
        return shape[0], height, width, shape[3]


@keras.saving.register_keras_serializable("streetshift")
class CroppedLike(layers.Layer):
    """The cells `[b, ceil(h / stride), ceil(w / stride), c]` of `x` that lie on the image `[b, h, w, 3]`."""

    def __init__(self, stride: int, **keywords):
        super().__init__(**keywords)
        self.stride = stride

    def call(self, x, image):
        height, width = tf.unstack((tf.shape(image)[1:3] + self.stride - 1) // self.stride)
        return x[:, :height, :width]

    def compute_output_shape(self, x_shape, image_shape):
        height, width = (size and -(-size // self.stride) for size in image_shape[1:3])
        return x_shape[0], height, width, x_shape[3]

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("streetshift")
class ReverseChannels(layers.Layer):
    """RGB to BGR, for backbones whose ImageNet weights were converted from Caffe."""

    def call(self, x):
        return tf.gather(x, [2, 1, 0], axis=-1)

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("streetshift")
class Dropout(layers.Dropout):
    """Keras' dropout; on several replicas each takes its own rows of the noise of the global batch.

    Keras' own would drop the same places in the images of every replica. The noise differs for each row: `noise_shape`
    begins with None.
    """

    def call(self, inputs, training=False):
        if not training or self.rate == 0 or replicas() == 1:
            return super().call(inputs, training=training)
        rows, *others = tf.unstack(tf.shape(inputs))
        fixed = self.noise_shape[1:] if self.noise_shape else [None] * len(others)
        whole = tf.stack([rows * replicas(), *(size or other for size, other in zip(fixed, others, strict=True))])
        noise = keras.random.dropout(tf.ones(whole, inputs.dtype), self.rate, seed=self.seed_generator)
        first = rows * replica_number()
        return inputs * noise[first : first + rows]


def image_input() -> keras.KerasTensor:
    """The input every network shares: RGB `[batch, height, width, 3]` in [0, 255], any size."""
    return keras.Input((None, None, 3), name="image", dtype="float32")


def scaled_to_unit(image):
    """[0, 255] -> [-1, 1], in float32 also under mixed precision: an image needs more than bfloat16's 8 bits."""
    return layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="normalise")(image)


def caffe_normalised(image):
    """BGR minus the ImageNet mean, as the ResNet v1 and VGG weights of Keras Applications expect."""
    offset = [-103.939, -116.779, -123.68]
    image = ReverseChannels(dtype="float32", name="bgr")(image)
    return layers.Rescaling(1.0, offset=offset, dtype="float32", name="normalise")(image)


def standardised(image):
    """RGB minus the ImageNet mean, divided by its standard deviation."""
    mean, deviation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    scale = [1 / d for d in deviation]
    offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
    return layers.Rescaling(scale, offset=offset, dtype="float32", name="normalise")(image)


def fan_out() -> initializers.Initializer:
    return initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def convolution(x, filters: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, name: str):
    """A convolution without bias, to be followed by batch normalisation."""
    return Conv2D(
        filters,
        kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)


def normalised_relu(x, *, momentum: float = 0.99, epsilon: float = 1e-3, name: str):
    """Batch normalisation, then ReLU."""
    x = BatchNormalization(momentum=momentum, epsilon=epsilon, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def convolution_block(
    x, filters: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, name: str, **batch_norm: float
):
    """Convolution, batch normalisation (its momentum and epsilon as in `normalised_relu`), ReLU."""
    x = convolution(x, filters, kernel, stride=stride, dilation=dilation, name=name)
    return normalised_relu(x, **batch_norm, name=name)


def outputs(logits, features) -> dict[str, keras.KerasTensor]:
    """The two outputs every network shares, in float32 under every precision policy."""
    return {
        "logits": layers.Activation("linear", dtype="float32", name="logits")(logits),
        "features": layers.Activation("linear", dtype="float32", name="features")(features),
    }
