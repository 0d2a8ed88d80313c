"""SegFormer's all-MLP head (Xie et al., NeurIPS 2021)."""

from keras import layers

from models.daformer_head import BATCH_NORM, classified
from models.layers import Conv2D, ResizeLike, convolution, normalised_relu


def segformer(levels, classes: int, channels: int):
    """`(logits, features)` on the grid of the finest of the levels; features have `channels` channels.

    Published: embed each level, bring it to the finest grid, join all, reduce them by one 1x1 convolution. Here each
    level has its part of that convolution to itself, in front of the resize, and the results are summed: the same
    function (a resize averages cells, a 1x1 convolution channels), with a third fewer multiplications in B0.
    """
    parts = []
    for index, level in enumerate(levels, 1):
        embedded = Conv2D(channels, 1, name=f"head_embed_{index}")(level)
        part = convolution(embedded, channels, 1, name=f"head_fuse_{index}")
        parts.append(part if index == 1 else ResizeLike(name=f"head_lift_{index}")(part, levels[0]))
    summed = layers.Add(name="head_sum")(parts)
    features = normalised_relu(summed, **BATCH_NORM, name="head_fuse")
    return classified(features, classes), features
