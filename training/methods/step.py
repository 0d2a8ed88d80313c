"""What a training step shows to the loss terms."""

from dataclasses import dataclass

import tensorflow as tf
from keras import ops


@dataclass(frozen=True)
class View:
    """One domain's part of a step, on the grid where the loss is taken.

    logits: float32 `[batch, height, width, classes]`.
    label: integer `[batch, height, width]`, 255 = ignored.
    soft_label: float32 `[batch, height, width, classes]`, or None where the method has none.
    """

    logits: tf.Tensor
    label: tf.Tensor
    soft_label: tf.Tensor | None = None


@dataclass(frozen=True)
class Step:
    """The domains of one step; a method that does not use a domain leaves it None."""

    source: View | None = None
    target: View | None = None


def thin_label(label, stride: int):
    """Every `stride`-th pixel of the label, from the middle of each cell: the grid on which the loss is taken."""
    return label[:, stride // 2 :: stride, stride // 2 :: stride]


def on_grid_of(label, logits):
    """Bilinearly bring `logits` `[b, h, w, c]` to the height and width of `label` `[b, H, W]`, in float32."""
    return tf.image.resize(ops.cast(logits, "float32"), tf.shape(label)[1:3])
