"""The context-aware head of DAFormer (Hoyer, Dai, Van Gool, CVPR 2022): one dilated pyramid over all levels.

It takes the levels of any encoder, from fine to coarse. Batch normalisation is mmsegmentation's: epsilon 1e-5, and a
tenth of each batch into the moving statistics.
"""

from keras import initializers, layers

from models.layers import Conv2D, Dropout, ResizeLike, convolution_block, normalised_relu

CHANNELS = 256
DILATIONS = (1, 6, 12, 18)
DROPOUT = 0.1
BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


def daformer(levels, classes: int):
    """`(logits, features)` on the grid of the finest of the levels; features have 256 channels."""
    embedded = [Conv2D(CHANNELS, 1, name=f"head_embed_{index}")(level) for index, level in enumerate(levels, 1)]
    lifted = [ResizeLike(name=f"head_lift_{index}")(level, levels[0]) for index, level in enumerate(embedded[1:], 2)]
    joined = layers.Concatenate(name="head_join")([embedded[0], *lifted])
    branches = [branch(joined, dilation, name=f"head_dilation_{dilation}") for dilation in DILATIONS]
    pyramid = layers.Concatenate(name="head_branches")(branches)
    features = convolution_block(pyramid, CHANNELS, name="head_bottleneck", **BATCH_NORM)
    return classified(features, classes), features


def branch(x, dilation: int, *, name: str):
    """A depthwise 3x3 convolution and a 1x1 one; at dilation 1 the latter alone."""
    if dilation > 1:
        x = layers.DepthwiseConv2D(
            3,
            padding="same",
            dilation_rate=dilation,
            use_bias=False,
            depthwise_initializer="he_normal",
            name=f"{name}_depthwise_conv",
        )(x)
        x = normalised_relu(x, **BATCH_NORM, name=f"{name}_depthwise")
    return convolution_block(x, CHANNELS, 1, name=name, **BATCH_NORM)


def classified(features, classes: int):
    """The class scores of features, of which training drops a tenth."""
    dropped = Dropout(DROPOUT, name="head_dropout")(features)
    start = initializers.RandomNormal(stddev=0.01)
    return Conv2D(classes, 1, kernel_initializer=start, name="head_classes")(dropped)
