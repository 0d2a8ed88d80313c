"""Dilated backbones, converted from Keras Applications without losing their ImageNet weights.

The graph of the original is cloned with edited layer configurations: late strides become 1 and the convolutions behind
them are dilated instead, so a stride-8 network sampled on the stride-32 grid gives the stride-32 network's values
(tests/models/test_backbones.py proves it). Names of layers stay, so weights are copied by name.

Each builder returns a model from the image (see `layers.image_input`) to one map, or to a list of maps.
"""

from collections.abc import Callable
from functools import partial

import keras

from models.batch_norm import BatchNormalization
from models.layers import Conv2D, Dropout, caffe_normalised, image_input, scaled_to_unit

MOBILENET_HALVINGS = ((6, 16), (13, 32))  # (block that halves the map, stride behind it)
RESNET_HALVINGS = ((4, 16), (5, 32))  # (stage that halves the map, stride behind it)
ORIGINALS = {
    "mobilenet_v2": partial(keras.applications.MobileNetV2, alpha=1.0),
    "mobilenet_v2_035": partial(keras.applications.MobileNetV2, alpha=0.35),
    "resnet50": keras.applications.ResNet50,
    "resnet101": keras.applications.ResNet101,
    "vgg16": keras.applications.VGG16,
}
OURS = {keras.layers.BatchNormalization: BatchNormalization, keras.layers.Conv2D: Conv2D}
RESNETS = {50: keras.applications.ResNet50, 101: keras.applications.ResNet101}


def mobilenet_v2(alpha: float, stride: int) -> keras.Model:
    """MobileNetV2 (CVPR 2018) up to its last bottleneck, 320 channels at alpha 1.0, at output stride 8, 16 or 32."""
    base = keras.applications.MobileNetV2(
        input_tensor=scaled_to_unit(image_input()), alpha=alpha, include_top=False, weights=None
    )
    copy = cloned(base, lambda layer: mobilenet_v2_config(layer, stride))
    return keras.Model(copy.inputs[0], copy.get_layer("block_16_project_BN").output)


def mobilenet_v2_config(layer: keras.Layer, stride: int) -> dict:
    """The layer's configuration at another output stride.

    Keras pads in a layer of its own in front of strided convolutions, rightly for even sizes only; "same" equals it
    there and gives `ceil(size / 2)` at odd sizes too.
    """
    config = layer.get_config()
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return {**config, "padding": ((0, 0), (0, 0))}
    if not isinstance(layer, keras.layers.DepthwiseConv2D):
        return config
    block = 0 if layer.name.startswith("expanded") else int(layer.name.split("_")[1])
    removed = removed_halvings(MOBILENET_HALVINGS, stride)
    strides = (1, 1) if block in removed else config["strides"]
    dilation = 2 ** sum(block > first for first in removed)
    return {**config, "padding": "same", "strides": strides, "dilation_rate": (dilation, dilation)}


def resnet(depth: int, stride: int) -> keras.Model:
    """ResNet-50 or ResNet-101 (v1, CVPR 2016), 2048 channels, at output stride 8, 16 or 32."""
    base = RESNETS[depth](input_tensor=caffe_normalised(image_input()), include_top=False, weights=None)
    copy = cloned(base, lambda layer: resnet_config(layer, stride))
    return keras.Model(copy.inputs[0], copy.outputs[0])


def resnet_config(layer: keras.Layer, stride: int) -> dict:
    """The layer's configuration at another output stride: v1 strides in the 1x1 convolutions that open a stage."""
    config = layer.get_config()
    parts = layer.name.split("_")  # conv4_block1_2_conv: stage 4, block 1, second convolution
    if not isinstance(layer, keras.layers.Conv2D) or len(parts) < 4:
        return config
    stage = int(parts[0].removeprefix("conv"))
    removed = removed_halvings(RESNET_HALVINGS, stride)
    if tuple(config["kernel_size"]) == (1, 1):
        return {**config, "strides": (1, 1) if stage in removed else config["strides"]}
    dilation = 2 ** sum(stage >= first for first in removed)
    return {**config, "dilation_rate": (dilation, dilation)}


def vgg16_convolutional() -> keras.Model:
    """VGG16 (ICLR 2015) with its fully connected layers as convolutions (FCN, CVPR 2015): `[pool3, pool4, fc7]`.

    Their strides are 8, 16, 32 and their channels 256, 512, 4096. "same" padding takes the place of FCN's 100 pixels of
    zeros and its crops.
    """
    base = keras.applications.VGG16(
        input_tensor=caffe_normalised(image_input()), include_top=False, weights=None, pooling=None
    )
    copy = cloned(base, lambda layer: layer.get_config() | ({"padding": "same"} if is_pooling(layer) else {}))
    x = copy.outputs[0]
    for name, kernel in (("fc1", 7), ("fc2", 1)):
        x = keras.layers.Conv2D(4096, kernel, padding="same", activation="relu", name=name)(x)
        x = Dropout(0.5, name=f"{name}_dropout")(x)
    return keras.Model(copy.inputs[0], [copy.get_layer("block3_pool").output, copy.get_layer("block4_pool").output, x])


def is_pooling(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.MaxPooling2D)


def resnet18_v2(stride: int) -> keras.Model:
    """keras-cv's ResNet-18 v2 (ECCV 2016), 512 channels, at output stride 8 or 16.

    Its configuration takes strides and dilations, and needs no network: keras-cv's named backbones do, even without
    weights.
    """
    from keras_cv.models import ResNetV2Backbone  # takes a second to import; only this network needs it

    base = ResNetV2Backbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 1, 1] if stride == 8 else [1, 2, 2, 1],
        stackwise_dilations=[1, 1, 2, 4] if stride == 8 else [1, 1, 1, 2],
        include_rescaling=True,
        block_type="basic_block",
        input_tensor=image_input(),
    )
    copy = cloned(base, resnet_v2_config)
    return keras.Model(copy.inputs[0], copy.outputs[0])


def resnet_v2_config(layer: keras.Layer) -> dict:
    """The layer's own configuration; only the rescaling to [0, 1] is named and kept in float32 as everywhere here."""
    is_rescaling = isinstance(layer, keras.layers.Rescaling)
    return layer.get_config() | ({"name": "normalise", "dtype": "float32"} if is_rescaling else {})


def removed_halvings(halvings: tuple[tuple[int, int], ...], stride: int) -> list[int]:
    return [place for place, stride_behind in halvings if stride_behind > stride]


def pristine(backbone: str, weights: str | None = None, *, top: bool = False) -> keras.Model:
    """The Keras Applications network that `backbone` was converted from: the shape in which its weights come.

    Args:
        weights: "imagenet" (cached, or downloaded: an Exception if neither) or None (random).
        top: with the fully connected layers.
    """
    return ORIGINALS[backbone](weights=weights, input_shape=(224, 224, 3), include_top=top)


def cloned(base: keras.Model, config_of: Callable[[keras.Layer], dict]) -> keras.Model:
    """`base` rebuilt from `config_of(layer)` with fresh weights, and with our layers in place of Keras'."""

    def rebuilt(layer):
        layer_class = OURS.get(type(layer), type(layer))
        return layer_class.from_config(config_of(layer))

    return keras.models.clone_model(base, clone_function=rebuilt)
