"""Regularisers of the prediction: smoother where a label is kept, sharper or as the teacher's where it is ignored.

CRST (ICCV 2019) takes means over the pixels. The programs of IAST (ECCV 2020) and HIAST (TPAMI 2025) divide once more
by the number of classes C, so that their published weights act as `weight / C`; `per_class=True` is that factor.
"""

import math

from keras import ops

from training.losses.cross_entropy import soft_cross_entropy
from training.losses.regions import mean_of_all, mean_over


def kld_to_uniform(logits, mask, per_class: bool = False, count=None):
    """Mean over the pixels of `mask` of `-(1/C) sum_k log p_k`: CRST's MRKLD (table 1), IAST's R_c (section 3.3).

    It equals the Kullback-Leibler divergence from the uniform distribution up to the constant `log C`.

    Args:
        per_class: divide by C once more, as IAST and HIAST do and CRST does not.
        count: divide the sum by this number instead of the pixels of `mask`.
    """
    log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return mean_over(-ops.mean(log_probs, axis=-1), mask, count) * _class_factor(logits, per_class)


def entropy(logits, mask, per_class: bool = True, count=None):
    """Mean over the pixels of `mask` of `-sum_k p_k log p_k`, natural logarithm: IAST's R_i (section 3.3).

    Args:
        per_class: divide by C once more, as IAST and HIAST do.
        count: divide the sum by this number instead of the pixels of `mask`.
    """
    log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    per_pixel = -ops.sum(ops.exp(log_probs) * log_probs, axis=-1)
    return mean_over(per_pixel, mask, count) * _class_factor(logits, per_class)


def soft_consistency(logits, teacher_probs, mask, per_class: bool = True, count=None):
    """Mean over the pixels of `mask` of `-sum_k T_k log p_k`: HIAST's consistency with its mean teacher T.

    Args:
        logits: float `[batch, height, width, classes]`, the student's.
        teacher_probs: float of the same shape, a distribution at each pixel; no gradient reaches it.
        per_class: divide by C once more, as HIAST does.
        count: divide the sum by this number instead of the pixels of `mask`.
    """
    target = ops.stop_gradient(teacher_probs)
    return soft_cross_entropy(logits, target, mask, count) * _class_factor(logits, per_class)


def self_information(logits):
    """AdvEnt's weighted self-information (CVPR 2019, section 3.2): `-p_k log2 p_k / log2 C`.

    Returns:
        float32 `[batch, height, width, classes]`; the sum over the classes is the normalised entropy, 0 to 1.
    """
    log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return -ops.exp(log_probs) * log_probs / math.log(logits.shape[-1])


def minimum_entropy(logits):
    """AdvEnt's MinEnt: the normalised entropy, 0 to 1, averaged over all pixels, `sum(-p log2 p) / (N H W log2 C)`."""
    return mean_of_all(ops.sum(self_information(logits), axis=-1))


def _class_factor(logits, per_class: bool) -> float:
    return 1.0 / logits.shape[-1] if per_class else 1.0
