"""Feature distance to the ImageNet encoder on things (DAFormer, CVPR 2022, section 3.4)."""

import tensorflow as tf
from keras import ops

from training.losses.regions import IGNORE, mean_over


def dominant_label(label, size, classes: int, least_share: float = 0.75):
    """The class that fills most of each cell of a coarser grid: int32 `[batch, *size]`.

    255 where even that class has less than `least_share` of the cell; ignored pixels are of no class.

    Args:
        label: integer `[batch, height, width]`, 254 and 255 = ignored.
        size: int32 `[2]`, height and width of the grid, not larger than the label's; it need not divide them.
    """
    pixels = tf.one_hot(tf.cast(label, tf.int32), classes)
    shares = tf.image.resize(pixels, size, method="area")
    dominant = tf.argmax(shares, axis=-1, output_type=tf.int32)
    return tf.where(tf.reduce_max(shares, axis=-1) >= least_share - 1e-6, dominant, IGNORE)


def feature_distance(features, frozen, mask):
    """Mean over the places of `mask` of the Euclidean distance of two feature maps; 0 where there is none.

    Args:
        features, frozen: float `[batch, h, w, channels]`.
        mask: float32 `[batch, h, w]`, 0 or 1.
    """
    difference = ops.cast(features, "float32") - ops.cast(frozen, "float32")
    squared = ops.sum(difference**2, axis=-1)
    # The gradient of a square root is not finite at 0, where network and frozen network are equal: the first step.
    distance = ops.where(squared > 0, ops.sqrt(ops.where(squared > 0, squared, 1.0)), 0.0)
    return mean_over(distance, mask)
