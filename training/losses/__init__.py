"""Pure loss functions on `keras.ops`: arrays in, one float32 scalar out; no configuration, no state.

Shapes: `logits` float `[batch, height, width, classes]` (any precision; computed in float32), `label` integer
`[batch, height, width]` with 255 = ignored. A mean over an empty region is 0 with zero gradient, never NaN.
In a distributed or accumulated step every mean is over the global batch, and a loss is the part of it that these arrays
have: the parts add up.
"""

from training.losses.adversarial import DOMAIN_LOSSES, binary_cross_entropy, discriminator_loss, least_squares
from training.losses.cross_entropy import cross_entropy, soft_cross_entropy
from training.losses.feature_distance import feature_distance
from training.losses.grids import labels_on
from training.losses.regions import labelled_region, mean_over, region_of
from training.losses.regularisers import entropy, kld_to_uniform, minimum_entropy, self_information, soft_consistency

__all__ = [
    "DOMAIN_LOSSES",
    "binary_cross_entropy",
    "cross_entropy",
    "discriminator_loss",
    "entropy",
    "feature_distance",
    "kld_to_uniform",
    "labelled_region",
    "labels_on",
    "least_squares",
    "mean_over",
    "minimum_entropy",
    "region_of",
    "self_information",
    "soft_consistency",
    "soft_cross_entropy",
]
