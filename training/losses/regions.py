"""Means over a part of the pixels, safe when the part is empty."""

from keras import ops

IGNORE = 255


def labelled_region(label):
    """Mask of the pixels that carry a label: float32 `[batch, height, width]`, 1 where `label != 255`."""
    return ops.cast(ops.not_equal(ops.cast(label, "int32"), IGNORE), "float32")


def mean_over(values, mask, count=None):
    """Mean of `values` over the pixels where `mask` is 1; 0 (with zero gradient) where there is none.

    Args:
        values: float `[batch, height, width]`.
        mask: float32 of the same shape, 0 or 1.
        count: divide by this number instead of the pixels of the mask (a part of a larger mean).
    """
    return ops.sum(values * mask) / ops.maximum(ops.sum(mask) if count is None else count, 1.0)
