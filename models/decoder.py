"""DeepLab-v3+ (ECCV 2018) on a light backbone: a pyramid on the deep map, and a decoder that gives back thin things.

At the sizes a laptop can train, a pole is two pixels wide and a stride-8 map cannot hold it; the decoder works at
stride 4 on the backbone's early features. Layers carry biases and no batch-norm: their statistics would be those of
neither domain while the backbone's are frozen.
"""

import keras
from keras import layers

from models.layers import Conv2D, ResizeLike

PYRAMID_CHANNELS = 96
FINE_CHANNELS = 32
DECODER_CHANNELS = 64
DILATIONS_AT_STRIDE_16 = (3, 6, 9)  # half the published ones: frames are a quarter to a half of the published size


def deeplab_v3plus(deep, fine, classes: int, stride: int):
    """`(logits, features)` at the grid of `fine` (stride 4) from the map `deep` of the given output stride."""
    pyramid = _pyramid(deep, stride)
    lifted = ResizeLike(name="head_lift")(pyramid, fine)
    joined = layers.Concatenate(name="head_join")([lifted, _convolution(fine, FINE_CHANNELS, 1, name="head_fine")])
    features = _convolution(joined, DECODER_CHANNELS, 3, name="head_decode_1")
    features = _convolution(features, DECODER_CHANNELS, 3, name="head_decode_2")
    logits = Conv2D(classes, 1, dtype="float32", name="head_classes")(features)
    return logits, features


def _pyramid(deep, stride: int):
    """Atrous spatial pyramid with scene context: a 1x1, three dilated 3x3 and the mean of the whole map."""
    reduced = _convolution(deep, PYRAMID_CHANNELS, 1, name="head_reduce")
    branches = [reduced]
    for dilation in DILATIONS_AT_STRIDE_16:
        dilation = max(1, dilation * 16 // stride)
        branches.append(_convolution(reduced, PYRAMID_CHANNELS, 3, dilation, name=f"head_dilation_{dilation}"))
    scene = layers.GlobalAveragePooling2D(keepdims=True, name="head_scene_mean")(deep)
    scene = Conv2D(PYRAMID_CHANNELS, 1, name="head_scene")(scene)
    mixed = _convolution(layers.Concatenate(name="head_branches")(branches), PYRAMID_CHANNELS, 1, name="head_mix")
    return layers.Add(name="head_with_scene")([mixed, scene])


def _convolution(x, filters: int, kernel: int, dilation: int = 1, *, name: str) -> keras.KerasTensor:
    return Conv2D(
        filters,
        kernel,
        padding="same",
        dilation_rate=dilation,
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)
