"""Cross-entropy with hard labels (all methods) and with soft labels (CRST's LRENT, ICCV 2019, section 4)."""

from keras import ops

from training.losses.regions import labelled_region, mean_over


def cross_entropy(logits, label, count=None, weight=None):
    """Mean over the labelled pixels of `weight * -log p(label)`; 0 if no pixel is labelled.

    Args:
        logits: float `[batch, height, width, classes]`.
        label: integer `[batch, height, width]`.
        count: divide the sum by this number instead of the number of labelled pixels.
        weight: float `[batch, height, width]`, 1 everywhere if None. It is not part of the divisor: pixels of weight
            0.5 halve the loss (DACS, WACV 2021; DAFormer, CVPR 2022).
    """
    mask = labelled_region(label)
    safe_label = ops.cast(label, "int32") * ops.cast(mask, "int32")  # ignored pixels look up class 0, then count 0
    per_pixel = ops.sparse_categorical_crossentropy(safe_label, ops.cast(logits, "float32"), from_logits=True)
    if weight is not None:
        per_pixel = per_pixel * ops.cast(weight, "float32")
    return mean_over(per_pixel, mask, count)


def soft_cross_entropy(logits, soft_label, mask, count=None):
    """Mean over the pixels of `mask` of `-sum_k y_k log p_k`, or their sum divided by `count`.

    Args:
        logits: float `[batch, height, width, classes]`.
        soft_label: float `[batch, height, width, classes]`, a distribution over the classes at each pixel.
        mask: float32 `[batch, height, width]`, 1 where the pixel counts; with `count` a weight per pixel.
    """
    log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return mean_over(-ops.sum(ops.cast(soft_label, "float32") * log_probs, axis=-1), mask, count)
