"""Restarts of modes within a training (DRSL does not describe any): a mode that few samples are near starts anew.

The losses move the nearest mode alone. A mode that has no samples is never pulled back, and two modes in one place stay
together. So every n steps, for each class:

1. A mode starts anew if it was the nearest one to less than `least_share` of the samples since the last time, or if it
   is so near to a mode with more samples that both are one.
2. It goes to one of the class' last samples, drawn as by k-means++ (Arthur and Vassilvitskii 2007): with a probability
   in proportion to the squared distance from the modes that stay. Of several draws the one that lowers the sum of these
   distances most is taken, so that it is no outlier.
3. A few steps of Lloyd's algorithm move it to the mean of the samples around it, while the modes that stay do not move.
"""

import tensorflow as tf

from training.methods.modes import least_share

LEAST_COUNT = 100  # samples of a class, to say so
TOGETHER = 0.05  # two modes are one if they are nearer than this share of the root mean square distance from the mean
CANDIDATES = 8  # draws for each mode that starts anew
LLOYD_STEPS = 5


def restarted(modes, counts, points, filled, uniform):
    """The modes, those of no use moved: `(modes, anew, checked)`.

    Args:
        modes: float32 `[classes, M, D]`, as distances are taken of them. counts: int32 `[classes, M]`, samples since
            the last time. points: float32 `[classes, n, D]`, the last samples of each class, of which the first
            `filled` `[classes]` are there. uniform: float32 `[classes, M, candidates]` in [0, 1): what is drawn.

    Returns:
        modes: float32 `[classes, M, D]`.
        anew: bool `[classes, M]`, which modes have moved.
        checked: bool `[classes]`, which classes had enough samples to be looked at.
    """
    there = tf.range(points.shape[1], dtype=filled.dtype) < filled[:, None]
    share = tf.cast(there, tf.float32)
    # Seen from the samples' mean: distances far from 0 would be lost in roundings.
    samples = tf.maximum(tf.reduce_sum(share, axis=1), 1.0)
    mean = (tf.reduce_sum(points * share[..., None], axis=1) / samples[:, None])[:, None]
    points, here = tf.where(there[..., None], points - mean, 0.0), modes - mean
    spread = tf.reduce_sum(points**2, axis=(1, 2)) / samples
    # 1. Which modes start anew. The one with the most samples always stays.
    total = tf.reduce_sum(counts, axis=1)
    checked = (total >= LEAST_COUNT) & (filled > 0)
    rare = tf.cast(counts, tf.float32) < least_share(modes.shape[1]) * tf.cast(total, tf.float32)[:, None]
    together = _squared(here, here) < TOGETHER**2 * spread[:, None, None]
    anew = (rare | tf.reduce_any(together & _weaker(counts), axis=-1)) & checked[:, None]
    # 2. Where they start, one after another.
    near = tf.reduce_min(tf.where(anew[:, None], tf.float32.max, _squared(points, here)), axis=-1)
    near = tf.where(there, near, 0.0)
    anew &= tf.reduce_max(near, axis=1, keepdims=True) > 1e-6 * spread[:, None]  # else a mode is where all samples are
    moved = tf.unstack(here, axis=1)
    for number in range(len(moved)):
        drawn = _drawn(points, near, uniform[:, number])  # [classes, candidates, D]
        nearer = tf.minimum(near[..., None], _squared(points, drawn))
        best = tf.argmin(tf.reduce_sum(nearer, axis=1), axis=-1)
        moves = anew[:, number, None]
        moved[number] = tf.where(moves, tf.gather(drawn, best, batch_dims=1), moved[number])
        near = tf.where(moves, tf.gather(nearer, best, axis=2, batch_dims=1), near)
    here = tf.stack(moved, axis=1)
    # 3. Lloyd's algorithm.
    for _ in range(LLOYD_STEPS):
        nearest = tf.argmin(_squared(points, here), axis=-1)
        of_mode = tf.one_hot(nearest, modes.shape[1]) * share[..., None]
        found = tf.reduce_sum(of_mode, axis=1)[..., None]
        means = tf.matmul(of_mode, points, transpose_a=True) / tf.maximum(found, 1.0)
        here = tf.where(anew[..., None] & (found > 0), means, here)
    return tf.where(anew[..., None], here + mean, modes), anew, checked


def _squared(points, others):
    """Squared distances of points `[classes, n, D]` to others of their class `[classes, k, D]`: `[classes, n, k]`."""
    lengths = tf.reduce_sum(points**2, axis=-1)[:, :, None] + tf.reduce_sum(others**2, axis=-1)[:, None]
    return tf.maximum(lengths - 2.0 * tf.matmul(points, others, transpose_b=True), 0.0)


def _weaker(counts):
    """bool `[classes, M, M]`: has a mode fewer samples than another (of equally many: does it come later)?"""
    number, mine, others = tf.range(counts.shape[1]), counts[:, :, None], counts[:, None]
    return (others > mine) | ((others == mine) & (number[None, :] < number[:, None]))


def _drawn(points, weight, uniform):
    """For each of `uniform` `[classes, k]` one of the points, as probable as its weight `[classes, n]` says."""
    upto = tf.cumsum(weight, axis=1)
    place = tf.searchsorted(upto, uniform * upto[:, -1:], side="right")
    return tf.gather(points, tf.minimum(place, points.shape[1] - 1), batch_dims=1)
