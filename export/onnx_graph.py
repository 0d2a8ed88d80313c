"""A Keras segmentation network as one self-contained ONNX graph.

Input  `image`       uint8   [batch, height, width, 3]  RGB, any size
Output `labels`      uint8   [batch, height, width]     arg-max class
       `confidence`  float32 [batch, height, width]     probability of that class
       `logits`      float32 [batch, ceil(height / stride), ceil(width / stride), classes]

Everything the training side does to an image is in the graph, in the same order (`training/evaluation/predictor.py`):
normalise, network, soft-max on the coarse grid, bilinear enlargement of the probabilities, arg-max. Enlarging
probabilities rather than logits spares the soft-max of every pixel, half of the run time on a CPU.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from export.onnx_surgery import drop_unused, fill_inputs, fold_batch_norms, name_dimensions, order_outputs

OPSET = 17
DIMENSIONS = {
    "image": ("batch", "height", "width", 3),
    "labels": ("batch", "height", "width"),
    "confidence": ("batch", "height", "width"),
    "logits": ("batch", "logits_height", "logits_width", None),  # None: as it is
}
INPUT, *OUTPUTS = DIMENSIONS
CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def to_onnx(network: keras.Model) -> onnx.ModelProto:
    """The ONNX model of a functional float32 network `image -> {"logits": ...}` in inference mode.

    The kernels of convolutions are inputs of the graph that TensorFlow and tf2onnx see, and are filled in at the end:
    with them inside, the conversion holds twenty copies of all weights (13 GB for VGG16).

    Raises:
        onnx.checker.ValidationError: the result is no valid model.
    """
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    infer = inference_function(network)
    model, _ = tf2onnx.convert.from_function(infer, input_signature=infer.input_signature, opset=OPSET)
    graph = model.graph
    graph.name = network.name
    fill_inputs(graph, {layer.name: onnx_kernel(layer) for layer in convolutions(network)})
    fold_batch_norms(graph)
    drop_unused(graph)
    order_outputs(graph, OUTPUTS)
    name_dimensions(graph, DIMENSIONS)
    onnx.checker.check_model(model, full_check=True)
    return model


def inference_function(network: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """(image uint8 `[b, h, w, 3]`, kernels by layer name) -> {"labels", "confidence", "logits"}: what is exported."""
    kernels: dict[str, tf.Tensor] = {}
    inference = exportable(network, kernels.get)
    image_spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name=INPUT)
    kernel_specs = {
        layer.name: tf.TensorSpec(onnx_shape(layer), tf.float32, name=layer.name) for layer in convolutions(network)
    }

    @tf.function(input_signature=[image_spec, kernel_specs])
    def infer(image, given_kernels):
        kernels.update(given_kernels)
        logits = inference(tf.cast(image, tf.float32), training=False)["logits"]
        labels, confidence = decide(logits, tf.shape(image)[1:3])
        return {"labels": labels, "confidence": confidence, "logits": logits}

    return infer


def decide(logits: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels uint8 and confidence float32 `[b, *size]` from logits `[b, h, w, c]`.

    Arg-max and maximum of `tf.image.resize(probabilities, size)`, without computing all of it. Between two rows that
    agree on the most probable class it stays the most probable, for every probability changes linearly, so that all
    classes have to be mixed only where the rows differ: a tenth of a street's pixels.
    """
    wide = enlarged_across(softmax(logits), size[1])
    _, height, width, classes = tf.unstack(tf.shape(wide))
    best, most = tf.cast(tf.argmax(wide, axis=-1), tf.int32), tf.reduce_max(wide, axis=-1)
    positions = positions_among(height, size[0])
    above, below, weight = neighbours(positions, height)
    labels = tf.gather(best, above, axis=1)
    confidence = mixed(tf.gather(most, above, axis=1), tf.gather(most, below, axis=1), weight[:, None])
    differing = tf.where(labels != tf.gather(best, below, axis=1))  # [n, 3]: image, row, column
    image, row, column = tf.unstack(tf.cast(differing, tf.int32), axis=1)
    above, below, weight = neighbours(tf.gather(positions, row), height)
    flat = tf.reshape(wide, (-1, classes))  # ONNX Runtime gathers whole rows of a matrix quickest
    first, second = (tf.gather(flat, (image * height + side) * width + column) for side in (above, below))
    probs = mixed(first, second, weight[:, None])  # [n, c]
    labels = tf.tensor_scatter_nd_update(labels, differing, tf.cast(tf.argmax(probs, axis=-1), tf.int32))
    confidence = tf.tensor_scatter_nd_update(confidence, differing, tf.reduce_max(probs, axis=-1))
    return tf.cast(labels, tf.uint8), confidence


def softmax(logits: tf.Tensor) -> tf.Tensor:
    """`tf.nn.softmax` spelt out, in operators that run class by class over whole maps.

    tf2onnx computes its own where classes are not the last axis, which ONNX Runtime does slowly; a division instead of
    the reciprocal would have the maps transposed there and back.
    """
    powers = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    return powers * tf.math.reciprocal(tf.reduce_sum(powers, axis=-1, keepdims=True))


def enlarged_across(probs: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """`tf.image.resize` of `[b, h, w, c]` to `[b, h, width, c]`.

    ONNX Runtime resizes the last two axes of a batch of maps: they are (width, classes) here, and nothing is
    transposed. (Its resize of maps with classes last is as quick, but CUDA takes the last two axes all the same.)
    """
    rows = tf.transpose(probs, (0, 2, 3, 1))
    return tf.transpose(tf.image.resize(rows, (width, tf.shape(probs)[3])), (0, 3, 1, 2))


def positions_among(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """Where each of `new` rows lies among `old` ones, float32 `[new]` in 0..old - 1.

    Pixel centres lie at halves, as in `tf.image.resize`.
    """
    scale = tf.cast(old, tf.float32) / tf.cast(new, tf.float32)
    positions = (tf.cast(tf.range(new), tf.float32) + 0.5) * scale - 0.5
    return tf.clip_by_value(positions, 0.0, tf.cast(old - 1, tf.float32))


def neighbours(positions: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The two rows, int32, around each position, and the second's weight, float32."""
    lower = tf.floor(positions)
    above = tf.cast(lower, tf.int32)
    return above, tf.minimum(above + 1, rows - 1), positions - lower


def mixed(first: tf.Tensor, second: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """`first` where the weight is 0, `second` where it is 1."""
    return first + (second - first) * weight


def convolutions(network: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in network.layers if isinstance(layer, CONVOLUTIONS)]


def exportable(network: keras.Model, kernel_of: Callable[[str], tf.Tensor | None]) -> keras.Model:
    """The network with `ExportedConvolution`s; all other layers are shared with it. For inference only."""

    def stand_in(layer):
        return ExportedConvolution(layer, kernel_of) if isinstance(layer, CONVOLUTIONS) else layer

    return keras.models.clone_model(network, clone_function=stand_in)


class ExportedConvolution(keras.layers.Layer):
    """An inference-only stand-in for a convolution whose kernel comes from `kernel_of(name)`, in ONNX' order of axes.

    TensorFlow writes dilation as SpaceToBatch chains around a plain convolution, which ONNX inherits (2.4 times slower
    than Keras). `tf.nn.conv2d` with `dilations` stays one operator; with "SAME" padding ONNX Runtime refuses it, so the
    padding is explicit: Keras allows dilation at stride 1 only, where it does not depend on the size. A depthwise
    convolution is one with as many groups as channels. Never train with it: the gradients of dilated grouped
    convolutions are wrong on a CPU.
    """

    def __init__(self, original: keras.layers.Layer, kernel_of: Callable[[str], tf.Tensor | None]):
        super().__init__(name=original.name, dtype="float32")
        self.original = original
        self.kernel_of = kernel_of

    def call(self, x):
        layer, kernel = self.original, self.kernel_of(self.name)
        if kernel is None:  # Keras tries the layer out while it builds the model
            kernel = tf.zeros(onnx_shape(layer))
        padding = layer.padding.upper()
        if layer.padding == "same" and max(layer.dilation_rate) > 1:
            x, padding = tf.pad(x, [(0, 0), *map(zeros_around, kernel.shape[2:], layer.dilation_rate), (0, 0)]), "VALID"
        kernel = tf.transpose(kernel, (2, 3, 1, 0))
        x = tf.nn.conv2d(x, kernel, strides=layer.strides, padding=padding, dilations=layer.dilation_rate)
        return layer.activation(x + layer.bias if layer.use_bias else x)

    def compute_output_shape(self, input_shape):
        return self.original.compute_output_shape(input_shape)


def onnx_kernel(layer: keras.layers.Layer) -> np.ndarray:
    """The kernel float32 [filters, channels of a group, height, width] of a convolution."""
    kernel = layer.kernel.numpy()
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.reshape(height, width, 1, channels * multiplier)
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def onnx_shape(layer: keras.layers.Layer) -> tuple[int, int, int, int]:
    """The shape of `onnx_kernel`."""
    height, width, channels, filters = layer.kernel.shape
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return channels * filters, 1, height, width
    return filters, channels, height, width


def zeros_around(kernel: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after that keep the size at stride 1; the odd one goes behind, as TensorFlow does."""
    total = (kernel - 1) * dilation
    return total // 2, total - total // 2


@contextmanager
def exact_float32() -> Iterator[None]:
    """Networks built inside compute in plain float32: no mixed precision of a run, no TensorFloat-32 of a GPU."""
    policy = keras.config.dtype_policy()
    tensor_float = tf.config.experimental.tensor_float_32_execution_enabled()
    keras.config.set_dtype_policy("float32")
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        tf.config.experimental.enable_tensor_float_32_execution(tensor_float)
