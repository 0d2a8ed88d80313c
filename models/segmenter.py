"""Builds a segmentation network by name."""

import random
from contextlib import contextmanager

import keras

from models import backbones, decoder, heads
from models.catalogue import NETWORKS
from models.compact import compact
from models.daformer_head import daformer
from models.efficientnet_lite import SIZES as EFFICIENTNET_LITES
from models.efficientnet_lite import efficientnet_lite
from models.layers import CroppedLike, outputs
from models.levels import encoder_levels
from models.mix_transformer import SIZES, mix_transformer
from models.segformer_head import segformer
from models.weights import load_weights
from models.wide_resnet38 import wide_resnet38


def build_segmenter(
    name: str, classes: int, *, weights: str = "none", output_stride: int | None = None, seed: int = 0
) -> keras.Model:
    """The network `name` of `catalogue.NETWORKS`.

    Input "image": RGB uint8 or float32 `[batch, height, width, 3]` in [0, 255], any size; it is normalised inside.
    Outputs: `{"logits": [batch, ceil(height / stride), ceil(width / stride), classes], "features": [batch, ?, ?, ?]}`,
    float32 under every precision policy; `features` is the map the classifier sees (FCN-8s: fc7, at stride 32).

    Args:
        weights: see `weights.load_weights`, which also tells what was loaded where that matters.
        output_stride: one of the network's `strides`; None: its default. The logits' stride too, unless the catalogue
            states another `logits_stride`.
        seed: of everything that starts at random; the same seed gives the same network.

    Raises:
        ValueError: an unknown name, no classes, or a stride the network cannot have.
        WeightsError (a ValueError): weights that cannot be had or do not fit.
    """
    stride = checked_stride(name, classes, output_stride)
    with seeded(seed):
        image, logits, features = BUILDERS[name](classes, stride)
    model = keras.Model(image, outputs(logits, features), name=name)
    load_weights(model, weights)
    return model


def checked_stride(name: str, classes: int, output_stride: int | None) -> int:
    """The output stride to build, once name, classes and stride are known to be possible."""
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}: choose from {', '.join(NETWORKS)}")
    if classes < 1:
        raise ValueError(f"a network needs at least 1 of the classes it is to tell apart, not {classes}")
    network = NETWORKS[name]
    if output_stride is None:
        return network.default_stride
    if output_stride not in network.strides:
        raise ValueError(f"{name} has output stride {' or '.join(map(str, network.strides))}, not {output_stride}")
    return output_stride


@contextmanager
def seeded(seed: int):
    """Every Keras initialiser made inside draws its seed from `seed`; the caller's random state is left as it was."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def deeplab_v2(backbone: keras.Model, classes: int, stride: int):
    features = backbone.outputs[0]
    return backbone.inputs[0], heads.deeplab_v2(features, classes, heads.dilations_at(stride)), features


def deeplab_v3plus(backbone: keras.Model, name: str, classes: int, stride: int):
    fine = encoder_levels(backbone, name)[0]
    return backbone.inputs[0], *decoder.deeplab_v3plus(backbone.outputs[0], fine, classes, stride)


def fcn8s_vgg16(classes: int, stride: int):
    backbone = backbones.vgg16_convolutional()
    pool3, pool4, fc7 = backbone.outputs
    return backbone.inputs[0], heads.fcn8s(pool3, pool4, fc7, classes), fc7


def resnet38(classes: int, stride: int):
    backbone = wide_resnet38()
    return backbone.inputs[0], heads.dilated_pair(backbone.outputs[0], classes), backbone.outputs[0]


def segformer_mit(size: str, classes: int):
    backbone = mix_transformer(size)
    channels = 256 if size in ("mit_b0", "mit_b1") else 768
    return on_image(backbone.inputs[0], *segformer(backbone.outputs, classes, channels))


def daformer_mit(size: str, classes: int):
    backbone = mix_transformer(size)
    return on_image(backbone.inputs[0], *daformer(backbone.outputs, classes))


def on_image(image, logits, features):
    """What a Mix Transformer gives at stride 4, without the cells beyond a very small image."""
    cropped = CroppedLike(4, name="cropped")
    return image, cropped(logits, image), cropped(features, image)


def daformer_on(backbone: keras.Model, name: str, classes: int):
    return backbone.inputs[0], *daformer(encoder_levels(backbone, name), classes)


# Each takes (classes, output stride) and gives (image, logits, features).
BUILDERS = {
    "compact": lambda classes, stride: compact(classes),
    "deeplab_v2_mobilenet_v2": lambda classes, stride: deeplab_v2(backbones.mobilenet_v2(1.0, stride), classes, stride),
    "deeplab_v2_mobilenet_v2_035": lambda classes, stride: deeplab_v2(
        backbones.mobilenet_v2(0.35, stride), classes, stride
    ),
    "deeplab_v3plus_mobilenet_v2": lambda classes, stride: deeplab_v3plus(
        backbones.mobilenet_v2(1.0, stride), "mobilenet_v2", classes, stride
    ),
    **{
        f"deeplab_v3plus_{size}": lambda classes, stride, size=size: deeplab_v3plus(
            efficientnet_lite(size, stride), size, classes, stride
        )
        for size in EFFICIENTNET_LITES
    },
    "deeplab_v2_resnet18_v2": lambda classes, stride: deeplab_v2(backbones.resnet18_v2(stride), classes, stride),
    "deeplab_v2_resnet50": lambda classes, stride: deeplab_v2(backbones.resnet(50, stride), classes, stride),
    "deeplab_v2_resnet101": lambda classes, stride: deeplab_v2(backbones.resnet(101, stride), classes, stride),
    "fcn8s_vgg16": fcn8s_vgg16,
    "wide_resnet38": resnet38,
    **{f"segformer_{size}": lambda classes, stride, size=size: segformer_mit(size, classes) for size in SIZES},
    **{f"daformer_{size}": lambda classes, stride, size=size: daformer_mit(size, classes) for size in SIZES},
    "daformer_mobilenet_v2": lambda classes, stride: daformer_on(
        backbones.mobilenet_v2(1.0, stride), "mobilenet_v2", classes
    ),
    "daformer_resnet50": lambda classes, stride: daformer_on(backbones.resnet(50, stride), "resnet50", classes),
    "daformer_resnet101": lambda classes, stride: daformer_on(backbones.resnet(101, stride), "resnet101", classes),
}
