"""What a mean teacher's prediction says of a target batch: a label for each pixel, and how much it counts.

One class per kind of `settings.stages.Online.weighting`, found by its settings in `ONLINE_LABELS`.
"""

import tensorflow as tf

from models.replicas import over_replicas
from training.losses.regions import IGNORE, mean_over
from training.methods.kept import kept
from training.settings.teacher import ImageConfidence, PixelConfidence, RunningThresholds

BINS = 1000  # of the histograms of confidences, over [0, 1]


class OnlineLabels:
    """Labels and weights from the teacher's soft-max.

    variables: what moves from step to step, equal on all replicas.
    """

    variables: tuple = ()

    def __call__(self, probs, region):
        """`(label, weight)`: int32 `[batch, height, width]`, 255 = none, and float32 of that shape in [0, 1].

        Args:
            probs: float32 `[batch, height, width, classes]`, no gradient.
            region: float32 `[batch, height, width]`, 1 where the frame is and a label may be given; elsewhere the
                weight is 0.
        """
        raise TypeError(f"{type(self).__name__} must define __call__(probs, region)")

    def follow(self, probs, region) -> None:
        """Move the `variables` after the labels of a step were made; arguments as above."""


class ImageWeights(OnlineLabels):
    """The arg-max everywhere; weight = share of the region's pixels of the image with a confidence of `threshold`."""

    def __init__(self, settings: ImageConfidence, classes: int):
        self.settings = settings

    def __call__(self, probs, region):
        label, confidence = most_probable(probs)
        confident = region * tf.cast(confidence >= self.settings.threshold, tf.float32)
        if self.settings.pooled == "batch":
            share = mean_over(confident, region)
            share = over_replicas(share) * tf.ones_like(region)
        else:
            pixels = tf.reduce_sum(region, axis=(1, 2), keepdims=True)
            share = tf.reduce_sum(confident, axis=(1, 2), keepdims=True) / tf.maximum(pixels, 1.0)
        return label, share * region


class PixelWeights(OnlineLabels):
    """The arg-max everywhere; weight = its probability to a power."""

    def __init__(self, settings: PixelConfidence, classes: int):
        self.power = settings.power

    def __call__(self, probs, region):
        label, confidence = most_probable(probs)
        return label, confidence**self.power * region


class ThresholdedLabels(OnlineLabels):
    """Pixels whose probability reaches the threshold of its class have weight 1; their label is the class with the
    largest ratio of both, or without `relabel` the most probable one.

    After each step the threshold of a class that is predicted in the batch moves: `beta` of it remains, the rest comes
    from the confidence that the share `portion * threshold ** gamma` of the class' pixels reaches (from a histogram
    of the global batch).
    """

    def __init__(self, settings: RunningThresholds, classes: int):
        self.settings, self.classes = settings, classes
        self.thresholds = kept("thresholds", (classes,), "float32", settings.initial)
        self.variables = (self.thresholds,)

    def __call__(self, probs, region):
        thresholds = tf.convert_to_tensor(self.thresholds)
        if self.settings.relabel:
            label, largest = most_probable(probs / thresholds)
            reached = largest >= 1.0
        else:
            label, largest = most_probable(probs)
            reached = largest >= tf.gather(thresholds, label)
        weight = region * tf.cast(reached, tf.float32)
        return tf.where(weight > 0, label, IGNORE), weight

    def follow(self, probs, region) -> None:
        settings, thresholds = self.settings, tf.convert_to_tensor(self.thresholds)
        # How many pixels of each class have each confidence, in the global batch.
        label, confidence = most_probable(probs)
        bin_number = tf.minimum(tf.cast(confidence * BINS, tf.int32), BINS - 1)
        index = tf.reshape(label * BINS + bin_number, [-1])
        counts = tf.math.bincount(
            index, weights=tf.reshape(region, [-1]), minlength=self.classes * BINS, maxlength=self.classes * BINS
        )
        counts = over_replicas(tf.reshape(counts, (self.classes, BINS)))
        # The highest bin down to which at least the share of the pixels lies.
        pixels = tf.reduce_sum(counts, axis=1, keepdims=True)
        share = settings.portion * thresholds[:, None] ** settings.gamma
        at_least = tf.cumsum(counts, axis=1, reverse=True) >= share * pixels
        reached = (tf.reduce_sum(tf.cast(at_least, tf.float32), axis=1) - 0.5) / BINS
        moved = settings.beta * thresholds + (1.0 - settings.beta) * reached
        self.thresholds.assign(tf.where(pixels[:, 0] > 0, moved, thresholds))


def most_probable(values):
    """`(index, value)` of the largest value of the last axis: int32 and float32 of the shape without it."""
    return tf.argmax(values, axis=-1, output_type=tf.int32), tf.reduce_max(values, axis=-1)


ONLINE_LABELS: dict[type, type[OnlineLabels]] = {
    ImageConfidence: ImageWeights,
    PixelConfidence: PixelWeights,
    RunningThresholds: ThresholdedLabels,
}
"""By the type of the settings; each takes `(settings, classes)`."""
