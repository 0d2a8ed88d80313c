"""What a training step shows to the loss terms, and the passes of the network that most methods make."""

from dataclasses import dataclass

import tensorflow as tf
from keras import ops

from models.batch_norm import moving_statistics_kept


@dataclass(frozen=True)
class View:
    """One domain's part of a step, on the grid where the loss is taken; what a method does not have is None.

    logits: float32 `[batch, height, width, classes]`.
    label: integer `[batch, height, width]`, 255 = ignored.
    soft_label: float32 `[batch, height, width, classes]`, LRENT's.
    teacher_probs: float32 `[batch, height, width, classes]`, a mean teacher's soft-max on the weak view, no gradient.
    scores: float32 `[batch, ?, ?, 1]`, a discriminator's opinion of the logits.
    """

    logits: tf.Tensor
    label: tf.Tensor
    soft_label: tf.Tensor | None = None
    teacher_probs: tf.Tensor | None = None
    scores: tf.Tensor | None = None


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


def predict_view(network, domain, stride: int) -> View:
    """The view of one domain, `{"image": float32 [b, h, w, 3], "label": uint8 [b, h, w]}`, in training mode."""
    label = thin_label(domain["label"], stride)
    return View(on_grid_of(label, network(domain["image"], training=True)["logits"]), label)


def predict_together(network, source, target, stride: int) -> Step:
    """Both domains in training mode, each in a pass of its own: where batch-norm is trained, each domain is normalised
    by its own statistics, and the moving ones, which predictions are made with, follow the target's alone.

    A common pass would teach the network to see a mixture that it never meets again.
    """
    with moving_statistics_kept():
        source_view = predict_view(network, source, stride)
    return Step(source_view, predict_view(network, target, stride))


def predict_domains(network, batch, stride: int) -> Step:
    """The target in training mode, and the source where the batch has one."""
    if "source" in batch:
        return predict_together(network, batch["source"], batch["target"], stride)
    return Step(target=predict_view(network, batch["target"], stride))
