"""A Keras segmentation network as one self-contained ONNX graph.

Input  `image`       uint8   [batch, height, width, 3]  RGB, any size
Output `labels`      uint8   [batch, height, width]     arg-max class
       `confidence`  float32 [batch, height, width]     probability of that class
       `logits`      float32 [batch, ceil(height / stride), ceil(width / stride), classes]

Everything the training side does to an image is in the graph, in the same order (`training/evaluation/predictor.py`):
normalise, network, soft-max on the coarse grid, bilinear enlargement of the probabilities, arg-max. Enlarging
probabilities rather than logits spares the soft-max of every pixel, half of the run time on a CPU.
"""

import functools
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from export.onnx_speed import double_by_a_constant, fold_batch_norms, rearrange_bytes
from export.onnx_surgery import drop_unused, fill_inputs, modernise_resizes, name_dimensions, order_outputs
from models.layers import Doubled

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

    Raises:
        onnx.checker.ValidationError: the result is no valid model.
    """
    model = onnx.ModelProto()
    model.CopyFrom(converted(Architecture(network)))
    graph = model.graph
    graph.name = network.name
    fill_inputs(graph, {name: value for layer in weighted(network) for name, value in onnx_weights(layer).items()})
    fold_batch_norms(graph)
    double_by_a_constant(graph, [layer.name for layer in network.layers if isinstance(layer, Doubled)])
    rearrange_bytes(graph, INPUT)
    modernise_resizes(graph)
    drop_unused(graph)
    order_outputs(graph, OUTPUTS)
    name_dimensions(graph, DIMENSIONS)
    onnx.checker.check_model(model, full_check=True)
    return model


class Architecture:
    """A network of which all counts but the weights of convolutions and batch normalisations: equal if that is."""

    def __init__(self, network: keras.Model):
        self.network = network
        given = {id(weight) for layer in weighted(network) for weight in layer.weights}
        others = [weight.numpy().tobytes() for weight in network.weights if id(weight) not in given]
        self.identity = (network.to_json(), *others)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)


@functools.lru_cache(maxsize=1)
def converted(architecture: Architecture) -> onnx.ModelProto:
    """The graph that tf2onnx makes, with weights as inputs: a run's networks before and after adaptation share it.

    With weights inside, the conversion would also hold twenty copies of them (13 GB for VGG16).
    """
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    os.environ["TF2ONNX_CATCH_ERRORS"] = "no"  # else each of its fifty passes begins with a copy of the whole graph
    infer = inference_function(architecture.network)
    model, _ = tf2onnx.convert.from_function(infer, input_signature=infer.input_signature, opset=OPSET)
    return model


def inference_function(network: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """(image uint8 `[b, h, w, 3]`, weights by name) -> {"labels", "confidence", "logits"}: what is exported."""
    weights: dict[str, tf.Tensor] = {}
    inference = exportable(network, weights)
    image_spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name=INPUT)
    weight_specs = {
        name: tf.TensorSpec(value.shape, tf.float32, name=name)
        for layer in weighted(network)
        for name, value in onnx_weights(layer).items()
    }

    @tf.function(input_signature=[image_spec, weight_specs], autograph=False)
    def infer(image, given_weights):
        weights.update(given_weights)
        logits = inference(tf.cast(image, tf.float32), training=False)["logits"]
        labels, confidence = decide(logits, tf.shape(image)[1:3])
        return {"labels": labels, "confidence": confidence, "logits": logits}

    return infer


def decide(logits: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels uint8 and confidence float32 `[b, *size]` from logits `[b, h, w, c]`.

    Arg-max and maximum of `tf.image.resize(probabilities, size)`, without computing all of it. Between four cells that
    agree on the most probable class it stays the most probable, for probabilities are weighted means of the four. All
    classes have to be mixed only where cells differ: a tenth of a street's pixels.
    """
    _, height, width, classes = tf.unstack(tf.shape(logits))
    powers = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    most = tf.math.reciprocal(tf.reduce_sum(powers, axis=-1))  # [b, h, w]
    best = tf.cast(tf.argmax(logits, axis=-1), tf.uint8)
    labels, confidence = enlarged(best, size, "nearest"), enlarged(most, size, "bilinear")

    down, across = between_cells(height, size[0]), between_cells(width, size[1])
    image, row, column = where_corners_differ(best, down, across)  # int32 [n] each
    corners = tf.concat(
        [
            (image * height + tf.gather(down.cells, row + i)) * width + tf.gather(across.cells, column + j)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
        ],
        axis=0,
    )
    probs = tf.gather(tf.reshape(powers, (-1, classes)), corners) * tf.gather(tf.reshape(most, (-1, 1)), corners)
    probs = tf.reshape(probs, (2, 2, -1, 1, classes))  # above and below, left and right, n
    sides = mixed(probs[:, 0], probs[:, 1], tf.gather(across.weights, column)[:, :, None])  # [2, n, columns, c]
    sides = tf.reshape(sides, (2, -1, 1, tf.shape(across.weights)[1] * classes))  # longer stretches of one weight
    probs = mixed(sides[0], sides[1], tf.gather(down.weights, row)[:, :, None])  # [n, rows, columns * c]
    probs = tf.reshape(probs, (-1, classes))

    pixel = (image[:, None] * size[0] + tf.gather(down.pixels, row)) * size[1]
    pixel = tf.reshape(pixel[:, :, None] + tf.gather(across.pixels, column)[:, None], (-1, 1))
    labels = overwritten(labels, pixel, tf.cast(tf.argmax(probs, axis=-1), tf.uint8))
    return labels, overwritten(confidence, pixel, tf.reduce_max(probs, axis=-1))


def enlarged(maps: tf.Tensor, size: tf.Tensor, method: str) -> tf.Tensor:
    """`tf.image.resize` of `[b, h, w]`, with the batch as channels, which ONNX wants first: nothing is transposed."""
    resized = tf.image.resize(tf.transpose(maps, (1, 2, 0))[None], size, method)
    return tf.transpose(tf.squeeze(resized, axis=0), (2, 0, 1))


class Between(NamedTuple):
    """The spaces between `n` cells along one axis, one before the first and one behind the last: `n + 1` in all.

    cells: int32 `[n + 2]`: space i lies between cells i and i + 1 of these (the outer ones come twice).
    pixels: int32 `[n + 1, most]`, the pixels whose centre lies in a space, the last one again where others have more.
    weights: float32 like pixels: that of the second cell. empty: bool `[n + 1]`, a space without a pixel.
    """

    cells: tf.Tensor
    pixels: tf.Tensor
    weights: tf.Tensor
    empty: tf.Tensor


def between_cells(old: tf.Tensor, new: tf.Tensor) -> Between:
    """Where `new` pixels lie among `old` cells; centres lie at halves, as in `tf.image.resize`."""
    scale = tf.cast(new, tf.float32) / tf.cast(old, tf.float32)
    first = tf.math.ceil((tf.cast(tf.range(old + 2), tf.float32) - 0.5) * scale - 0.5)
    first = tf.clip_by_value(tf.cast(first, tf.int32), 0, new)[:, None]
    most = tf.cast(tf.math.ceil(scale), tf.int32)
    pixels = tf.clip_by_value(tf.minimum(first[:-1] + tf.range(most), first[1:] - 1), 0, new - 1)
    before = tf.range(old + 2) - 1
    weights = (tf.cast(pixels, tf.float32) + 0.5) / scale - 0.5 - tf.cast(before[:-1, None], tf.float32)
    return Between(tf.clip_by_value(before, 0, old - 1), pixels, weights, (first[:-1] == first[1:])[:, 0])


def where_corners_differ(best: tf.Tensor, down: Between, across: Between) -> list[tf.Tensor]:
    """(image, space down, space across), int32 `[n]` each, where cells around a space differ in `best` `[b, h, w]`."""
    around = tf.gather(tf.gather(tf.cast(best, tf.int32), down.cells, axis=1), across.cells, axis=2)
    corner = around[:, :-1, :-1]
    differing = (corner != around[:, :-1, 1:]) | (corner != around[:, 1:, :-1]) | (corner != around[:, 1:, 1:])
    differing &= ~(down.empty[:, None] | across.empty)
    return tf.unstack(tf.cast(tf.where(differing), tf.int32), axis=1)


def mixed(first: tf.Tensor, second: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """`first` where the weight is 0, `second` where it is 1."""
    return first + (second - first) * weight


def overwritten(maps: tf.Tensor, pixels: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """`maps` with `values` `[n]` at `pixels` `[n, 1]`, counted over all of it."""
    return tf.reshape(tf.tensor_scatter_nd_update(tf.reshape(maps, (-1,)), pixels, values), tf.shape(maps))


def weighted(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers whose weights are inputs of the converted graph."""
    return [layer for layer in network.layers if isinstance(layer, (*CONVOLUTIONS, keras.layers.BatchNormalization))]


def onnx_weights(layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """The weights of a convolution or batch normalisation by name, float32; the kernel in ONNX' order of axes."""
    if isinstance(layer, CONVOLUTIONS):
        bias = {f"{layer.name}/bias": layer.bias.numpy()} if layer.use_bias else {}
        return {layer.name: onnx_kernel(layer), **bias}
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    return {
        f"{layer.name}/gamma": layer.gamma.numpy() if layer.scale else np.ones_like(mean),
        f"{layer.name}/beta": layer.beta.numpy() if layer.center else np.zeros_like(mean),
        f"{layer.name}/mean": mean,
        f"{layer.name}/variance": variance,
    }


def exportable(network: keras.Model, weights: Mapping[str, tf.Tensor]) -> keras.Model:
    """The network with stand-ins that read `weights`; all other layers are shared with it. For inference only."""

    def stand_in(layer):
        if isinstance(layer, CONVOLUTIONS):
            return ExportedConvolution(layer, weights)
        return ExportedBatchNorm(layer, weights) if isinstance(layer, keras.layers.BatchNormalization) else layer

    return keras.models.clone_model(network, clone_function=stand_in)


class ExportedBatchNorm(keras.layers.Layer):
    """An inference-only stand-in for a batch normalisation whose weights come from outside."""

    def __init__(self, original: keras.layers.Layer, weights: Mapping[str, tf.Tensor]):
        super().__init__(name=original.name, dtype="float32")
        self.original = original
        self.given = lambda: weights

    def call(self, x, training=False, mask=None):  # what Keras passed to the original
        names = [f"{self.name}/{part}" for part in ("gamma", "beta", "mean", "variance")]
        weights = self.given() or onnx_weights(self.original)  # Keras tries the layer out while it builds the model
        scale, offset, mean, variance = (weights[name] for name in names)
        return tf.compat.v1.nn.fused_batch_norm(
            x, scale, offset, mean, variance, epsilon=self.original.epsilon, is_training=False
        )[0]

    def compute_output_shape(self, input_shape):
        return input_shape


class ExportedConvolution(keras.layers.Layer):
    """An inference-only stand-in for a convolution whose weights come from outside.

    TensorFlow writes dilation as SpaceToBatch chains around a plain convolution, which ONNX inherits (2.4 times slower
    than Keras). `tf.nn.conv2d` with `dilations` stays one operator; with "SAME" padding ONNX Runtime refuses it, so the
    padding is explicit: Keras allows dilation at stride 1 only, where it does not depend on the size. A depthwise
    convolution is one with as many groups as channels. Never train with it: the gradients of dilated grouped
    convolutions are wrong on a CPU.
    """

    def __init__(self, original: keras.layers.Layer, weights: Mapping[str, tf.Tensor]):
        super().__init__(name=original.name, dtype="float32")
        self.original = original
        self.given = lambda: weights  # Keras would copy a mapping

    def call(self, x):
        layer = self.original
        weights = self.given() or onnx_weights(layer)  # Keras tries the layer out while it builds the model
        kernel, padding = tf.convert_to_tensor(weights[layer.name]), layer.padding.upper()
        if layer.padding == "same" and max(layer.dilation_rate) > 1:
            x, padding = tf.pad(x, [(0, 0), *map(zeros_around, kernel.shape[2:], layer.dilation_rate), (0, 0)]), "VALID"
        kernel = tf.transpose(kernel, (2, 3, 1, 0))
        x = tf.nn.conv2d(x, kernel, strides=layer.strides, padding=padding, dilations=layer.dilation_rate)
        return layer.activation(x + weights[f"{layer.name}/bias"] if layer.use_bias else x)

    def compute_output_shape(self, input_shape):
        return self.original.compute_output_shape(input_shape)


def onnx_kernel(layer: keras.layers.Layer) -> np.ndarray:
    """The kernel float32 [filters, channels of a group, height, width] of a convolution."""
    kernel = layer.kernel.numpy()
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.reshape(height, width, 1, channels * multiplier)
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


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
