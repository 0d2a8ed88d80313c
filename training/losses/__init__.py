"""Pure loss functions on `keras.ops`: arrays in, one float32 scalar out; no configuration, no state.

Shapes: `logits` float `[batch, height, width, classes]` (any precision; computed in float32), `label` integer
`[batch, height, width]` with 255 = ignored. A mean over an empty region is 0 with zero gradient, never NaN: an
all-ignored batch teaches nothing.
"""

from training.losses.cross_entropy import cross_entropy, soft_cross_entropy
from training.losses.regions import labelled_region, mean_over
from training.losses.regularisers import kld_to_uniform

__all__ = ["cross_entropy", "kld_to_uniform", "labelled_region", "mean_over", "soft_cross_entropy"]
