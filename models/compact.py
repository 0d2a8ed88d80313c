"""The default network: small, made for a CPU, trained from scratch.

Pictures are padded to multiples of 16, so that maps are exactly halved and doubled: ONNX Runtime then keeps them in its
blocked layout from the first convolution to the logits. Where both sides are such multiples, nothing is padded.
"""

import keras
from keras import layers

from models.layers import (
    CroppedLike,
    Doubled,
    PaddedToMultiple,
    convolution,
    convolution_block,
    image_input,
    normalised_relu,
    scaled_to_unit,
)


def compact(classes: int) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    image = image_input()
    padded = PaddedToMultiple(16, dtype="float32", name="padded")(image)
    x = convolution_block(scaled_to_unit(padded), 16, stride=2, name="stem")
    x = convolution_block(x, 32, stride=2, name="down_4")
    quarter = residual_block(x, 32, name="stage_4")
    x = convolution_block(quarter, 64, stride=2, name="down_8")
    x = residual_block(x, 64, name="stage_8a")
    eighth = residual_block(x, 64, name="stage_8b")
    x = convolution_block(eighth, 128, stride=2, name="down_16")
    x = residual_block(x, 128, name="stage_16a")
    x = residual_block(x, 128, name="stage_16b")
    x = with_scene_context(x, 128)
    x = merged(x, eighth, 48, name="merge_8")
    features = merged(x, quarter, 48, name="merge_4")
    logits = layers.Conv2D(classes, 1, name="head_classes")(features)
    cropped = CroppedLike(4, name="cropped")
    return image, cropped(logits, image), cropped(features, image)


def residual_block(x, filters: int, dilation: int = 1, *, name: str):
    y = convolution_block(x, filters, dilation=dilation, name=f"{name}_1")
    y = convolution(y, filters, dilation=dilation, name=f"{name}_2")
    y = layers.Add(name=f"{name}_add")([x, y])
    return normalised_relu(y, name=f"{name}_2")


def with_scene_context(x, filters: int):
    """Adds what the whole image says, to every pixel."""
    scene = layers.GlobalAveragePooling2D(keepdims=True, name="scene_mean")(x)
    scene = layers.Conv2D(filters, 1, activation="relu", name="scene_1")(scene)
    scene = layers.Conv2D(filters, 1, name="scene_2")(scene)
    return layers.Add(name="scene_add")([x, scene])


def merged(coarse, fine, filters: int, *, name: str):
    """Brings `coarse` to the grid of `fine`, twice as fine, reduces both to `filters`, sums and mixes them."""
    lifted = Doubled(name=f"{name}_doubled")(convolution(coarse, filters, 1, name=f"{name}_coarse"))
    joined = layers.Add(name=f"{name}_add")([lifted, convolution(fine, filters, 1, name=f"{name}_fine")])
    return convolution_block(normalised_relu(joined, name=f"{name}_joined"), filters, name=f"{name}_mix")
