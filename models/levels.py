"""The maps that an encoder passes through, from fine to coarse: for feature losses, and heads over several levels."""

import keras

from models.catalogue import NETWORKS
from models.layers import CroppedLike

# By backbone (`Network.backbone`): the layers whose outputs are its levels. Their strides are 4, 8, 16, 32, none beyond
# the network's output stride (dilated backbones). The compact network has 4, 8, 16 on the padded image;
# Mix Transformers pad a side under 32 pixels.
# VGG16's last level is fc7 (stride 32, 4096 channels), which has ImageNet weights too.
RESNET_LEVELS = ("conv2_block3_out", "conv3_block4_out", "conv4_block{last}_out", "conv5_block3_out")
MOBILENET_LEVELS = ("block_2_add", "block_5_add", "block_12_add", "block_16_project_BN")
LEVELS: dict[str, tuple[str, ...]] = {
    "compact": ("stage_4_2_relu", "stage_8b_2_relu", "stage_16b_2_relu"),
    "mobilenet_v2": MOBILENET_LEVELS,
    "mobilenet_v2_035": MOBILENET_LEVELS,
    "resnet18_v2": ("v2_stack_0_block2_out", "v2_stack_1_block2_out", "v2_stack_2_block2_out", "post_relu"),
    "resnet50": tuple(name.format(last=6) for name in RESNET_LEVELS),
    "resnet101": tuple(name.format(last=23) for name in RESNET_LEVELS),
    **{f"mit_b{size}": ("stage1_norm", "stage2_norm", "stage3_norm", "stage4_norm") for size in range(6)},
    "efficientnet_lite0": ("block_2_add", "block_4_add", "block_10_add", "block_15_project_bn"),
    "efficientnet_lite2": ("block_3_add", "block_6_add", "block_14_add", "block_20_project_bn"),
    "vgg16": ("block2_pool", "block3_pool", "block4_pool", "fc2"),
    "wide_resnet38": ("level_3_3_add", "level_4_6_add", "level_5_3_add", "final_relu"),
}


def with_levels(network: keras.Model) -> keras.Model:
    """The same network, weights shared, whose outputs have "levels" too: a list of maps, from fine to coarse.

    Each is float `[batch, height_i, width_i, channels_i]` in the layer's own precision; of `compact`, which pads its
    images, without the cells beyond the image.

    Args:
        network: one of `build_segmenter`, or a clone of it under the same name.
    """
    levels = encoder_levels(network, NETWORKS[network.name].backbone)
    if NETWORKS[network.name].backbone == "compact":
        image = network.inputs[0]
        levels = [CroppedLike(stride)(level, image) for stride, level in zip((4, 8, 16), levels, strict=True)]
    return keras.Model(network.inputs[0], {**network.output, "levels": levels}, name=network.name)


def encoder_levels(model: keras.Model, backbone: str) -> list[keras.KerasTensor]:
    """The levels of `backbone` in a model that has its layers."""
    return [model.get_layer(name).output for name in LEVELS[backbone]]
