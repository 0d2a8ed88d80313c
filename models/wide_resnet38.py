"""ResNet-38, "Model A1" of "Wider or Deeper" (Wu, Shen, van den Hengel 2016), as CBST uses it at output stride 8."""

import keras
from keras import layers

from models.layers import Dropout, convolution, image_input, normalised_relu, standardised

EPSILON = 1.001e-5

# (level, units, filters of a unit's two 3x3 convolutions, stride, dilation). The original halves its map in levels 5
# and 6 too; here they are dilated instead.
PLAIN_LEVELS = (
    (2, 3, (128, 128), 2, 1),
    (3, 3, (256, 256), 2, 1),
    (4, 6, (512, 512), 2, 1),
    (5, 3, (512, 1024), 1, 2),
)
# (level, filters of the bottleneck's 1x1, 3x3 and 1x1 convolutions, dropout before the last, dilation)
BOTTLENECK_LEVELS = ((6, (512, 1024, 2048), 0.3, 4), (7, (1024, 2048, 4096), 0.5, 4))


def wide_resnet38() -> keras.Model:
    """From the image to 4096 channels at stride 8; pre-activation units, so it ends in batch-norm and ReLU."""
    image = image_input()
    x = convolution(standardised(image), 64, name="level_1")
    for level, units, filters, stride, dilation in PLAIN_LEVELS:
        for unit in range(units):
            x = plain_unit(x, filters, stride if unit == 0 else 1, dilation, name=f"level_{level}_{unit + 1}")
    for level, filters, dropout, dilation in BOTTLENECK_LEVELS:
        x = bottleneck_unit(x, filters, dropout, dilation, name=f"level_{level}")
    return keras.Model(image, normalised_relu(x, epsilon=EPSILON, name="final"))


def plain_unit(x, filters: tuple[int, int], stride: int, dilation: int, *, name: str):
    """BN, ReLU, 3x3, BN, ReLU, 3x3, plus the shortcut."""
    active = normalised_relu(x, epsilon=EPSILON, name=f"{name}_1")
    y = convolution(active, filters[0], stride=stride, dilation=dilation, name=f"{name}_1")
    y = normalised_relu(y, epsilon=EPSILON, name=f"{name}_2")
    y = convolution(y, filters[1], dilation=dilation, name=f"{name}_2")
    return layers.Add(name=f"{name}_add")([y, shortcut(x, active, filters[1], stride, name=name)])


def bottleneck_unit(x, filters: tuple[int, int, int], dropout: float, dilation: int, *, name: str):
    """BN, ReLU, 1x1, BN, ReLU, 3x3, BN, ReLU, dropout, 1x1, plus the shortcut."""
    active = normalised_relu(x, epsilon=EPSILON, name=f"{name}_1")
    y = convolution(active, filters[0], 1, name=f"{name}_1")
    y = normalised_relu(y, epsilon=EPSILON, name=f"{name}_2")
    y = convolution(y, filters[1], dilation=dilation, name=f"{name}_2")
    y = Dropout(dropout, name=f"{name}_dropout")(normalised_relu(y, epsilon=EPSILON, name=f"{name}_3"))
    y = convolution(y, filters[2], 1, name=f"{name}_3")
    return layers.Add(name=f"{name}_add")([y, shortcut(x, active, filters[2], 1, name=name)])


def shortcut(x, active, filters: int, stride: int, *, name: str):
    """The input itself, or a 1x1 projection of the activated input where the shape changes."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    return convolution(active, filters, 1, stride=stride, name=f"{name}_shortcut")
