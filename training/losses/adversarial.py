"""Losses of a discriminator's scores: LSGAN (AdaptSegNet's later form, IAST, HIAST) and binary cross-entropy (AdvEnt).

A score map is float `[batch, height, width, 1]`, without a final sigmoid. The domain label of
the source is 0 and that of the target 1, as in IAST's program; the papers number them the other way round, which makes
no difference.
"""

from keras import ops

from training.losses.regions import mean_of_all

SOURCE, TARGET = 0.0, 1.0


def least_squares(scores, domain: float):
    """Mean of `(score - domain)^2`."""
    return mean_of_all(ops.square(ops.cast(scores, "float32") - domain))


def binary_cross_entropy(scores, domain: float):
    """Mean cross-entropy of `sigmoid(score)` with `domain`, stable for scores of any size."""
    scores = ops.cast(scores, "float32")
    return mean_of_all(ops.softplus(scores) - domain * scores)


DOMAIN_LOSSES = {"lsgan": least_squares, "bce": binary_cross_entropy}
"""By name: `loss(scores, SOURCE or TARGET) -> scalar`."""


def discriminator_loss(domain_loss, source_scores, target_scores):
    """What the discriminator minimises: the mean of its losses on both domains (IAST, section 3.1).

    For CycleGAN the "source" is the translated images, to be scored 0, and the "target" the photos, to be scored 1.
    """
    return 0.5 * (domain_loss(source_scores, SOURCE) + domain_loss(target_scores, TARGET))
