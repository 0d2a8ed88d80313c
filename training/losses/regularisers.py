"""Confidence regularisers: they keep a network from believing its own pseudo-labels too much."""

from keras import ops

from training.losses.regions import mean_over


def kld_to_uniform(logits, mask):
    """CRST's MRKLD (ICCV 2019, table 1): mean over the pixels of `mask` of `-(1/C) sum_k log p_k`.

    It equals the Kullback-Leibler divergence from the uniform distribution up to the constant `log C`.
    """
    log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return mean_over(-ops.mean(log_probs, axis=-1), mask)
