"""Segmentation heads. The names of their layers start with "head_", so `head_variables` finds them."""

import keras
from keras import initializers, layers

from models.layers import Conv2D, ResizeLike

# DeepLab-v2 (TPAMI 2018, section 3.2) at output stride 8. Kept in image pixels: at stride 16 they are halved.
DILATIONS_AT_STRIDE_8 = (6, 12, 18, 24)


def dilations_at(stride: int) -> tuple[int, ...]:
    """DeepLab-v2's four dilations for a feature map of this stride, so that each covers the same image distance."""
    return tuple(max(1, dilation * 8 // stride) for dilation in DILATIONS_AT_STRIDE_8)


def deeplab_v2(features, classes: int, dilations: tuple[int, ...]):
    """The sum of one dilated 3x3 convolution a dilation, each with bias, started at N(0, 0.01)."""
    branches = [
        Conv2D(
            classes,
            3,
            padding="same",
            dilation_rate=dilation,
            kernel_initializer=initializers.RandomNormal(stddev=0.01),
            name=f"head_dilation_{dilation}",
        )(features)
        for dilation in dilations
    ]
    return layers.Add(dtype="float32", name="head_sum")(branches)


def embedding_block(channels: int, dimension: int, stride: int, seed: int) -> keras.Model:
    """DRSL's embedding block (Image and Vision Computing 2022, section 3.2): a head beside the segmentation head.

    It has the form of `deeplab_v2`, on the backbone's last map: float `[b, h, w, channels]` -> float32
    `[b, h, w, dimension]`.

    Args:
        stride: of the map. seed: of the weights at the start.
    """
    features = keras.Input((None, None, channels))
    branches = [
        Conv2D(
            dimension,
            3,
            padding="same",
            dilation_rate=dilation,
            kernel_initializer=initializers.RandomNormal(stddev=0.01, seed=seed + number),
            name=f"embedding_branch_{number}",
        )(features)
        for number, dilation in enumerate(dilations_at(stride))
    ]
    return keras.Model(features, layers.Add(dtype="float32", name="embedding_sum")(branches), name="embedding_block")


def fcn8s(pool3, pool4, fc7, classes: int):
    """FCN-8s (CVPR 2015, section 4.2): the class scores of three maps, summed from coarse to fine; stride 8.

    All three scores start at zero, as in the paper. The up-sampling by two is bilinear and fixed (the paper starts its
    learned one there and reports no difference for the last one).
    """
    score = class_scores(fc7, classes, "head_fc7")
    for name, fine in (("pool4", pool4), ("pool3", pool3)):
        lifted = ResizeLike(dtype="float32", name=f"head_{name}_resize")(score, fine)
        finer = class_scores(fine, classes, f"head_{name}")
        score = layers.Add(dtype="float32", name=f"head_{name}_sum")([lifted, finer])
    return score


def class_scores(features, classes: int, name: str):
    return Conv2D(classes, 1, kernel_initializer="zeros", name=name)(features)


def dilated_pair(features, classes: int):
    """ResNet-38's head (Wu et al. 2016): two 3x3 convolutions of dilation 12, 512 channels between them."""
    x = Conv2D(512, 3, padding="same", dilation_rate=12, activation="relu", name="head_hidden")(features)
    return Conv2D(classes, 3, padding="same", dilation_rate=12, name="head_classes")(x)


def classifier_bias(model: keras.Model) -> keras.Variable:
    """A bias `[classes]` that adds to the logits of every pixel; heads that sum several maps have one in each."""
    classes = model.output["logits"].shape[-1]
    found = [variable for variable in head_variables(model) if tuple(variable.shape) == (classes,)]
    return found[-1]


def head_variables(model: keras.Model) -> list[keras.Variable]:
    """The trainable variables of the layers named "head_...": the part that starts without ImageNet weights."""
    return [
        variable for layer in model.layers if layer.name.startswith("head_") for variable in layer.trainable_variables
    ]
