"""Losses of images that are translated from one domain to the other (CycleGAN, ICCV 2017; BDL, CVPR 2019).

Images are float `[batch, height, width, 3]` in [0, 255]; differences are taken as if in [-1, 1], the range that the
published weights were chosen for. The adversarial losses are those of `adversarial.py`.
"""

from keras import ops

from training.losses.regions import mean_of_all

REAL = 1.0
"""What a discriminator is to score photos with, and translated images 0."""

_HALF_RANGE = 127.5
_EPSILON = 1e-5


def absolute_difference(images, others):
    """Mean over pixels and channels of `|a - b|`: of the reconstruction (cycle) and of the identity."""
    difference = ops.cast(images, "float32") - ops.cast(others, "float32")
    return mean_of_all(ops.abs(difference)) / _HALF_RANGE


def semantic_difference(logits, others):
    """Mean over pixels and classes of the squared difference of two maps of logits, each brought to a common scale.

    Each class' map of each image gets mean 0 and variance 1, as in BDL's program; its paper has the absolute difference
    of the outputs.

    Args:
        logits, others: float `[batch, height, width, classes]` of a frozen segmenter.
    """
    return mean_of_all(ops.square(_standardised(logits) - _standardised(others)))


def _standardised(logits):
    values = ops.cast(logits, "float32")
    mean, variance = ops.moments(values, axes=[1, 2], keepdims=True)
    return (values - mean) * ops.rsqrt(variance + _EPSILON)
