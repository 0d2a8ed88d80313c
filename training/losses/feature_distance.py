"""Feature distance to the ImageNet encoder on things (DAFormer, CVPR 2022, section 3.4)."""

from keras import ops

from training.losses.regions import mean_over


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
