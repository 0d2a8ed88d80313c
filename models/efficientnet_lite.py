"""EfficientNet-Lite (Tan and Le, ICML 2019; Lite: tensorflow/tpu, 2020): EfficientNet for small devices and 8 bits.

Against EfficientNet: no squeeze-and-excitation, ReLU6 in place of swish, and a stem that is not scaled. Neither Keras
Applications nor keras-cv has one. Padding is TensorFlow's "same" and images are `(v - 127) / 128`, as in the training
of the released weights. Stochastic depth and the classifier with its 1x1 convolution of 1280 channels are left out.
"""

import math
from dataclasses import dataclass

import keras
from keras import layers

from models.batch_norm import BatchNormalization
from models.layers import convolution, fan_out, image_input

STEM_CHANNELS = 32


@dataclass(frozen=True)
class Stage:
    """Bottlenecks of one width: the first has `stride`, and all widen by `expansion` inside. Before scaling."""

    blocks: int
    channels: int
    kernel: int = 3
    stride: int = 1
    expansion: int = 6


STAGES = (
    Stage(1, 16, expansion=1),
    Stage(2, 24, stride=2),
    Stage(2, 40, kernel=5, stride=2),
    Stage(3, 80, stride=2),
    Stage(3, 112, kernel=5),
    Stage(4, 192, kernel=5, stride=2),
    Stage(1, 320),
)
# (factor of channels, factor of blocks); the first and the last stage keep their number of blocks.
SIZES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}


def efficientnet_lite(size: str, stride: int) -> keras.Model:
    """The backbone `size` of `SIZES` up to its last bottleneck (320 or 352 channels), at output stride 8, 16 or 32.

    Strides beyond `stride` become 1, and the depthwise convolutions behind them are dilated instead.
    """
    image = image_input()
    x = layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="normalise")(image)
    x = relu6(normalised(convolution(x, STEM_CHANNELS, stride=2, name="stem"), name="stem"), name="stem")
    number, reached, dilation = 0, 2, 1  # block, stride and dilation up to here
    for stage in scaled_stages(*SIZES[size]):
        for place in range(stage.blocks):
            halves = place == 0 and stage.stride == 2
            is_dilated = halves and reached == stride
            strides = 2 if halves and not is_dilated else 1
            x = bottleneck(x, stage, strides, dilation, name=f"block_{number}")
            # The block that no longer halves is itself still undilated: only what follows sees the finer grid.
            reached, dilation, number = reached * strides, dilation * (2 if is_dilated else 1), number + 1
    return keras.Model(image, x)


def scaled_stages(width: float, depth: float) -> list[Stage]:
    inner = range(1, len(STAGES) - 1)
    return [
        Stage(
            math.ceil(stage.blocks * depth) if index in inner else stage.blocks,
            rounded_to_eight(stage.channels * width),
            stage.kernel,
            stage.stride,
            stage.expansion,
        )
        for index, stage in enumerate(STAGES)
    ]


def rounded_to_eight(channels: float) -> int:
    """The nearest multiple of 8, the next one where that takes off more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def bottleneck(x, stage: Stage, stride: int, dilation: int, *, name: str):
    """Widen by 1x1, filter each channel by itself, narrow by 1x1; added to what it reads where shapes are equal."""
    before, wide = x, x.shape[-1] * stage.expansion
    if stage.expansion > 1:
        x = convolution(x, wide, 1, name=f"{name}_expand")
        x = relu6(normalised(x, name=f"{name}_expand"), name=f"{name}_expand")
    x = layers.DepthwiseConv2D(
        stage.kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        depthwise_initializer=fan_out(),
        name=f"{name}_depthwise_conv",
    )(x)
    x = relu6(normalised(x, name=f"{name}_depthwise"), name=f"{name}_depthwise")
    x = normalised(convolution(x, stage.channels, 1, name=f"{name}_project"), name=f"{name}_project")
    if stride > 1 or before.shape[-1] != stage.channels:
        return x
    return layers.Add(name=f"{name}_add")([before, x])


def normalised(x, *, name: str):
    return BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)


def relu6(x, *, name: str):
    return layers.ReLU(6.0, name=f"{name}_relu")(x)
