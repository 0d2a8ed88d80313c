"""What a training step hands to the loss terms, and the forward passes that most methods make."""

from dataclasses import dataclass

import tensorflow as tf
from keras import ops

from models.batch_norm import moving_statistics_kept
from models.replicas import over_replicas
from training.losses.regions import region_of


@dataclass(frozen=True)
class View:
    """One domain's part of a step, on the grid where the loss is taken; what a method does not have is None.

    logits: float32 `[batch, height, width, classes]`.
    label: integer `[batch, height, width]`, 255 = ignored.
    counts: pixels of the label's regions in the whole global batch, by name; None: not counted yet, see `count`.
    weight: float32 `[batch, height, width]`, how much a pixel counts in the cross-entropy, see `losses.cross_entropy`.
    features: float32 `[batch, h, w, channels]`, the network's "features", on their own grid; kept if a term needs them.
    positions: int64 `[batch]`, places of the rows in the stream: what a step draws at random is a function of them.
    levels: the encoder's maps, from fine to coarse, each float `[batch, h, w, channels]`; kept if a term needs them.
    soft_label: float32 `[batch, height, width, classes]`, LRENT's.
    teacher_probs: float32 `[batch, height, width, classes]`, a mean teacher's soft-max on the weak view, no gradient.
        Of mixed images: on the whole target image before mixing.
    teacher_levels: as `levels`, the mean teacher's on the images of `teacher_probs`, no gradient.
    frozen_levels: as `levels`, those of the encoder as ImageNet left it, no gradient.
    pasted: bool `[batch, height, width]`, of mixed images: the pixels that are the source's.
    target_frame: float32 `[batch, height, width]`, of mixed images: 1 where the whole target image has a picture, also
        where something is pasted; 0 beyond its frame.
    scores: float32 `[batch, ?, ?, 1]`, a discriminator's output for the logits.
    """

    logits: tf.Tensor
    label: tf.Tensor
    weight: tf.Tensor | None = None
    features: tf.Tensor | None = None
    positions: tf.Tensor | None = None
    levels: list | None = None
    soft_label: tf.Tensor | None = None
    teacher_probs: tf.Tensor | None = None
    teacher_levels: list | None = None
    frozen_levels: list | None = None
    pasted: tf.Tensor | None = None
    target_frame: tf.Tensor | None = None
    scores: tf.Tensor | None = None
    counts: dict[str, tf.Tensor] | None = None

    def count(self, region: str):
        """Pixels of a region of the label (see `region_of`) in the whole global batch: float32 scalar.

        Raises:
            TypeError: without `counts`, in one part of an accumulated step.
        """
        return over_replicas(ops.sum(region_of(self.label, region))) if self.counts is None else self.counts[region]


@dataclass(frozen=True)
class Step:
    """The views of one step; a method that does not use a domain leaves it None.

    mixed: images of both domains pasted together (ClassMix).
    masked: target images with hidden blocks, with a teacher's labels and weights (MIC).
    """

    source: View | None = None
    target: View | None = None
    mixed: View | None = None
    masked: View | None = None


def thin_label(label, stride: int):
    """Every `stride`-th pixel of `[b, h, w]`, from the middle of each cell: the grid on which the loss is taken."""
    return label[:, stride // 2 :: stride, stride // 2 :: stride]


def on_grid_of(label, logits):
    """Bilinearly bring `logits` `[b, h, w, c]` to the height and width of `label` `[b, H, W]`, in float32."""
    return tf.image.resize(ops.cast(logits, "float32"), tf.shape(label)[1:3])


def predict_view(network, domain, stride: int, needs=frozenset()) -> View:
    """The view of one domain by a forward pass in training mode.

    Args:
        domain: `{"image": float32 [b, h, w, 3], "label": uint8 [b, h, w]}`; "weight", float32 `[b, h, w]`, "pasted",
            bool `[b, h, w]`, "position", int64 `[b]`, and "counts" (see `View`), where the batch has them.
        needs: what the terms need; features and levels are kept only if they are among it.
    """
    label, outputs = thin_label(domain["label"], stride), network(domain["image"], training=True)
    return View(
        logits=on_grid_of(label, outputs["logits"]),
        label=label,
        weight=thin_label(domain["weight"], stride) if "weight" in domain else None,
        features=outputs["features"] if "features" in needs else None,
        levels=outputs["levels"] if "levels" in needs else None,
        positions=domain.get("position"),
        counts=domain.get("counts"),
        pasted=thin_label(domain["pasted"], stride) if "pasted" in domain else None,
    )


def predict_together(network, source, target, stride: int, needs=frozenset()) -> Step:
    """Both domains in training mode, each in a forward pass of its own.

    Where batch-norm is trained, each domain is normalised by its own statistics, and the moving statistics, which
    predictions use, follow the target's alone. In a common pass the network would learn on statistics of a mixture
    that no prediction has.
    """
    with moving_statistics_kept():
        source_view = predict_view(network, source, stride, needs)
    return Step(source_view, predict_view(network, target, stride, needs))


def predict_domains(network, batch, stride: int, needs=frozenset()) -> Step:
    """The target in training mode, and the source where the batch has one."""
    if "source" in batch:
        return predict_together(network, batch["source"], batch["target"], stride, needs)
    return Step(target=predict_view(network, batch["target"], stride, needs))
