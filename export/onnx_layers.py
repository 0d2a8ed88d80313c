"""The layers of a network for its export: stand-ins whose weights come from outside. For inference only."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def weighted(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers whose weights are inputs of the converted graph."""
    return [layer for layer in network.layers if isinstance(layer, tuple(STAND_INS))]


def onnx_weights(layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """The weights of a convolution or normalisation by name, float32; the kernel in ONNX' order of axes."""
    if isinstance(layer, CONVOLUTIONS):
        bias = {f"{layer.name}/bias": layer.bias.numpy()} if layer.use_bias else {}
        return {layer.name: onnx_kernel(layer), **bias}
    if isinstance(layer, keras.layers.LayerNormalization):
        return {f"{layer.name}/gamma": layer.gamma.numpy(), f"{layer.name}/beta": layer.beta.numpy()}
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
        kinds = [exported for kind, exported in STAND_INS.items() if isinstance(layer, kind)]
        return kinds[0](layer, weights) if kinds else layer

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


class ExportedLayerNorm(keras.layers.Layer):
    """An inference-only stand-in for a layer normalisation of channels whose weights come from outside.

    It is written as ONNX Runtime expects it, which then computes it by one operator.
    """

    def __init__(self, original: keras.layers.Layer, weights: Mapping[str, tf.Tensor]):
        super().__init__(name=original.name, dtype="float32")
        self.original = original
        self.given = lambda: weights

    def call(self, x):
        weights = self.given() or onnx_weights(self.original)  # Keras tries the layer out while it builds the model
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(centred**2, axis=-1, keepdims=True)
        scaled = centred / tf.sqrt(variance + self.original.epsilon)
        return scaled * weights[f"{self.name}/gamma"] + weights[f"{self.name}/beta"]

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


STAND_INS = {
    keras.layers.Conv2D: ExportedConvolution,
    keras.layers.DepthwiseConv2D: ExportedConvolution,
    keras.layers.BatchNormalization: ExportedBatchNorm,
    keras.layers.LayerNormalization: ExportedLayerNorm,
}
